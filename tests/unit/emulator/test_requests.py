"""The rules of the wire, PDU by PDU: what is answered, what is refused, and with which exception."""

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.device.measures import measures_of
from shared.chargepost.layout import F32, TEXT, Block, Field, Span, Table
from shared.chargepost.registers import CONFIG, CONTROL_1, MANAGEMENT, READ_BLOCKS, SPANS, all_fields
from shared.scenario.load import load_scenario
from tests.unit.emulator.rig import Rig

ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE, NO_TARGET = 0x01, 0x02, 0x03, 0x0B


def fc16(address: int, *words: int, count: int | None = None, size: int | None = None) -> bytes:
    count = len(words) if count is None else count
    size = 2 * len(words) if size is None else size
    return struct.pack(f">BHHB{len(words)}H", 16, address, count, size, *words)


def fc(function: int, first: int, second: int) -> bytes:
    return struct.pack(">BHH", function, first, second)


REFUSED = [
    ("quantity 0", fc(4, 1000, 0), ILLEGAL_VALUE),
    ("more than 125 registers", fc(4, 1000, 126), ILLEGAL_VALUE),
    ("quantity 65535", fc(3, 2500, 65_535), ILLEGAL_VALUE),
    ("one before a block", fc(4, 999, 2), ILLEGAL_ADDRESS),
    ("one behind a block", fc(4, 1027, 2), ILLEGAL_ADDRESS),
    ("between blocks", fc(4, 1500, 1), ILLEGAL_ADDRESS),
    ("behind the address space", fc(4, 65_535, 2), ILLEGAL_ADDRESS),
    ("status as a holding register", fc(3, 1000, 2), ILLEGAL_ADDRESS),
    ("management as an input register", fc(4, 2500, 2), ILLEGAL_ADDRESS),
    ("the PV device's address on unit 1", fc(4, 100, 2), ILLEGAL_ADDRESS),
    ("a read that is too short", b"\x04\x03\xe8\x00", ILLEGAL_VALUE),
    ("a read that is too long", fc(4, 1000, 2) + b"\0", ILLEGAL_VALUE),
    ("a write to a measurement", fc(6, 1000, 1), ILLEGAL_ADDRESS),
    ("a write to a gap", fc(6, 2503, 0), ILLEGAL_ADDRESS),
    ("a write across a gap", fc16(2502, 0, 0, 0), ILLEGAL_ADDRESS),
    ("a write across the gap of the window", fc16(515, 90, 0, 20), ILLEGAL_ADDRESS),
    ("a write to a read-only register", fc16(520, 0, 40_000), ILLEGAL_ADDRESS),
    ("half of a 32-bit value, first", fc(6, 2506, 1), ILLEGAL_VALUE),
    ("half of a 32-bit value, second", fc(6, 2507, 1), ILLEGAL_VALUE),
    ("one and a half 32-bit values", fc16(2506, 0, 1, 0), ILLEGAL_VALUE),
    ("the second half and more", fc16(2507, 1, 0, 0), ILLEGAL_VALUE),
    ("a part of the text", fc16(2514, *[0x4141] * 8), ILLEGAL_VALUE),
    ("one word of the text", fc(6, 2514, 0x4141), ILLEGAL_VALUE),
    ("a text that is no ASCII", fc16(2514, *[0x41C4] * 16), ILLEGAL_VALUE),
    ("an interval of 1 s", fc(6, 2500, 1), ILLEGAL_VALUE),
    ("an undefined mode", fc(6, 2501, 2), ILLEGAL_VALUE),
    ("an undefined charging mode", fc(6, 12_000, 4), ILLEGAL_VALUE),
    ("a clearance above the connection", fc16(2506, 1, 0x53D9), ILLEGAL_VALUE),
    ("a request above the connection", fc16(2508, 0xFFFE, 0xAC27), ILLEGAL_VALUE),
    ("a reserve above the ceiling", fc(6, 517, 91), ILLEGAL_VALUE),
    ("a reserve at the ceiling", fc(6, 517, 90), ILLEGAL_VALUE),
    ("a ceiling at the reserve", fc(6, 515, 20), ILLEGAL_VALUE),
    ("a unit's ceiling above the station's", fc(6, 12_009, 91), ILLEGAL_VALUE),
    ("quantity 0 in a write", fc16(2500), ILLEGAL_VALUE),
    ("124 words in a write", fc16(2500, *[0] * 124), ILLEGAL_VALUE),
    ("a byte count that does not fit", fc16(2500, 10, size=4), ILLEGAL_VALUE),
    ("a quantity that does not fit", fc16(2500, 10, count=2), ILLEGAL_VALUE),
    ("an FC 16 without data", b"\x10\x09\xc4", ILLEGAL_VALUE),
    ("an FC 06 that is too short", b"\x06\x09\xc4", ILLEGAL_VALUE),
]


