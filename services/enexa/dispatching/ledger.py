"""One record per command, moved only by the table below, and exactly one final state (pure).

    planned -> sent -> acknowledged -> applied -> verified | failed

`unknown` means that a reply was lost: it is left by asking the middleware, never by waiting. A command that the
middleware does not know has never arrived and is planned again. News for a command that has ended changes nothing.
"""

import math
from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

import msgspec
from msgspec import Struct

from shared.contract.dispatch import (
    BatteryPower,
    CommandBase,
    CommandStatus,
    DispatchAck,
    DispatchRecord,
    SetBatteryPower,
    SetGridRequest,
    Stop,
    command_name,
)
from shared.contract.reads import CommandRecord, StatusChange
from shared.contract.telemetry import Telemetry
from shared.moment import Moment

VERIFY_WITHIN_S = 15.0
SAMPLES_IN_A_ROW = 3
TOLERANCE_KW = 2.0
TOLERANCE_RATIO = 0.05
ONE_CYCLE_S = 2.0
"""Samples that lie further apart say nothing about what happened within one cycle."""
RECORDS_MAX = 400


class News(StrEnum):
    """What may happen to a command."""

    SEND = "send"
    REPLY_LOST = "reply_lost"
    NOT_TAKEN = "not_taken"
    NOT_KNOWN = "not_known"
    ACCEPTED = "accepted"
    APPLIED = "applied"
    REJECTED = "rejected"
    REFUSED = "refused"
    SEEN = "seen"
    NOT_SEEN = "not_seen"
    SUPERSEDE = "supersede"
    EXPIRE = "expire"


S, N = CommandStatus, News
_ENDINGS = {N.REJECTED: S.REJECTED, N.REFUSED: S.FAILED, N.SUPERSEDE: S.SUPERSEDED, N.EXPIRE: S.EXPIRED}

TRANSITIONS: dict[CommandStatus, dict[News, CommandStatus]] = {
    S.PLANNED: {N.SEND: S.SENT, N.SUPERSEDE: S.SUPERSEDED, N.EXPIRE: S.EXPIRED, N.REFUSED: S.FAILED},
    S.SENT: {
        N.REPLY_LOST: S.UNKNOWN,
        N.NOT_TAKEN: S.PLANNED,
        N.ACCEPTED: S.ACKNOWLEDGED,
        N.APPLIED: S.APPLIED,
        N.SEEN: S.VERIFIED,
        **_ENDINGS,
    },
    S.UNKNOWN: {
        # Only an answer ends this state: a command of which nothing is known may be acting.
        N.NOT_KNOWN: S.PLANNED,
        N.ACCEPTED: S.ACKNOWLEDGED,
        N.APPLIED: S.APPLIED,
        N.SEEN: S.VERIFIED,
        **_ENDINGS,
    },
    S.ACKNOWLEDGED: {
        N.APPLIED: S.APPLIED,
        N.SEEN: S.VERIFIED,
        N.NOT_SEEN: S.FAILED,
        N.NOT_KNOWN: S.FAILED,
        **_ENDINGS,
    },
    S.APPLIED: {N.SEEN: S.VERIFIED, N.NOT_SEEN: S.FAILED, N.NOT_KNOWN: S.FAILED, **_ENDINGS},
    S.VERIFIED: {},
    S.REJECTED: {},
    S.FAILED: {},
    S.SUPERSEDED: {},
    S.EXPIRED: {},
}
FINAL = frozenset(status for status, row in TRANSITIONS.items() if not row)
WAITING_FOR_EFFECT = frozenset({S.ACKNOWLEDGED, S.APPLIED})

_NEWS_OF_STATUS = {
    S.ACCEPTED: N.ACCEPTED,
    S.ACKNOWLEDGED: N.ACCEPTED,
    S.APPLIED: N.APPLIED,
    S.VERIFIED: N.APPLIED,
    S.REJECTED: N.REJECTED,
    S.FAILED: N.REJECTED,
    S.SUPERSEDED: N.SUPERSEDE,
    S.EXPIRED: N.EXPIRE,
}


class Entry(Struct, kw_only=True):
    """A command that has not ended, or has just ended; `since_s` is when its present state began."""

    command: CommandBase
    record: CommandRecord
    since_s: float
    effect_due_s: float | None = None
    good_samples: int = 0
    last_seen_at: datetime | None = None


