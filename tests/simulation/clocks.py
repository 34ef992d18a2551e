"""A program's own idea of the date, which may be stepped and may drift; its seconds are everybody's."""

from datetime import timedelta

from shared.clock import ManualClock
from shared.moment import Moment


class OwnClock:
    """Sleeps on the world's clock, and tells the date as this program's machine has it."""

    def __init__(self, world: ManualClock) -> None:
        self.speed = 1.0
        self._world = world
        self._offset_s = 0.0
        self._drift_ratio = 0.0
        self._drift_since_s = 0.0

    @property
    def error_s(self) -> float:
        """How far this clock is ahead of the world's."""
        return self._offset_s + self._drift_ratio * (self._world.now().s - self._drift_since_s)

    def now(self) -> Moment:
        now = self._world.now()
        if self._offset_s == 0.0 and self._drift_ratio == 0.0:
            return now
        return Moment(now.s, now.at + timedelta(seconds=self.error_s))

    def step(self, seconds: float) -> None:
        """Correct the date, as NTP or a person does."""
        self._offset_s += seconds

    def drift(self, ratio: float) -> None:
        """From now on the date gains (or loses) so many seconds per second; 0 ends it and sets the clock right."""
        self._offset_s = 0.0 if ratio == 0.0 else self.error_s
        self._drift_ratio, self._drift_since_s = ratio, self._world.now().s

    async def sleep(self, seconds: float) -> None:
        await self._world.sleep(seconds)

    async def sleep_until(self, s: float) -> None:
        await self._world.sleep_until(s)