@pytest.mark.parametrize(("why", "pdu", "code"), REFUSED, ids=[row[0] for row in REFUSED])
def test_a_mistake_gets_its_own_exception_and_changes_nothing(why: str, pdu: bytes, code: int) -> None:
    rig = Rig().run(1)
    before = rig.words(3, 2500, 30), rig.words(3, 515, 7), rig.words(3, 12_000, 11)

    assert rig.ask(pdu) == bytes((pdu[0] | 0x80, code))
    assert (rig.words(3, 2500, 30), rig.words(3, 515, 7), rig.words(3, 12_000, 11)) == before


@pytest.mark.parametrize("function", sorted(set(range(128)) - {3, 4, 6, 16}))
def test_exactly_four_function_codes_are_served(function: int) -> None:
    assert Rig().ask(bytes((function, 0, 0, 0, 1))) == bytes((function | 0x80, ILLEGAL_FUNCTION))


@pytest.mark.parametrize("unit", [0, 2, 3, 247, 255])
def test_every_other_unit_is_unknown(unit: int) -> None:
    assert Rig().ask(fc(4, 1000, 2), unit=unit) == bytes((0x84, NO_TARGET))
    assert Rig().ask(fc(8, 0, 0), unit=unit) == bytes((0x88, NO_TARGET))


def test_unit_two_answers_where_there_is_pv() -> None:
    rig = Rig("chargepost_pv").run(1)

    assert len(rig.words(4, 100, 4, unit=2)) == 4
    assert rig.put(200, 0, 30_000, unit=2) == 0
    assert rig.words(3, 200, 2, unit=2) == (0, 30_000)
    assert rig.ask(fc(4, 1000, 2), unit=2) == bytes((0x84, ILLEGAL_ADDRESS))


@pytest.mark.parametrize("block", [b for b in READ_BLOCKS if b.unit_id == 1], ids=lambda b: str(b.address))
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_read_inside_a_block_succeeds_and_equals_the_whole(block: Block, data: st.DataObject) -> None:
    rig = RUNNING
    first = data.draw(st.integers(block.address, block.end - 1))
    count = data.draw(st.integers(1, block.end - first))
    function = block.table.value

    whole = rig.words(function, block.address, block.count)

    at = first - block.address
    assert rig.words(function, first, count) == whole[at : at + count]


RUNNING = Rig().run(3)


@settings(max_examples=60, deadline=None)
@given(address=st.integers(0, 65_535), count=st.integers(1, 125), function=st.sampled_from([3, 4]))
def test_a_read_that_leaves_its_block_is_refused(address: int, count: int, function: int) -> None:
    inside = any(b.unit_id == 1 and b.table is Table(function) and b.holds(address, count) for b in READ_BLOCKS)

    reply = RUNNING.ask(fc(function, address, count))

    assert reply[0] == (function if inside else function | 0x80)
    assert len(reply) == (2 + 2 * count if inside else 2)


def test_gaps_read_zero() -> None:
    rig = Rig().run(1)

    assert rig.words(3, 2503, 1) == (0,)
    assert rig.words(3, 516, 1) == (0,)
    assert rig.words(4, 2001, 5) == (0,) * 5


def test_a_multiple_write_is_atomic() -> None:
    rig = Rig()

    assert rig.put(2500, 30, 1, 7) == ILLEGAL_VALUE
    assert rig.words(3, 2500, 3) == (60, 0, 0)
    assert rig.put(2500, 30, 1, 1) == 0
    assert rig.words(3, 2500, 3) == (30, 1, 1)


def test_limits_of_cars_are_clamped_and_the_clamped_value_reads_back() -> None:
    rig = Rig()

    assert rig.put(12_001, 0x0010, 0) == 0
    assert rig.read(CONTROL_1).ev_limit_kw == 300.0
    assert rig.put(12_003, 0, 600) == 0
    assert rig.read(CONTROL_1).ev_limit_a == 500


def test_power_on_values_are_those_of_the_map() -> None:
    rig = Rig()
    management, config = rig.read(MANAGEMENT), rig.read(CONFIG)

    assert (management.watchdog_interval_s, management.operation_mode, management.clearance_kw) == (60, 0, 40.0)
    assert (management.request_kw, management.controller_name) == (None, "")
    assert (config.soc_max_pct, config.soc_reserve_pct, config.fallback_clearance_kw) == (90, 20, 40.0)
    assert rig.read(CONTROL_1).ev_limit_kw == 150.0


def test_the_name_of_the_controller_is_kept() -> None:
    rig = Rig()

    assert rig.write(MANAGEMENT.write(controller_name="amperio SITE001")) == 0
    assert rig.read(MANAGEMENT).controller_name == "amperio SITE001"


# --- every register ---------------------------------------------------------------------------------------------------

FIELDS = tuple(all_fields())
SUNNY = Rig("chargepost_pv", load_scenario("reference_day")).charging(max_kw=100.0).run(20)
"""A station with PV, a car and the sun: everything that can be measured is."""


def name_of(field: Field) -> str:
    return f"{field.span}.{field.name}"


