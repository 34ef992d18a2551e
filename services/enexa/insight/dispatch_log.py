"""The dispatch log as rows: what was requested, applied and measured, and each command's way through its life."""

import csv
from datetime import datetime
from io import StringIO

from msgspec import Struct
from msgspec.structs import replace

from shared.contract.dispatch import CommandStatus
from shared.contract.reads import CommandRecord

LIFE = (
    CommandStatus.PLANNED,
    CommandStatus.SENT,
    CommandStatus.ACKNOWLEDGED,
    CommandStatus.APPLIED,
    CommandStatus.VERIFIED,
)
FINAL = frozenset(
    {
        CommandStatus.VERIFIED,
        CommandStatus.REJECTED,
        CommandStatus.FAILED,
        CommandStatus.SUPERSEDED,
        CommandStatus.EXPIRED,
    }
)
TONES: dict[str, str] = {
    CommandStatus.VERIFIED: "good",
    CommandStatus.REJECTED: "bad",
    CommandStatus.FAILED: "bad",
    CommandStatus.UNKNOWN: "notice",
    CommandStatus.EXPIRED: "neutral",
    CommandStatus.SUPERSEDED: "neutral",
}
CSV_COLUMNS = (
    "command_id",
    "site_id",
    "command",
    "status",
    "reason",
    "planned_at",
    "sent_at",
    "acknowledged_at",
    "applied_at",
    "verified_at",
    "final_at",
    "valid_until",
    "requested_kw",
    "applied_kw",
    "measured_kw",
    "limited_by",
    "code",
    "detail",
    "schedule_version",
    "slot_start",
    "attempts",
)
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


class Step(Struct, frozen=True, kw_only=True):
    """One station of a command's life; `after_s` counts from the first one. Reached without `at` = passed unseen."""

    status: str
    reached: bool
    at: datetime | None = None
    after_s: float | None = None
    note: str = ""


class Row(Struct, frozen=True, kw_only=True):
    """One line of the log."""

    record: CommandRecord
    short_id: str
    tone: str
    final: bool
    steps: tuple[Step, ...]
    took_s: float | None
    """From planned to the final state; None while it lives."""


class Filter(Struct, frozen=True, kw_only=True):
    """What a reader wants to see; empty = everything."""

    status: str = ""
    reason: str = ""
    command: str = ""
    text: str = ""
    from_at: datetime | None = None
    until_at: datetime | None = None


def row(record: CommandRecord) -> Row:
    steps = _steps(record)
    final = record.status in FINAL
    reached = [step.after_s for step in steps if step.reached and step.after_s is not None]
    return Row(
        record=record,
        short_id=record.command_id.removeprefix(f"{record.site_id}-")[:10],
        tone=TONES.get(record.status, "neutral" if not final else "good"),
        final=final,
        steps=steps,
        took_s=max(reached) if final and reached else None,
    )


def rows(records: tuple[CommandRecord, ...], wanted: Filter | None = None) -> tuple[Row, ...]:
    """The rows that a filter lets through, in the order given."""
    chosen = wanted or Filter()
    return tuple(row(record) for record in records if matches(record, chosen))


def matches(record: CommandRecord, wanted: Filter) -> bool:
    """`text` is looked for in the id, the reason, the code and the detail."""
    exact = (
        (wanted.status, record.status),
        (wanted.reason, record.reason),
        (wanted.command, record.command),
    )
    if any(want and want != have for want, have in exact):
        return False
    if wanted.from_at is not None and record.planned_at < wanted.from_at:
        return False
    if wanted.until_at is not None and record.planned_at >= wanted.until_at:
        return False
    hay = " ".join((record.command_id, record.reason, record.code or "", record.detail or ""))
    return wanted.text.lower() in hay.lower()


def first_times(record: CommandRecord) -> dict[str, datetime]:
    """When each state was first reached."""
    times: dict[str, datetime] = {}
    for change in record.history:
        times.setdefault(change.status, change.at)
    times.setdefault(CommandStatus.PLANNED, record.planned_at)
    return times


def _steps(record: CommandRecord) -> tuple[Step, ...]:
    """The five stations of the good way, and after the last one reached, where the command left it instead."""
    times = first_times(record)
    notes: dict[str, str] = {change.status: change.note for change in record.history}
    begun = times[CommandStatus.PLANNED]

    def step(status: str) -> Step:
        at = times.get(status)
        after_s = (at - begun).total_seconds() if at else None
        return Step(status=status, reached=at is not None, at=at, after_s=after_s, note=notes.get(status, ""))

    if record.status not in FINAL or record.status is CommandStatus.VERIFIED:
        return _passed(tuple(step(status) for status in LIFE))
    way = [step(status) for status in LIFE if status in times]
    return (*way, step(record.status))


def _passed(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """A station that was skipped (the reply already said applied) counts as passed, without a time of its own."""
    last = max((index for index, step in enumerate(steps) if step.reached), default=0)
    return tuple(replace(step, reached=index <= last) for index, step in enumerate(steps))


def to_csv(records: tuple[CommandRecord, ...]) -> str:
    """RFC 4180 with a header; times in UTC, numbers with a point, so that any tool reads it."""
    out = StringIO()
    writer = csv.writer(out)
    writer.writerow(CSV_COLUMNS)
    writer.writerows(_cells(record) for record in records)
    return out.getvalue()


def _cells(record: CommandRecord) -> list[str]:
    times = first_times(record)
    final = times.get(record.status) if record.status in FINAL else None
    values: dict[str, object] = {
        **{name: getattr(record, name) for name in CSV_COLUMNS if hasattr(record, name)},
        **{f"{status}_at": times.get(status) for status in LIFE},
        "final_at": final,
        "limited_by": " ".join(record.limited_by),
    }
    return [_cell(values[name]) for name in CSV_COLUMNS]


def _cell(value: object) -> str:
    """A spreadsheet must not take a text for a formula; numbers stay numbers."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, str) and value.startswith(FORMULA_STARTS):
        return f"'{value}"
    return str(value)
