"""When to send which command: on change, or in time before the one in force runs out (pure).

* Setpoints coalesce: only the newest waits, and one that waited is computed anew before it leaves. Limits queue: all
  are delivered, once, in order.
* One exchange at a time. After a failure the next comes 1, 2, 4 ... 60 s later, never earlier than the peer asked.
* A lost reply makes a command *unknown*; nothing new is sent until the middleware was asked what became of it.
* Each command carries the platform's epoch and a growing number, so that an old one can never act after a newer one.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TypedDict

import msgspec
from msgspec import Struct

from services.enexa.dispatching.gates import Intent
from services.enexa.dispatching.ledger import FINAL, Ledger, News
from shared.backoff import Backoff
from shared.contract.dispatch import (
    VALIDITY_DEFAULT_S,
    BatteryPower,
    CommandBase,
    CommandStatus,
    DispatchAck,
    DispatchRecord,
    ImportKw,
    SetBatteryPower,
    SetGridLimit,
    SetSocWindow,
    SocWindow,
)
from shared.contract.reads import CommandRecord
from shared.errors import InProgress
from shared.moment import Moment

REFRESH_AFTER_S = 60.0
"""A setpoint is valid for 90 s; renewing it after 60 leaves time for three attempts."""
SPACING_S = 5.0
DEADBAND_KW = 2.0
REPEAT_FAILED_S = 15.0
LIMIT_VALIDITY_S = 24 * 3600.0


class Limits(Struct, frozen=True, kw_only=True):
    """What the configuration asks of the middleware beside setpoints."""

    import_kw: float
    reserve_pct: float
    max_pct: float


class Orders(Struct, frozen=True, kw_only=True):
    """What the shell has to carry out, in this order; each must be answered by one of the `on_` methods."""

    ask: str | None = None
    send: CommandBase | None = None


class _Head(TypedDict):
    site_id: str
    timestamp: datetime
    valid_until: datetime
    command_id: str


class _LastSetpoint(Struct, frozen=True, kw_only=True):
    command_id: str
    power_kw: float
    planned_s: float
    reason: str


class Dispatcher:
    """Commands of one site."""

    def __init__(self, site_id: str, *, epoch: int, ledger: Ledger) -> None:
        self._site_id = site_id
        self._epoch = epoch
        self._seq = 0
        self._ids = 0
        self._ledger = ledger
        self._backoff = Backoff()
        self._next_try_s = float("-inf")
        self._under_way: str | None = None
        self._last: _LastSetpoint | None = None
        self._left_s = float("-inf")
        self._limits: Limits | None = None

    @property
    def failures(self) -> int:
        """Exchanges that failed in a row."""
        return self._backoff.failures

    def wish(self, now: Moment, intent: Intent, schedule_version: int | None) -> CommandRecord | None:
        """Plan a setpoint where the intent asks for a new one."""
        if intent.setpoint_kw is None or not self._due(now, intent):
            return None
        return self._plan_setpoint(now, intent, schedule_version)

    def limit(self, now: Moment, limits: Limits, author: str) -> None:
        """Queue what differs from the limits that were asked for last."""
        known, self._limits = self._limits, limits
        if known is None or known.import_kw != limits.import_kw:
            params = ImportKw(import_kw=limits.import_kw)
            self._plan(now, SetGridLimit(**self._head(now, LIMIT_VALIDITY_S), params=params), reason=author)
        if known is None or (known.reserve_pct, known.max_pct) != (limits.reserve_pct, limits.max_pct):
            window = SocWindow(reserve_pct=limits.reserve_pct, max_pct=limits.max_pct)
            self._plan(now, SetSocWindow(**self._head(now, LIMIT_VALIDITY_S), params=window), reason=author)

    def next(
        self, now: Moment, intent: Intent, schedule_version: int | None, *, may_send: bool, may_ask: bool = True
    ) -> Orders:
        """The next exchange, if one is due. `may_send` False holds commands back while a reconciliation runs."""
        if self._under_way is not None or now.s < self._next_try_s:
            return Orders()
        unknown = self._ledger.open_ids(CommandStatus.UNKNOWN)
        if unknown:
            if not may_ask:
                return Orders()
            self._under_way = unknown[0]
            return Orders(ask=unknown[0])
        if not may_send:
            return Orders()
        command = self._next_planned(now, intent, schedule_version)
        return Orders(send=self._leave(now, command)) if command is not None else Orders()

    # ---- what became of an exchange ---------------------------------------------------------------------------------

    def on_ack(self, now: Moment, ack: DispatchAck) -> None:
        self._answered(ack.command_id)
        self._ledger.acknowledged(now, ack)
        if ack.status in (CommandStatus.ACCEPTED, CommandStatus.APPLIED, CommandStatus.ACKNOWLEDGED):
            self._supersede_older(now, ack.command_id)

    def on_refused(self, now: Moment, command_id: str, code: str, sentence: str) -> None:
        """The middleware said no; it must not be asked the same again."""
        self._answered(command_id)
        if code == InProgress.code:
            # Our own command, delivered twice on its way: the first one is being worked on, so ask what became of it.
            self._ledger.tell(now, command_id, News.REPLY_LOST, sentence)
            return
        self._ledger.tell(now, command_id, News.REFUSED, f"{code}: {sentence}")

    def on_lost(self, now: Moment, command_id: str, *, jitter: float = 0.0) -> None:
        """No answer: it may or may not have arrived."""
        self._failed(now, command_id, jitter, 0.0)
        self._ledger.tell(now, command_id, News.REPLY_LOST, "no answer")

    def on_busy(
        self, now: Moment, command_id: str, sentence: str, *, retry_after_s: float = 0.0, jitter: float = 0.0
    ) -> None:
        """The middleware answered that it did not take the command (429, 503)."""
        self._failed(now, command_id, jitter, retry_after_s)
        self._ledger.tell(now, command_id, News.NOT_TAKEN, sentence)

    def on_told(self, now: Moment, command_id: str, record: DispatchRecord | None) -> None:
        """The answer to asking; None = the middleware does not know the command."""
        self._answered(command_id)
        if record is not None:
            self._ledger.told(now, record)
        else:
            self._ledger.tell(now, command_id, News.NOT_KNOWN, "the middleware does not know it")

    def on_ask_failed(self, now: Moment, command_id: str, *, retry_after_s: float = 0.0, jitter: float = 0.0) -> None:
        self._failed(now, command_id, jitter, retry_after_s)

    def on_link_back(self) -> None:
        """The middleware answers again: no reason to wait any longer, and whatever waited is computed anew."""
        self._backoff = self._backoff.cleared()
        self._next_try_s = float("-inf")
        self._last = None

    # ---- inside -----------------------------------------------------------------------------------------------------

    def _due(self, now: Moment, intent: Intent) -> bool:
        last = self._last
        if last is None:
            return True
        assert intent.setpoint_kw is not None
        age_s = now.s - last.planned_s
        record = self._ledger.record(last.command_id)
        ended_badly = record is not None and record.status in FINAL and record.status is not CommandStatus.VERIFIED
        if ended_badly and age_s >= REPEAT_FAILED_S:
            return True
        if age_s >= REFRESH_AFTER_S:
            return True
        moved = abs(intent.setpoint_kw - last.power_kw) >= DEADBAND_KW
        # Rest must be real rest: 1 kW of charging is not "close enough" to none.
        stops = (intent.setpoint_kw == 0.0) != (last.power_kw == 0.0)
        return (moved or stops) and min(age_s, now.s - self._left_s) >= SPACING_S

    def _plan_setpoint(self, now: Moment, intent: Intent, schedule_version: int | None) -> CommandRecord:
        assert intent.setpoint_kw is not None
        self._drop_waiting_setpoints(now)
        command = SetBatteryPower(
            **self._head(now, VALIDITY_DEFAULT_S),
            reason=intent.reason.value,
            params=BatteryPower(power_kw=intent.setpoint_kw),
        )
        record = self._plan(
            now,
            command,
            reason=intent.reason.value,
            schedule_version=schedule_version,
            slot_start=intent.slot_start,
        )
        self._last = _LastSetpoint(
            command_id=record.command_id, power_kw=intent.setpoint_kw, planned_s=now.s, reason=record.reason
        )
        return record

    def _plan(
        self,
        now: Moment,
        command: CommandBase,
        *,
        reason: str,
        schedule_version: int | None = None,
        slot_start: datetime | None = None,
    ) -> CommandRecord:
        return self._ledger.plan(now, command, reason=reason, schedule_version=schedule_version, slot_start=slot_start)

    def _head(self, now: Moment, validity_s: float) -> _Head:
        self._ids += 1
        return {
            "site_id": self._site_id,
            "timestamp": now.at,
            "valid_until": now.at + timedelta(seconds=validity_s),
            "command_id": f"{self._site_id}-{self._epoch}-{self._ids}"[-64:],
        }

    def _next_planned(self, now: Moment, intent: Intent, schedule_version: int | None) -> CommandBase | None:
        """Limits before setpoints, each in order; a setpoint that had to wait is computed anew."""
        waiting = [self._ledger.command(key) for key in self._ledger.open_ids(CommandStatus.PLANNED)]
        limits = [each for each in waiting if not isinstance(each, SetBatteryPower)]
        if limits:
            return limits[0]
        setpoints = [each for each in waiting if isinstance(each, SetBatteryPower)]
        if not setpoints:
            return None
        if (now.at - setpoints[-1].timestamp).total_seconds() < SPACING_S:
            return setpoints[-1]
        if intent.setpoint_kw is None:
            self._drop_waiting_setpoints(now)
            return None
        record = self._plan_setpoint(now, intent, schedule_version)
        return self._ledger.command(record.command_id)

    def _leave(self, now: Moment, command: CommandBase) -> CommandBase:
        self._seq += 1
        validity_s = VALIDITY_DEFAULT_S if isinstance(command, SetBatteryPower) else LIMIT_VALIDITY_S
        leaving = msgspec.structs.replace(
            command,
            timestamp=now.at,
            valid_until=now.at + timedelta(seconds=validity_s),
            epoch=self._epoch,
            seq=self._seq,
        )
        assert leaving.command_id is not None
        if isinstance(leaving, SetBatteryPower):
            self._left_s = now.s
        self._ledger.rewrite(leaving)
        self._ledger.tell(now, leaving.command_id, News.SEND)
        self._under_way = leaving.command_id
        return leaving

    def _drop_waiting_setpoints(self, now: Moment) -> None:
        for key in self._ledger.open_ids(CommandStatus.PLANNED):
            if isinstance(self._ledger.command(key), SetBatteryPower):
                self._ledger.tell(now, key, News.SUPERSEDE, "a newer setpoint was computed before it was sent")

    def _supersede_older(self, now: Moment, command_id: str) -> None:
        """A setpoint that was taken ends the one before; limits live beside it."""
        if not isinstance(self._ledger.command(command_id), SetBatteryPower):
            return
        waiting = self._ledger.open_ids(CommandStatus.ACKNOWLEDGED, CommandStatus.APPLIED)
        for key in _before(waiting, command_id):
            if isinstance(self._ledger.command(key), SetBatteryPower):
                self._ledger.tell(now, key, News.SUPERSEDE, f"by {command_id}")

    def _answered(self, command_id: str) -> None:
        if self._under_way == command_id:
            self._under_way = None
        self._backoff = self._backoff.cleared()
        self._next_try_s = float("-inf")

    def _failed(self, now: Moment, command_id: str, jitter: float, retry_after_s: float) -> None:
        if self._under_way == command_id:
            self._under_way = None
        self._backoff = self._backoff.failed()
        self._next_try_s = now.s + self._backoff.wait_s(jitter=jitter, retry_after_s=retry_after_s)


def _before(keys: Sequence[str], command_id: str) -> Sequence[str]:
    """The keys that come before `command_id`, or all where it is not among them."""
    return keys[: keys.index(command_id)] if command_id in keys else keys
