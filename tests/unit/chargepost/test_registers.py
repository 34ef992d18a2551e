"""The map says what the reference says, row by row, and every register survives the wire."""

import csv
import math
import os
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.chargepost.layout import F32, TEXT, U16, Field, Kind, Span, Table, WordOrder
from shared.chargepost.registers import (
    CHARGER_1,
    CONFIG,
    CONTROL_1,
    GRID,
    MANAGEMENT,
    PV_UNIT,
    READ_BLOCKS,
    SPANS,
    STATUS,
    GridMeter,
    Management,
    StationStatus,
    all_fields,
)
from shared.chargepost.states import ChargingMode, Warnings
from shared.errors import OutOfBounds

REFERENCE = Path(os.environ.get("SHARED", "../shared")) / "reference"
FIELDS = tuple(all_fields())
NUMBERS = tuple(field for field in FIELDS if field.reg.kind is not TEXT)


def rows(name: str) -> list[dict[str, str]]:
    path = REFERENCE / name
    if not path.exists():
        pytest.skip(f"{path} is absent; set SHARED to compare the map with its reference")
    with path.open() as file:
        return list(csv.DictReader(file))


def row_of(field: Field) -> dict[str, str]:
    """One of our registers in the words of the reference."""
    reg = field.reg
    default = "" if reg.default is None else str(reg.default) or "(empty)"
    return {
        "address": str(field.address),
        "words": str(field.words),
        "name": field.vendor,
        "type": reg.kind.type_name,
        "unit": reg.unit,
        "function_codes": " ".join(str(code) for code in field.function_codes),
        "access": "read-write" if reg.writable else "read",
        "internal_factor": f"{reg.factor:g}",
        "min": "" if reg.low is None else str(reg.low),
        "max": "" if reg.high is None else str(reg.high),
        "default": default,
        "on_exceed": ("clamp" if reg.clamps else "03") if reg.writable else "",
        "source": reg.source,
        "meaning": reg.meaning,
    }


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("registers_v2_6.csv", [f for f in FIELDS if f.unit_id != PV_UNIT and "charger_2" not in f.span]),
        ("registers_pv.csv", [f for f in FIELDS if f.unit_id == PV_UNIT]),
    ],
)
def test_the_map_equals_its_reference_row_by_row(name: str, fields: list[Field]) -> None:
    ours = {field.address: row_of(field) for field in fields}
    theirs = {int(row["address"]): row for row in rows(name)}

    assert ours == theirs


def test_charger_two_is_charger_one_ten_thousand_addresses_higher() -> None:
    first = {(f.address + 10_000, f.vendor) for f in FIELDS if "charger_1" in f.span}
    second = {(f.address, f.vendor) for f in FIELDS if "charger_2" in f.span}

    assert first == second
    assert len(first) == 29


def test_no_two_registers_share_an_address() -> None:
    taken = [(f.unit_id, f.table, address) for f in FIELDS for address in range(f.address, f.end)]

    assert len(taken) == len(set(taken))


@pytest.mark.parametrize("span", SPANS, ids=lambda span: span.name)
def test_every_span_lies_in_one_readable_block(span: Span[Any]) -> None:
    assert any(
        block.unit_id == span.unit_id and block.table is span.table and block.holds(span.address, span.count)
        for block in READ_BLOCKS
    )


def raw_numbers(field: Field) -> st.SearchStrategy[float]:
    kind = field.reg.kind
    if kind is F32:
        return st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False)
    low = int(kind.low if field.reg.low is None else field.reg.low)
    high = int(kind.high if field.reg.high is None else field.reg.high)
    return st.integers(low, high)


@pytest.mark.parametrize("field", NUMBERS, ids=lambda f: f"{f.span}.{f.name}")
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_every_register_survives_the_wire_over_its_whole_range_in_either_order_of_words(
    field: Field, data: st.DataObject
) -> None:
    raw, order = data.draw(raw_numbers(field)), data.draw(st.sampled_from(WordOrder))
    kind = field.reg.kind
    words = struct.unpack(f">{kind.words}H", struct.pack(">" + kind.code, raw))
    words = words[::-1] if order is WordOrder.LOW_FIRST else words
    value = field.decode(words, order)
    if value is None:
        assert field.choices is not None
        return

    again = field.decode(field.encode(value, order), order)

    assert isinstance(value, int | float)
    assert isinstance(again, int | float)
    if kind is F32:
        assert math.isclose(again, value, rel_tol=1e-6, abs_tol=1e-40)
    else:
        assert field.encode(value, order) == words


@pytest.mark.parametrize("field", [f for f in NUMBERS if f.choices is None], ids=lambda f: f"{f.span}.{f.name}")
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_what_lies_outside_the_range_is_refused_and_never_wrapped(field: Field, data: st.DataObject) -> None:
    kind, reg = field.reg.kind, field.reg
    low = kind.low if reg.low is None else reg.low
    high = kind.high if reg.high is None else reg.high
    beyond = data.draw(st.floats(1.0, 1e9)) * max(1.0, abs(high) * 1e-6 if kind is F32 else 1.0)
    raw = data.draw(st.sampled_from([low - beyond, high + beyond]))

    with pytest.raises(OutOfBounds):
        field.encode(raw * reg.factor)


