"""Which spans go into which request, and which requests go into which cycle."""

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct

from shared.chargepost.layout import MOST_WORDS_READ, Block, Span, Table
from shared.chargepost.registers import (
    BATTERIES,
    CHARGERS,
    CONFIG,
    CONTROLS,
    ERRORS,
    GRID,
    MANAGEMENT,
    PV_METER,
    READ_BLOCKS,
    STATUS,
    WARNINGS,
)

AnySpan = Span[Any]


class ReadRequest(Struct, frozen=True, kw_only=True):
    """One request: `count` registers of one table, and the spans that it covers."""

    unit_id: int
    table: Table
    address: int
    count: int
    spans: tuple[str, ...] = ()


class Reading(Struct, frozen=True, kw_only=True):
    """What came back: the registers' bytes as on the wire, or the code of the device's refusal."""

    request: ReadRequest
    data: bytes | None = None
    error_code: str | None = None


def plan_reads(spans: Iterable[AnySpan], blocks: Sequence[Block] = READ_BLOCKS) -> tuple[ReadRequest, ...]:
    """As few requests as the station's blocks allow, in the order of the spans."""
    by_block: dict[int, list[AnySpan]] = {}
    for span in spans:
        by_block.setdefault(_block_of(span, blocks), []).append(span)
    return tuple(_request(together) for together in by_block.values())


def _block_of(span: AnySpan, blocks: Sequence[Block]) -> int:
    for index, block in enumerate(blocks):
        if (block.unit_id, block.table) == (span.unit_id, span.table) and block.holds(span.address, span.count):
            return index
    raise AssertionError(f"no block holds {span.name}")


def _request(spans: list[AnySpan]) -> ReadRequest:
    first, end = min(span.address for span in spans), max(span.end for span in spans)
    assert end - first <= MOST_WORDS_READ
    return ReadRequest(
        unit_id=spans[0].unit_id,
        table=spans[0].table,
        address=first,
        count=end - first,
        spans=tuple(span.name for span in spans),
    )


EVERY_CYCLE: tuple[AnySpan, ...] = (WARNINGS, ERRORS, STATUS, MANAGEMENT, GRID, *CHARGERS, *BATTERIES)
IN_TURN: tuple[AnySpan, ...] = (CONFIG, *CONTROLS)
"""What only we write: one of them each cycle, all of them in the first."""
CHECKS = plan_reads((WARNINGS, MANAGEMENT))
"""Read after a command's writes: a setpoint counts only while the station is under external control."""

SPAN_BY_NAME: dict[str, AnySpan] = {span.name: span for span in (*EVERY_CYCLE, *IN_TURN, PV_METER)}

_HOT = plan_reads(EVERY_CYCLE)
_TURNS = plan_reads(IN_TURN)
_PV = plan_reads((PV_METER,))


def reads_of_cycle(cycle: int, *, everything: bool, with_pv: bool) -> tuple[ReadRequest, ...]:
    """The requests of one cycle; `everything` at the first look after the link came up."""
    turns = _TURNS if everything else (_TURNS[cycle % len(_TURNS)],)
    return _HOT + turns + (_PV if with_pv else ())