class Ledger:
    """All commands of one site that have not ended, and the last few that have."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._open: dict[str, Entry] = {}
        """Those that have not ended: what a second looks at, however long the ledger is."""
        self._changed: dict[str, CommandRecord] = {}
        self._before: Telemetry | None = None

    def plan(
        self,
        now: Moment,
        command: CommandBase,
        *,
        reason: str,
        schedule_version: int | None = None,
        slot_start: datetime | None = None,
    ) -> CommandRecord:
        """Open the record of a new command."""
        assert command.command_id is not None
        assert command.command_id not in self._entries
        assert command.valid_until is not None
        record = CommandRecord(
            command_id=command.command_id,
            site_id=command.site_id,
            command=command_name(command),
            status=S.PLANNED,
            reason=reason,
            planned_at=now.at,
            valid_until=command.valid_until,
            requested_kw=requested_kw(command),
            schedule_version=schedule_version,
            slot_start=slot_start,
            history=(StatusChange(status=S.PLANNED, at=now.at, note=reason),),
        )
        self._entries[record.command_id] = Entry(command=command, record=record, since_s=now.s)
        self._open[record.command_id] = self._entries[record.command_id]
        self._changed[record.command_id] = record
        self._bound()
        return record

    def resume(self, now: Moment, records: Iterable[CommandRecord]) -> None:
        """After a restart: what was under way is unknown until asked; what was only planned is past."""
        for record in records:
            if record.status in FINAL:
                continue
            entry = Entry(command=_placeholder(record), record=record, since_s=now.s)
            self._entries[record.command_id] = self._open[record.command_id] = entry
            if record.status is S.PLANNED:
                self.tell(now, record.command_id, N.SUPERSEDE, "the platform was restarted before it was sent")
            elif record.status is S.SENT:
                self.tell(now, record.command_id, N.REPLY_LOST, "the platform was restarted")
            elif record.status in WAITING_FOR_EFFECT:
                entry.effect_due_s = now.s + VERIFY_WITHIN_S

    def tell(self, now: Moment, command_id: str, news: News, note: str = "") -> bool:
        """Move a command along the table; False where the news comes too late or does not apply."""
        entry = self._entries.get(command_id)
        if entry is None:
            return False
        following = TRANSITIONS[entry.record.status].get(news)
        if following is None:
            return False
        self._move(now, entry, following, note)
        return True

    def acknowledged(self, now: Moment, ack: DispatchAck) -> None:
        """The first answer to a command, or the same answer again."""
        self._answered(now, ack.command_id, ack.status, ack, ack.detail or ack.code or "")

    def told(self, now: Moment, record: DispatchRecord) -> None:
        """What the middleware says when asked."""
        self._answered(now, record.command_id, record.status, record, record.detail or record.code or "asked")

    def saw(self, now: Moment, sample: Telemetry) -> None:
        """Check the newest sample against every command that waits for its effect."""
        before = self._before
        if before is None or sample.timestamp > before.timestamp:
            self._before = sample
        for entry in self._waiting():
            if entry.last_seen_at is not None and sample.timestamp <= entry.last_seen_at:
                continue
            entry.last_seen_at = sample.timestamp
            self._judge(now, entry, sample, before)

    def tick(self, now: Moment) -> None:
        """Let time pass: commands not sent in time expire, effects not seen in time have failed."""
        for entry in tuple(self._open.values()):
            record = entry.record
            if record.status is S.PLANNED and now.at >= record.valid_until:
                self.tell(now, record.command_id, N.EXPIRE, "never sent")
            elif entry.effect_due_s is not None and now.s >= entry.effect_due_s and record.status in WAITING_FOR_EFFECT:
                self.tell(now, record.command_id, N.NOT_SEEN, f"no effect seen within {VERIFY_WITHIN_S:.0f} s")

    def command(self, command_id: str) -> CommandBase:
        return self._entries[command_id].command

    def rewrite(self, command: CommandBase) -> None:
        """The body as it is really sent: a planned command gets its timestamp when it leaves."""
        assert command.command_id is not None
        assert command.valid_until is not None
        entry = self._entries[command.command_id]
        entry.command = command
        entry.record = msgspec.structs.replace(
            entry.record, valid_until=command.valid_until, attempts=entry.record.attempts + 1
        )

    def record(self, command_id: str) -> CommandRecord | None:
        entry = self._entries.get(command_id)
        return entry.record if entry else None

    def open_ids(self, *statuses: CommandStatus) -> list[str]:
        """Commands that have not ended and are in one of these states, oldest first; all where none is named."""
        return [key for key, entry in self._open.items() if not statuses or entry.record.status in statuses]

    def take_changed(self) -> list[CommandRecord]:
        """Records that changed since the last call, each in its newest form."""
        changed, self._changed = list(self._changed.values()), {}
        return changed

    def _answered(
        self, now: Moment, command_id: str, status: CommandStatus, answer: DispatchAck | DispatchRecord, note: str
    ) -> None:
        entry = self._entries.get(command_id)
        if entry is None or entry.record.status in FINAL:
            return
        news = _NEWS_OF_STATUS.get(status)
        if news is None:
            return
        entry.record = msgspec.structs.replace(
            entry.record,
            applied_kw=answer.applied_kw if answer.applied_kw is not None else entry.record.applied_kw,
            limited_by=answer.limited_by or entry.record.limited_by,
            code=answer.code,
            detail=answer.detail,
        )
        self._changed[command_id] = entry.record
        self.tell(now, command_id, news, note)
        if news is N.APPLIED and not _acts_on_power(entry.command):
            # A limit has no power of its own to be measured; its registers, read back word for word, are the effect.
            self.tell(now, command_id, N.SEEN, "read back word for word")

    def _judge(self, now: Moment, entry: Entry, sample: Telemetry, before: Telemetry | None) -> None:
        if sample.active_command_id != entry.record.command_id:
            entry.good_samples = 0
            return
        aimed_kw = sample.control.applied_kw
        if aimed_kw is None:
            aimed_kw = entry.record.applied_kw
        measured_kw = sample.battery.power_kw
        if aimed_kw is None or measured_kw is None or not shows(sample, before, aimed_kw):
            entry.good_samples = 0
            return
        entry.good_samples += 1
        if entry.good_samples < SAMPLES_IN_A_ROW:
            return
        entry.record = msgspec.structs.replace(
            entry.record,
            measured_kw=measured_kw,
            applied_kw=aimed_kw,
            limited_by=sample.control.limited_by or entry.record.limited_by,
        )
        self.tell(now, entry.record.command_id, N.SEEN, f"{measured_kw:.1f} kW measured, {aimed_kw:.1f} kW aimed at")

    def _move(self, now: Moment, entry: Entry, status: CommandStatus, note: str) -> None:
        change = StatusChange(status=status, at=now.at, note=note[:500])
        entry.record = msgspec.structs.replace(entry.record, status=status, history=(*entry.record.history, change))
        entry.since_s = now.s
        if status in FINAL:
            self._open.pop(entry.record.command_id, None)
        if status in WAITING_FOR_EFFECT and entry.effect_due_s is None:
            entry.effect_due_s = now.s + VERIFY_WITHIN_S
        self._changed[entry.record.command_id] = entry.record

    def _waiting(self) -> list[Entry]:
        return [entry for entry in self._open.values() if entry.record.status in WAITING_FOR_EFFECT]

    def _bound(self) -> None:
        """Forget the oldest commands that have ended; one that has not is never forgotten."""
        excess = len(self._entries) - RECORDS_MAX
        if excess > 0:
            for key in [key for key in self._entries if key not in self._open][:excess]:
                del self._entries[key]


def within_tolerance(measured_kw: float, aimed_kw: float) -> bool:
    return abs(measured_kw - aimed_kw) <= max(TOLERANCE_KW, TOLERANCE_RATIO * abs(aimed_kw))


def shows(sample: Telemetry, before: Telemetry | None, aimed_kw: float) -> bool:
    """Whether the measured power is what was aimed at, now or one cycle ago.

    What a sample shows is the aim of the cycle before, made for the load of that moment; what cars changed since falls
    to the battery, because the import is what the station holds. While a car ramps, the two differ by its gradient.
    """
    measured_kw = sample.battery.power_kw
    assert measured_kw is not None
    if within_tolerance(measured_kw, aimed_kw):
        return True
    if before is None or not 0.0 < (sample.timestamp - before.timestamp).total_seconds() <= ONE_CYCLE_S:
        return False
    aimed_before_kw = before.control.applied_kw
    if aimed_before_kw is None or before.active_command_id != sample.active_command_id:
        return False
    return within_tolerance(measured_kw, aimed_before_kw + _load_kw(sample) - _load_kw(before))


def _load_kw(sample: Telemetry) -> float:
    """What the site draws beside its battery, as far as it is known."""
    drawn_kw = math.fsum(each.power_kw for each in sample.chargers if each.power_kw is not None)
    return drawn_kw + (sample.aux_kw or 0.0) - (sample.pv_kw or 0.0)


def requested_kw(command: CommandBase) -> float | None:
    """The power a command asks of the battery; None where it asks for something else."""
    if isinstance(command, SetBatteryPower):
        return command.params.power_kw
    return 0.0 if isinstance(command, Stop) else None


def _acts_on_power(command: CommandBase) -> bool:
    return isinstance(command, SetBatteryPower | SetGridRequest | Stop)


def _placeholder(record: CommandRecord) -> CommandBase:
    """Stands for a command of which, after a restart, only the record is known; it is never sent."""
    if record.requested_kw is None:
        return CommandBase(
            site_id=record.site_id,
            timestamp=record.planned_at,
            command_id=record.command_id,
            valid_until=record.valid_until,
        )
    return SetBatteryPower(
        site_id=record.site_id,
        timestamp=record.planned_at,
        command_id=record.command_id,
        valid_until=record.valid_until,
        params=BatteryPower(power_kw=record.requested_kw),
    )
