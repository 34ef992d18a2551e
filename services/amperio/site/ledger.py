"""The command ledger: each command once, in order, with exactly one final state.

A command is known by its id and by the digest of its body: the same again gets the first answer, another body under
the same id is refused. The fence keeps order: a pair (epoch, seq) must grow, and an epoch below the highest one seen
never acts again; commands without the pair are ordered by their timestamp, ties by arrival.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

import msgspec
from msgspec import Struct

from shared.contract.dispatch import (
    CLOCK_SKEW_MAX_S,
    STALE_AFTER_S,
    VALIDITY_DEFAULT_S,
    VALIDITY_MAX_S,
    ApplySchedule,
    CommandStatus,
    DispatchAck,
    DispatchCommand,
    DispatchRecord,
    SetBatteryPower,
    SetChargerLimit,
    SetChargingMode,
    SetGridLimit,
    SetGridRequest,
    SetOperationMode,
    SetSocWindow,
    Stop,
    command_digest,
    command_id_of,
    command_name,
)
from shared.contract.telemetry import LimitedBy
from shared.errors import IdempotencyMismatch, InProgress, OutOfBounds, StaleCommand
from shared.moment import Moment

KEPT_S = 24 * 3600.0
TRANSITIONS: Mapping[CommandStatus, frozenset[CommandStatus]] = {
    CommandStatus.ACCEPTED: frozenset(
        {
            CommandStatus.APPLIED,
            CommandStatus.REJECTED,
            CommandStatus.FAILED,
            CommandStatus.SUPERSEDED,
            CommandStatus.EXPIRED,
        }
    ),
    CommandStatus.APPLIED: frozenset(),
    CommandStatus.REJECTED: frozenset(),
    CommandStatus.FAILED: frozenset(),
    CommandStatus.SUPERSEDED: frozenset(),
    CommandStatus.EXPIRED: frozenset(),
}
FINAL = frozenset(status for status, following in TRANSITIONS.items() if not following)

SETPOINTS = (SetBatteryPower, SetGridRequest)
"""Their validity is bounded: a setpoint must not outlive the mind that wished it."""


class Entry(Struct, frozen=True, kw_only=True):
    """One command and what became of it; what the store keeps."""

    command: DispatchCommand
    digest: str
    record: DispatchRecord
    arrival: int
    answer: DispatchAck | None = None
    """The first answer that was given, and that a repetition gets."""

    @property
    def command_id(self) -> str:
        return self.record.command_id

    @property
    def is_open(self) -> bool:
        return self.record.status not in FINAL


class Fence(Struct, frozen=True, kw_only=True):
    """The newest command of a group, by which older ones are told."""

    timestamp: datetime
    epoch: int | None = None
    seq: int | None = None

    def beyond(self, command: DispatchCommand) -> bool:
        """Whether `command` is older than this fence."""
        if self.epoch is not None and command.epoch is not None:
            return (command.epoch, command.seq or 0) < (self.epoch, self.seq or 0)
        return command.timestamp < self.timestamp


class Admission(Struct, frozen=True, kw_only=True):
    """A new entry that must be made durable before it may act, or the answer given before."""

    entry: Entry
    repeated: DispatchAck | None = None


def group_of(command: DispatchCommand) -> str:
    """What supersedes what: energy commands each other, limits and modes their own kind."""
    if isinstance(command, SetBatteryPower | SetGridRequest | ApplySchedule | Stop):
        return "energy"
    if isinstance(command, SetChargerLimit | SetChargingMode):
        return f"{command_name(command)}_{command.params.charger}"
    if isinstance(command, SetGridLimit | SetSocWindow | SetOperationMode):
        return command_name(command)
    return "test"


class Ledger:
    """All commands of one site of the last 24 hours."""

    def __init__(
        self, site_id: str, entries: Iterable[Entry] = (), *, fences: Mapping[str, Fence] | None = None, epoch: int = 0
    ) -> None:
        self.site_id = site_id
        self.fences: dict[str, Fence] = dict(fences or {})
        self.highest_epoch = epoch
        self._entries = {entry.command_id: entry for entry in sorted(entries, key=lambda each: each.arrival)}
        self._arrivals = max((entry.arrival for entry in self._entries.values()), default=0)
        self._changed: dict[str, Entry] = {}
        for entry in self._entries.values():
            # The ledger is durable before a command acts; what was kept beside it may be a cycle older.
            fence = self.fences.get(group_of(entry.command))
            if fence is None or not fence.beyond(entry.command):
                self._raise_fence(entry.command)

    def find(self, command_id: str) -> Entry | None:
        return self._entries.get(command_id)

    def open_entries(self) -> tuple[Entry, ...]:
        """Commands without a final state, in the order of arrival."""
        return tuple(entry for entry in self._entries.values() if entry.is_open)

    def repeated(self, command: DispatchCommand) -> Admission | None:
        """The first answer to a command seen before; None for a new one. 409 while the first still runs."""
        entry = self.find(command_id_of(command))
        if entry is None:
            return None
        if entry.digest != command_digest(command):
            raise IdempotencyMismatch("this command_id was used with another body", command_id=entry.command_id)
        if entry.is_open:
            raise InProgress("the first request with this command_id is still running", command_id=entry.command_id)
        return Admission(entry=entry, repeated=entry.answer or ack_of(entry.record))

    def check_time(self, now: Moment, command: DispatchCommand) -> None:
        """Refuse what is too old, too far ahead, past its validity, or older than the command in force."""
        age_s = (now.at - command.timestamp).total_seconds()
        if age_s > STALE_AFTER_S:
            raise StaleCommand(f"the command is older than {STALE_AFTER_S:.0f} s", age_s=round(age_s, 3))
        if age_s < -CLOCK_SKEW_MAX_S:
            raise StaleCommand("the command comes from the future: the clocks differ", age_s=round(age_s, 3))
        valid_until = validity_end(command)
        if valid_until <= now.at or valid_until <= command.timestamp:
            raise StaleCommand("the command is past its valid_until", valid_until=valid_until.isoformat())
        if isinstance(command, SETPOINTS) and valid_until - command.timestamp > timedelta(seconds=VALIDITY_MAX_S):
            raise OutOfBounds("a setpoint is valid for at most 15 minutes", field="valid_until")
        if command.epoch is not None and command.epoch < self.highest_epoch:
            raise StaleCommand("a newer epoch was seen", epoch=command.epoch, newest_epoch=self.highest_epoch)
        fence = self.fences.get(group_of(command))
        if fence is not None and fence.beyond(command):
            raise StaleCommand("a newer command is in force", newest_seq=fence.seq)

    def open(self, now: Moment, command: DispatchCommand) -> Admission:
        """Take a checked command in, as accepted."""
        command_id = command_id_of(command)
        assert command_id not in self._entries
        self._arrivals += 1
        entry = Entry(
            command=command,
            digest=command_digest(command),
            arrival=self._arrivals,
            record=DispatchRecord(
                command_id=command_id,
                site_id=self.site_id,
                command=command_name(command),
                status=CommandStatus.ACCEPTED,
                received_at=now.at,
                valid_until=validity_end(command),
                reason=command.reason,
            ),
        )
        self._raise_fence(command)
        self._put(entry)
        return Admission(entry=entry)

    def close(
        self,
        now: Moment,
        command_id: str,
        status: CommandStatus,
        *,
        applied_kw: float | None = None,
        limited_by: tuple[LimitedBy, ...] = (),
        code: str | None = None,
        detail: str | None = None,
    ) -> Entry:
        """Give a command its one final state."""
        entry = self._entries[command_id]
        assert status in TRANSITIONS[entry.record.status], f"{entry.record.status} -> {status}"
        record = msgspec.structs.replace(
            entry.record,
            status=status,
            final_at=now.at,
            applied_at=now.at if status is CommandStatus.APPLIED else None,
            applied_kw=None if applied_kw is None else round(applied_kw, 3),
            limited_by=limited_by,
            code=code,
            detail=detail,
        )
        return self._put(msgspec.structs.replace(entry, record=record))

    def answered(self, command_id: str, ack: DispatchAck) -> None:
        """Remember the answer that was given first, where it is not the one that the record gives for ever."""
        entry = self._entries[command_id]
        if entry.answer is None and entry.is_open:
            self._put(msgspec.structs.replace(entry, answer=ack))

    def drop(self, command_id: str) -> None:
        """Forget a command that could not be made durable: it was never accepted."""
        self._entries.pop(command_id, None)
        self._changed.pop(command_id, None)

    def forget(self, now: Moment) -> tuple[str, ...]:
        """Drop closed entries older than 24 h; entries stand in the order of arrival, so the look is short."""
        old: list[str] = []
        for command_id, entry in self._entries.items():
            if (now.at - entry.record.received_at).total_seconds() <= KEPT_S:
                break
            if not entry.is_open:
                old.append(command_id)
        for command_id in old:
            del self._entries[command_id]
        return tuple(old)

    def take_changes(self) -> tuple[Entry, ...]:
        """Entries that the store must write, once each."""
        changed = tuple(self._changed.values())
        self._changed.clear()
        return changed

    def _raise_fence(self, command: DispatchCommand) -> None:
        self.fences[group_of(command)] = Fence(timestamp=command.timestamp, epoch=command.epoch, seq=command.seq)
        self.highest_epoch = max(self.highest_epoch, command.epoch or 0)

    def _put(self, entry: Entry) -> Entry:
        self._entries[entry.command_id] = entry
        self._changed[entry.command_id] = entry
        return entry


def validity_end(command: DispatchCommand) -> datetime:
    return command.valid_until or command.timestamp + timedelta(seconds=VALIDITY_DEFAULT_S)


def ack_of(record: DispatchRecord) -> DispatchAck:
    """The answer that a record amounts to now."""
    return DispatchAck(
        command_id=record.command_id,
        site_id=record.site_id,
        status=record.status,
        applied_kw=record.applied_kw,
        limited_by=record.limited_by,
        code=record.code,
        detail=record.detail,
    )
