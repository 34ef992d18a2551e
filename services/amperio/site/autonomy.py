"""Who decides at this site: the modes of the architecture as one table, and the facts that move between them.

The timer of silence counts from the last *useful* exchange with Enexa: an answer that says what it should. A TCP
connect, a 401, a 429 or a page of HTML is none. Every way back leads through good exchanges and a fresh plan whose
setpoint was read back from the device; until then the safe limits hold. There is no mode without a limit.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum

from msgspec import Struct

from shared.contract.telemetry import Mode
from shared.moment import Moment

GOOD_EXCHANGES = 3
GOOD_EXCHANGES_OVER_S = 5.0
SILENT_AFTER_S = 60.0
DEVICE_LOST_AFTER_S = 10.0


class Cause(StrEnum):
    """Why a mode is left."""

    GOOD_EXCHANGE = "good_exchange"
    GOOD_EXCHANGES = "good_exchanges"
    EXCHANGE_FAILED = "exchange_failed"
    FRESH_PLAN_VERIFIED = "fresh_plan_verified"
    SILENT_60S_SCHEDULE = "silent_60s_schedule"
    SILENT_60S_NO_SCHEDULE = "silent_60s_no_schedule"
    SCHEDULE_ENDED = "schedule_ended"
    DEVICE_SILENT = "device_silent"
    DEVICE_BACK = "device_back"
    LOCKED_ON_SITE = "locked_on_site"
    UNLOCKED_ON_SITE = "unlocked_on_site"


START = Mode.SAFE

TRANSITIONS: Mapping[Mode, Mapping[Cause, Mode]] = {
    Mode.SAFE: {Cause.GOOD_EXCHANGES: Mode.RESYNC},
    Mode.RESYNC: {Cause.FRESH_PLAN_VERIFIED: Mode.ONLINE, Cause.EXCHANGE_FAILED: Mode.SAFE},
    Mode.ONLINE: {Cause.EXCHANGE_FAILED: Mode.SUSPECT},
    Mode.SUSPECT: {
        Cause.GOOD_EXCHANGE: Mode.ONLINE,
        Cause.SILENT_60S_SCHEDULE: Mode.AUTONOMOUS,
        Cause.SILENT_60S_NO_SCHEDULE: Mode.SAFE,
    },
    Mode.AUTONOMOUS: {Cause.GOOD_EXCHANGES: Mode.RESYNC, Cause.SCHEDULE_ENDED: Mode.SAFE},
    Mode.DEVICE_LOST: {Cause.DEVICE_BACK: Mode.SAFE},
    Mode.LOCKED: {Cause.UNLOCKED_ON_SITE: Mode.SAFE},
}

FROM_ANY: Mapping[Cause, Mode] = {Cause.DEVICE_SILENT: Mode.DEVICE_LOST, Cause.LOCKED_ON_SITE: Mode.LOCKED}
"""Edges that every mode has, except that a lock is left only on site."""

OBEYS = frozenset({Mode.ONLINE, Mode.SUSPECT, Mode.AUTONOMOUS})
"""Modes in which the command in force or the schedule sets the battery's power."""
CONSERVATIVE = frozenset({Mode.SAFE, Mode.RESYNC})
"""Modes under the conservative limits."""
HANDS_OFF = frozenset({Mode.LOCKED, Mode.DEVICE_LOST})
"""Modes in which nothing is written: the device's own watchdog takes control back."""


class ModeChange(Struct, frozen=True, kw_only=True):
    before: Mode
    after: Mode
    cause: Cause


class Autonomy:
    """The mode of one site, moved only along the table."""

    def __init__(self, now: Moment, *, silent_after_s: float = SILENT_AFTER_S) -> None:
        self.mode = START
        self.since = now
        self.silent_after_s = silent_after_s
        self._useful_s = now.s
        self._device_s = now.s
        self._good_count = 0
        self._good_since_s = 0.0

    @property
    def last_useful_s(self) -> float:
        """Seconds (of `Moment.s`) of the last useful exchange."""
        return self._useful_s

    def observe(
        self,
        now: Moment,
        *,
        exchanges: Iterable[bool] = (),
        schedule_in_force: bool = False,
        device_valid: bool = True,
        locked: bool = False,
    ) -> tuple[ModeChange, ...]:
        """Take in one cycle's facts, in the order: lock, device, exchanges, silence."""
        changes: list[ModeChange | None] = []
        if device_valid:
            self._device_s = now.s
        if locked and self.mode is not Mode.LOCKED:
            changes.append(self._move(now, Cause.LOCKED_ON_SITE))
        if not locked:
            changes.append(self._move(now, Cause.UNLOCKED_ON_SITE))
        if device_valid:
            changes.append(self._move(now, Cause.DEVICE_BACK))
        elif now.s - self._device_s >= DEVICE_LOST_AFTER_S and self.mode not in HANDS_OFF:
            changes.append(self._move(now, Cause.DEVICE_SILENT))
        changes += [self._exchanged(now, good) for good in exchanges]
        changes += self._silence(now, schedule_in_force)
        return tuple(change for change in changes if change is not None)

    def plan_verified(self, now: Moment) -> tuple[ModeChange, ...]:
        """A setpoint of a plan made after the silence stands in the device's registers, read back."""
        change = self._move(now, Cause.FRESH_PLAN_VERIFIED)
        return (change,) if change else ()

    def _exchanged(self, now: Moment, good: bool) -> ModeChange | None:
        if not good:
            self._good_count = 0
            return self._move(now, Cause.EXCHANGE_FAILED)
        self._useful_s = now.s
        if self._good_count == 0:
            self._good_since_s = now.s
        self._good_count += 1
        if self._good_count >= GOOD_EXCHANGES and now.s - self._good_since_s >= GOOD_EXCHANGES_OVER_S:
            return self._move(now, Cause.GOOD_EXCHANGES) or self._move(now, Cause.GOOD_EXCHANGE)
        return self._move(now, Cause.GOOD_EXCHANGE)

    def _silence(self, now: Moment, schedule_in_force: bool) -> list[ModeChange | None]:
        changes: list[ModeChange | None] = []
        if now.s - self._useful_s >= self.silent_after_s:
            # A call that hangs has not failed yet, but nobody has spoken for a minute either.
            self._good_count = 0
            changes.append(self._move(now, Cause.EXCHANGE_FAILED))
            cause = Cause.SILENT_60S_SCHEDULE if schedule_in_force else Cause.SILENT_60S_NO_SCHEDULE
            changes.append(self._move(now, cause))
        if not schedule_in_force:
            changes.append(self._move(now, Cause.SCHEDULE_ENDED))
        return changes

    def _move(self, now: Moment, cause: Cause) -> ModeChange | None:
        target = FROM_ANY.get(cause) or TRANSITIONS[self.mode].get(cause)
        if target is None or target is self.mode:
            return None
        change = ModeChange(before=self.mode, after=target, cause=cause)
        self.mode, self.since = target, now
        if target is Mode.SAFE:
            self._good_count = 0
        return change
