"""The only callers of time.*: a system clock that may run fast, and a manual one for tests and simulations."""

import asyncio
import heapq
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Protocol

from shared.moment import Moment


class Clock(Protocol):
    """What shells hold. `speed` is how many clock seconds pass in one real second."""

    speed: float

    def now(self) -> Moment: ...

    async def sleep(self, seconds: float) -> None: ...

    async def sleep_until(self, s: float) -> None:
        """Return once `now().s >= s`; an absolute schedule does not drift."""


class SystemClock:
    """Real time, optionally scaled and shifted.

    `origin_real` and `origin_sim` (both UTC) are one pair for a whole stack: every program that gets the same
    pair agrees on the date, also one that is restarted later. At speed 1 without origins it is simply the wall clock.
    `leaps` move the date ahead, by so many seconds once so many have passed since the origin: a story's chapters.
    At speed 1 the date follows the machine's: corrected by NTP or after a suspension it jumps, and durations do not.
    """

    def __init__(
        self,
        *,
        speed: float = 1.0,
        origin_real: datetime | None = None,
        origin_sim: datetime | None = None,
        leaps: Sequence[tuple[float, float]] = (),
    ) -> None:
        assert speed > 0
        self.speed = speed
        wall = datetime.now(UTC)
        real = origin_real or wall
        sim = origin_sim or real
        self._shift = sim - real
        self._at_start = sim + timedelta(seconds=(wall - real).total_seconds() * speed)
        self._monotonic_start = time.monotonic()
        self._since_origin_s = (wall - real).total_seconds() * speed
        self._leaps = tuple(leaps)

    @property
    def since_origin_s(self) -> float:
        """Clock seconds since the stack's origin, leaps not counted."""
        return self._since_origin_s + (time.monotonic() - self._monotonic_start) * self.speed

    def now(self) -> Moment:
        moment = self._without_leaps()
        if not self._leaps:
            return moment
        passed_s = self._since_origin_s + moment.s
        leapt_s = sum(by_s for at_s, by_s in self._leaps if at_s <= passed_s)
        return Moment(moment.s, moment.at + timedelta(seconds=leapt_s))

    def _without_leaps(self) -> Moment:
        s = (time.monotonic() - self._monotonic_start) * self.speed
        if self.speed == 1.0:
            return Moment(s, datetime.now(UTC) + self._shift)
        return Moment(s, self._at_start + timedelta(seconds=s))

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(seconds, 0.0) / self.speed)

    async def sleep_until(self, s: float) -> None:
        await self.sleep(s - self.now().s)


class ManualClock:
    """Time that passes only when told to: `advance` wakes every sleeper on the way, in order."""

    def __init__(self, at: datetime = datetime(2024, 1, 15, 10, 0, tzinfo=UTC)) -> None:
        self.speed = 1.0
        self._now = Moment(0.0, at)
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._ticket = count()

    def now(self) -> Moment:
        return self._now

    def advance(self, seconds: float) -> Moment:
        assert seconds >= 0
        self._now = self._now.later(seconds)
        while self._sleepers and self._sleepers[0][0] <= self._now.s:
            _, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)
        return self._now

    def step_date(self, seconds: float) -> Moment:
        """Correct the date without letting time pass, as NTP does."""
        self._now = Moment(self._now.s, self._now.at + timedelta(seconds=seconds))
        return self._now

    async def sleep(self, seconds: float) -> None:
        await self.sleep_until(self._now.s + max(seconds, 0.0))

    async def sleep_until(self, s: float) -> None:
        if s <= self._now.s:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (s, next(self._ticket), future))
        await future


def real_deadline_s(seconds: float) -> float:
    """A deadline in real seconds for sockets, which know no scaled time."""
    return time.monotonic() + seconds


def real_pause(seconds: float) -> None:
    """Hold this thread for so many real seconds; never in a thread that runs an event loop."""
    time.sleep(seconds)


def real_now_s() -> float:
    """Real monotonic seconds, for measuring latencies of real sockets."""
    return time.monotonic()
