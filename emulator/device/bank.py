"""The registers as bytes: what a request may read, what it may write, and the exception code for every mistake.

Holding registers live here as bytes. Measurements are packed from the physics when somebody asks for them, once per
step. A write is checked whole before any of it is applied.
"""

import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias, cast

from msgspec import Struct

from shared.chargepost.layout import F32, TEXT, WORD_ORDER, Block, Field, Span, Table, Value, WordOrder
from shared.chargepost.registers import PV_UNIT, READ_BLOCKS, SPANS, all_fields

ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE, DEVICE_FAILURE = 0x01, 0x02, 0x03, 0x04
NO_GATEWAY_TARGET = 0x0B

Measure: TypeAlias = Callable[[], tuple[Value, ...]]
Key: TypeAlias = tuple[int, str]


HOLDING: dict[tuple[int, int], Field] = {
    (field.unit_id, address): field
    for field in all_fields()
    if field.table is Table.HOLDING
    for address in range(field.address, field.end)
}
"""The holding register at each address of each unit."""


class Change(Struct, frozen=True, kw_only=True):
    """One register that a write has set: the fact for the ledger, raw as on the wire."""

    unit_id: int
    address: int
    name: str
    old: str
    new: str


class Page:
    """One block's bytes; `pack` refreshes those that hold measurements."""

    __slots__ = ("block", "data", "fresh_step", "start", "stop", "writers")

    def __init__(self, block: Block) -> None:
        self.block = block
        self.start = block.address
        self.stop = block.end
        self.data = bytearray(2 * block.count)
        self.writers: list[SpanWriter] = []
        self.fresh_step = -1

    def pack(self, step: int) -> None:
        if self.fresh_step != step and self.writers:
            for writer in self.writers:
                writer.write(self.data)
            self.fresh_step = step


class SpanWriter:
    """Turns one span's measurements into bytes of its page; `measure` gives values in the order of addresses."""

    __slots__ = ("_fields", "_last", "_offset", "_order", "_pack", "_steps", "_swaps", "measure")

    def __init__(self, span: Span[Any], page: Page, measure: Measure, order: WordOrder) -> None:
        fields = sorted(span.fields.values(), key=lambda field: field.address)
        layout, at = ">", span.address
        for field in fields:
            layout += "xx" * (field.address - at) + field.reg.kind.code
            at = field.end
        self._pack = struct.Struct(layout).pack_into
        self._offset = 2 * (span.address - page.start)
        self._fields = fields
        self._steps = tuple(
            (1.0 / reg.factor, reg.kind is F32, reg.kind.sentinel, int(reg.kind.low), int(reg.kind.high))
            for reg in (field.reg for field in fields)
        )
        self._swaps = [2 * (f.address - page.start) for f in fields if f.words == 2]
        self._order = order
        self._last: tuple[Value, ...] | None = None
        self.measure = measure

    def write(self, data: bytearray) -> None:
        values = self.measure()
        if values == self._last:
            return
        self._last = values
        raws: list[float | int] = []
        for value, (scale, is_float, sentinel, low, high) in zip(values, self._steps, strict=True):
            if value is None:
                raws.append(sentinel)
            elif is_float:
                raws.append(cast("float", value) * scale)
            else:
                raw = round(cast("float", value) * scale)
                raws.append(low if raw < low else min(raw, high))
        self._pack(data, self._offset, *raws)
        if self._order is WordOrder.LOW_FIRST:
            for at in self._swaps:
                data[at : at + 4] = data[at + 2 : at + 4] + data[at : at + 2]