@pytest.mark.parametrize("field", NUMBERS, ids=lambda f: f"{f.span}.{f.name}")
def test_a_sentinel_is_unknown_and_never_a_number(field: Field) -> None:
    sentinels: dict[Kind, list[tuple[int, ...]]] = {
        Kind.U16: [(0xFFFF,)],
        Kind.U32: [(0xFFFF, 0xFFFF)],
        Kind.I32: [(0x8000, 0x0000)],
        Kind.F32: [(0x7FC0, 0), (0x7F80, 0), (0xFF80, 0), (0xFFC0, 1)],
    }

    for words in sentinels[field.reg.kind]:
        assert field.decode(words) is None


@pytest.mark.parametrize("field", NUMBERS, ids=lambda f: f"{f.span}.{f.name}")
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_not_a_number_never_reaches_the_wire(field: Field, bad: float) -> None:
    with pytest.raises(OutOfBounds):
        field.encode(bad)


@pytest.mark.parametrize("span", SPANS, ids=lambda span: span.name)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_span_decodes_as_its_registers_do_one_by_one(span: Span[Any], data: st.DataObject) -> None:
    words = data.draw(st.lists(st.integers(0, 0xFFFF), min_size=span.count, max_size=span.count))

    image = span.decode(words)

    for field in span.fields.values():
        at = field.address - span.address
        assert getattr(image, field.name) == field.decode(words[at : at + field.words])


def test_the_map_alone_flips_signs() -> None:
    meter = GRID.decode(struct.unpack(">2H", struct.pack(">f", -35_000.0)) + (0,) * 26)

    assert meter.grid_kw == pytest.approx(35.0)
    assert MANAGEMENT.write(request_kw=40.0).words == (0xFFFF, 0x63C0)
    assert CONTROL_1.write(grid_target_kw=-1.0).words == (0x0000, 0x03E8)


def test_one_word_is_written_by_six_and_more_by_sixteen() -> None:
    assert MANAGEMENT.write(watchdog_interval_s=30).function == 6
    assert MANAGEMENT.write(watchdog_interval_s=30, operation_mode=1).words == (30, 1)
    assert MANAGEMENT.write(operation_mode=1, watchdog_interval_s=30).function == 16
    assert MANAGEMENT.write(clearance_kw=60.0, request_kw=None).words == (0, 60_000, 0x8000, 0)


def test_a_write_across_a_gap_is_a_bug_and_so_is_one_to_a_measurement() -> None:
    with pytest.raises(AssertionError, match="gap"):
        CONFIG.write(soc_max_pct=90, soc_reserve_pct=20)
    with pytest.raises(AssertionError, match="read-only"):
        GRID.write(grid_kw=1.0)


def test_none_is_written_only_where_it_means_something() -> None:
    with pytest.raises(OutOfBounds):
        MANAGEMENT.write(clearance_kw=None)


def test_values_are_rounded_and_not_truncated() -> None:
    assert MANAGEMENT.write(clearance_kw=59.9999999).words == (0, 60_000)
    assert MANAGEMENT.write(request_kw=-0.0004).words == (0, 0)


def test_read_back_compares_words() -> None:
    order = MANAGEMENT.write(clearance_kw=60.0)

    assert order.confirmed_by([0, 60_000])
    assert not order.confirmed_by([0, 60_001])


def test_a_text_is_padded_limited_and_ascii() -> None:
    words = MANAGEMENT.write(controller_name="amperio").words

    assert len(words) == 16
    assert MANAGEMENT.fields["controller_name"].decode(words) == "amperio"
    for bad in ("x" * 33, "größe", None, 3):
        with pytest.raises(OutOfBounds):
            MANAGEMENT.write(controller_name=bad)


def test_an_undefined_enum_is_unknown_and_bits_combine() -> None:
    assert CONTROL_1.fields["charging_mode"].decode([99]) is None
    assert CONTROL_1.fields["charging_mode"].decode([2]) is ChargingMode.DUAL
    both = next(f for f in FIELDS if f.name == "warnings").decode([3])
    assert both == Warnings.WATCHDOG_TRIGGERED | Warnings.NO_MODBUS_CONTROL


def test_the_order_of_words_is_one_setting() -> None:
    low_first = Span("status", Table.INPUT, 2000, StationStatus, order=WordOrder.LOW_FIRST)
    words = [0] * 14
    words[10], words[11] = 0x53D8, 0x0001

    assert low_first.decode(words).import_limit_kw == 87.0
    assert STATUS.decode([*words[:10], 0x0001, 0x53D8, 0, 0]).import_limit_kw == 87.0
    holding = Span("management", Table.HOLDING, 2500, Management, order=WordOrder.LOW_FIRST)
    assert holding.write(clearance_kw=87.0).words == (0x53D8, 0x0001)


def test_words_beyond_the_span_are_left_alone() -> None:
    assert isinstance(GRID.decode([0] * 125), GridMeter)
    assert CHARGER_1.decode([0] * 45).ev_kw == 0.0
    assert U16.words == 1
