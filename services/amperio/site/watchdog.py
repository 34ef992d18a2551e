"""WATCHDOG MANAGER: when to beat, who must have checked in before, and when to doubt the device.

The device trusts us while register 2500 is written within its interval (2 to 60 s). A beat is due at most every third
of it, and it is earned: the poller, the control step, the limit guard and the command intake must each have checked
in within two cycles. If one of them hangs, we stay silent and the device takes control back. Reads never beat.
"""

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct

from shared.moment import Moment

SHORTEST_S, LONGEST_S = 2, 60
CYCLE_S = 1.0
LATE_TRIP_FACTOR = 1.5
"""Real devices trip late, so the time until a station is safe is counted with half an interval more."""


class Duty(StrEnum):
    """Who must have checked in."""

    POLLER = "poller"
    CONTROL = "control"
    LIMIT_GUARD = "limit_guard"
    INTAKE = "intake"


class Beat(Struct, frozen=True, kw_only=True):
    """What to do about the heartbeat in this cycle, and who is missing where it is withheld."""

    due: bool
    missing: tuple[Duty, ...] = ()


def cycle_s(watchdog_s: float) -> float:
    """The lane's period: a second, or a third of a shorter interval."""
    return min(CYCLE_S, watchdog_s / 3.0)


class Watchdog:
    """Beats for one station."""

    def __init__(self, now: Moment, watchdog_s: float) -> None:
        self._checked_s: dict[Duty, float] = {}
        self._beaten_s = float("-inf")
        self.interval_s = watchdog_s
        self.set_interval(watchdog_s)
        self._started_s = now.s

    def set_interval(self, watchdog_s: float) -> None:
        assert SHORTEST_S <= watchdog_s <= LONGEST_S
        if watchdog_s != self.interval_s:
            self._beaten_s = float("-inf")
        self.interval_s = watchdog_s

    @property
    def cycle_s(self) -> float:
        return cycle_s(self.interval_s)

    def check_in(self, now: Moment, *duties: Duty) -> None:
        for duty in duties:
            self._checked_s[duty] = now.s

    def tick(self, now: Moment) -> Beat:
        """Whether to beat now: due before the next cycle could be too late, and earned by everybody."""
        missing = tuple(duty for duty in Duty if now.s - self._checked_s.get(duty, float("-inf")) > 2.0 * self.cycle_s)
        if missing:
            return Beat(due=False, missing=missing)
        return Beat(due=self.beaten_s_ago(now) + self.cycle_s > self.interval_s / 3.0 - 1e-9)

    def beaten(self, now: Moment) -> None:
        """The beat was written and read back."""
        self._beaten_s = now.s

    def forget_beat(self) -> None:
        """The link or the device was lost: whatever was beaten counts no more."""
        self._beaten_s = float("-inf")

    def beaten_s_ago(self, now: Moment) -> float:
        return now.s - self._beaten_s

    def check_ins(self, now: Moment) -> Mapping[str, float]:
        """Age of each check-in, for health."""
        return {duty.value: now.s - self._checked_s.get(duty, self._started_s) for duty in Duty}