class Bank:
    """All pages of a station. `checks` judge a write by the values it would leave behind."""

    def __init__(
        self,
        measures: Mapping[str, Measure],
        defaults: Mapping[str, int],
        *,
        has_pv: bool,
        check: Callable[[Mapping[Key, Value]], bool],
        order: WordOrder = WORD_ORDER,
    ) -> None:
        self._check = check
        self._order = order
        self._defaults = defaults
        self._pages: dict[tuple[int, int], list[Page]] = {}
        self._page_at: dict[tuple[int, int, int], Page] = {}
        """The page of each register: by unit, table and address."""
        self.units = {1, PV_UNIT} if has_pv else {1}
        for block in READ_BLOCKS:
            if block.unit_id in self.units:
                page = Page(block)
                self._pages.setdefault((block.unit_id, block.table.value), []).append(page)
                for address in range(page.start, page.stop):
                    self._page_at[block.unit_id, block.table.value, address] = page
        for span in SPANS:
            if span.unit_id in self.units and span.table is Table.INPUT:
                shown = self._page(span.unit_id, span.table.value, span.address, span.count)
                assert shown is not None
                shown.writers.append(SpanWriter(span, shown, measures[span.name], order))
        self.power_on()

    def power_on(self) -> None:
        """Set every holding register to its power-on value."""
        for field in set(HOLDING.values()):
            if field.unit_id not in self.units:
                continue
            default = self._defaults.get(field.vendor, field.reg.default)
            if isinstance(default, str) and field.reg.kind is not TEXT:
                default = self._defaults[default]
            assert default is not None
            self._put(field, default.encode() if isinstance(default, str) else default)

    def read(self, unit_id: int, function: int, address: int, count: int, step: int) -> bytes | int:
        """The bytes of `count` registers as of this physics step, or an exception code."""
        page = self._page(unit_id, function, address, count)
        if page is None:
            return ILLEGAL_ADDRESS
        page.pack(step)
        at = 2 * (address - page.start)
        return bytes(page.data[at : at + 2 * count])

    def page(self, unit_id: int, function: int, address: int, count: int, step: int) -> Page | None:
        """The page of a read as of this step, for whoever shows it otherwise than it is."""
        page = self._page(unit_id, function, address, count)
        if page is not None:
            page.pack(step)
        return page

    def outdate(self) -> None:
        """Something changed between two steps: the next read packs anew."""
        for page in self.pages(Table.INPUT):
            page.fresh_step = -1

    def pages(self, table: Table) -> Iterator[Page]:
        """Every page of one table."""
        for (_, function), pages in self._pages.items():
            if function == table.value:
                yield from pages

    def value(self, unit_id: int, address: int) -> Value:
        """Our value of a holding register."""
        return self._value(HOLDING[unit_id, address])

    def set(self, unit_id: int, address: int, value: Value) -> None:
        """Let the firmware itself change a holding register."""
        field = HOLDING[unit_id, address]
        self._put(field, field.raw_of(value))

    def write(self, unit_id: int, address: int, data: bytes, *, words_swapped: bool = False) -> list[Change] | int:
        """Apply all of a write, or nothing of it and answer with the exception code.

        `words_swapped` reads 32-bit values of the request in the other order of words.
        """
        low_first = (self._order is WordOrder.LOW_FIRST) != words_swapped
        count = len(data) // 2
        if self._page(unit_id, Table.HOLDING.value, address, count) is None:
            return ILLEGAL_ADDRESS
        fields = self._touched(unit_id, address, count)
        if isinstance(fields, int):
            return fields
        raws: dict[Key, float | bytes] = {}
        for field in fields:
            at = 2 * (field.address - address)
            raw = self._accepted(field, data[at : at + 2 * field.words], low_first=low_first)
            if raw is None:
                return ILLEGAL_VALUE
            raws[field.unit_id, f"{field.span}.{field.name}"] = raw
        after = {key: f.value_of(raw) for f, (key, raw) in zip(fields, raws.items(), strict=True)}
        if not self._check(after):
            return ILLEGAL_VALUE
        return [self._changed(field, raw) for field, raw in zip(fields, raws.values(), strict=True)]

    def _page(self, unit_id: int, function: int, address: int, count: int) -> Page | None:
        page = self._page_at.get((unit_id, function, address))
        return page if page is not None and address + count <= page.stop else None

    def _touched(self, unit_id: int, address: int, count: int) -> list[Field] | int:
        """The registers a write covers, each of them whole; gaps and read-only registers come before halves."""
        touched: list[Field] = []
        for each in range(address, address + count):
            field = HOLDING.get((unit_id, each))
            if field is None or not field.reg.writable:
                return ILLEGAL_ADDRESS
            if not touched or touched[-1] is not field:
                touched.append(field)
        if touched[0].address < address or touched[-1].end > address + count:
            return ILLEGAL_VALUE
        return touched

    def _accepted(self, field: Field, data: bytes, *, low_first: bool) -> float | bytes | None:
        """The raw value that the register will hold, clamped where the map says so; None if it is illegal."""
        reg = field.reg
        if reg.kind is TEXT:
            return data if data.isascii() else None
        if low_first and field.words == 2:
            data = data[2:] + data[:2]
        raw: float = struct.unpack(">" + reg.kind.code, data)[0]
        if raw == reg.kind.sentinel and field.optional:
            return raw
        if reg.high is not None and raw > reg.high:
            return reg.high if reg.clamps else None
        if reg.low is not None and raw < reg.low:
            return None
        return raw

    def _changed(self, field: Field, raw: float | bytes) -> Change:
        old = self._value(field)
        self._put(field, raw)
        return Change(
            unit_id=field.unit_id,
            address=field.address,
            name=f"{field.span}.{field.name}",
            old=_shown(old),
            new=_shown(field.value_of(raw)),
        )

    def _value(self, field: Field) -> Value:
        page, at = self._place(field)
        data = page.data[at : at + 2 * field.words]
        if self._order is WordOrder.LOW_FIRST and field.words == 2:
            data = data[2:] + data[:2]
        return field.value_of(struct.unpack(">" + field.reg.kind.code, data)[0])

    def _put(self, field: Field, raw: float | bytes) -> None:
        page, at = self._place(field)
        struct.pack_into(">" + field.reg.kind.code, page.data, at, raw)
        if self._order is WordOrder.LOW_FIRST and field.words == 2:
            page.data[at : at + 4] = page.data[at + 2 : at + 4] + page.data[at : at + 2]

    def _place(self, field: Field) -> tuple[Page, int]:
        page = self._page(field.unit_id, field.table.value, field.address, field.words)
        assert page is not None, "every register lies in a readable block"
        return page, 2 * (field.address - page.start)


def _shown(value: Value) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