@pytest.mark.parametrize("field", FIELDS, ids=name_of)
def test_every_register_reads_the_same_whole_and_word_by_word_and_in_its_own_table_only(field: Field) -> None:
    function, unit = field.table.value, field.unit_id

    whole = SUNNY.words(function, field.address, field.words, unit=unit)
    halves = [SUNNY.words(function, address, 1, unit=unit) for address in range(field.address, field.end)]

    assert whole == tuple(word for (word,) in halves)
    assert SUNNY.ask(fc(7 - function, field.address, 1), unit=unit) == bytes((0x80 | (7 - function), ILLEGAL_ADDRESS))


@pytest.mark.parametrize("span", [span for span in SPANS if span.table is Table.INPUT], ids=lambda span: span.name)
def test_every_measurement_on_the_wire_is_what_the_physics_say(span: Span[Any]) -> None:
    fields = sorted(span.fields.values(), key=lambda field: field.address)
    shown = SUNNY.read(span)

    for field, value in zip(fields, measures_of(SUNNY.post)[span.name](), strict=True):
        resolution = 0.0 if field.reg.kind is F32 else abs(field.reg.factor) / 2.0
        seen = getattr(shown, field.name)
        assert (seen is None) == (value is None), field.name
        if seen is not None:
            assert seen == pytest.approx(value, rel=1e-6, abs=resolution + 1e-9), field.name


@pytest.mark.parametrize("field", [f for f in FIELDS if f.reg.writable], ids=name_of)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_every_register_takes_its_range_and_nothing_else_and_reads_back_word_by_word(
    field: Field, data: st.DataObject
) -> None:
    kind, unit = field.reg.kind, field.unit_id
    SUNNY.post.bank.power_on()
    before = SUNNY.words(3, field.address, field.words, unit=unit)
    if kind is TEXT:
        raw: float | bytes = data.draw(st.binary(min_size=32, max_size=32) | st.text("aZ9 -", max_size=32).map(padded))
    else:
        edges = [edge + step for edge in (field.reg.low, field.reg.high) if edge is not None for step in (-1, 0, 1)]
        in_kind = st.integers(int(kind.low), int(kind.high))
        raw = data.draw(st.sampled_from([edge for edge in edges if kind.low <= edge <= kind.high]) | in_kind)
    code = ">" + ("32s" if kind is TEXT else kind.code)
    words = struct.unpack(f">{field.words}H", struct.pack(code, raw))

    answered = SUNNY.put(field.address, *words, unit=unit, many=field.words > 1)

    kept = taken(field, raw)
    assert answered == (ILLEGAL_VALUE if kept is None else 0)
    after = before if kept is None else struct.unpack(f">{field.words}H", struct.pack(code, kept))
    assert SUNNY.words(3, field.address, field.words, unit=unit) == after


def taken(field: Field, raw: float | bytes) -> float | bytes | None:
    """What the map says that a register holds after this write at power-on; None where it is refused."""
    if isinstance(raw, bytes):
        return raw if raw.isascii() else None
    low, high = field.reg.low, field.reg.high
    assert low is not None
    assert high is not None
    if field.vendor == "station.config.soc_cp_max":
        low = 21  # above the reserve of 20
    if field.vendor == "station.config.soc_reserve":
        high = min(high, 89)  # below the ceiling of 90
    if field.vendor == "charger.mgmt.soc_cp_max":
        high = min(high, 90)  # not above the station's
    if field.optional and raw == field.reg.kind.sentinel:
        return raw
    if raw > high and field.reg.clamps:
        return high
    return raw if low <= raw <= high else None


def padded(text: str) -> bytes:
    return text.encode().ljust(32, b"\0")


@pytest.mark.parametrize("field", [f for f in FIELDS if f.reg.writable and f.words > 1], ids=name_of)
def test_no_part_of_a_value_is_ever_written(field: Field) -> None:
    unit = field.unit_id
    before = SUNNY.words(3, field.address, field.words, unit=unit)

    for first in range(field.address, field.end):
        assert SUNNY.put(first, 0, unit=unit, many=False) == ILLEGAL_VALUE
        for count in range(1, field.end - first + 1):
            if count < field.words:
                assert SUNNY.put(first, *[0] * count, unit=unit) == ILLEGAL_VALUE

    assert SUNNY.words(3, field.address, field.words, unit=unit) == before


@settings(max_examples=60, deadline=None)
@given(pdu=st.binary(min_size=0, max_size=253), unit=st.integers(0, 255))
def test_no_request_whatever_makes_the_station_stumble(pdu: bytes, unit: int) -> None:
    reply = RUNNING.ask(pdu, unit=unit)

    assert 2 <= len(reply) <= 253
    assert reply[0] & 0x7F == (pdu[0] & 0x7F if pdu else 0)


def test_the_ceiling_without_control_reads_as_this_station_has_it() -> None:
    assert Rig("reference_day").read(CONFIG).fallback_clearance_kw == 80.0
    assert Rig("chargepost").read(CONFIG).fallback_clearance_kw == 40.0
