"""Words to image: what a station cannot say is unknown, never a number; and how far the rest is believed."""

import math
import random
import struct
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from services.amperio.site.control import envelope_of
from services.amperio.site.image import _PLAUSIBLE, SiteImage, image_of
from services.amperio.site.limits import Held, limits_in_force
from services.amperio.site.reads import EVERY_CYCLE, IN_TURN, AnySpan, Reading, plan_reads, reads_of_cycle
from services.amperio.site.trust import Trust
from shared.chargepost.layout import F32, I32, U16, U32, Field
from shared.chargepost.registers import BATTERY_1, BatteryStatus, ChargerStatus, GridMeter, StationStatus
from shared.chargepost.states import ProcessState
from shared.contract.telemetry import Mode
from shared.contract.wire import Quality
from shared.moment import moment_at
from tests.unit.amperio.bench import Bench, a_config

NOW = moment_at(datetime(2024, 1, 15, 10, 0, tzinfo=UTC))
NOTHING = {
    U16: (b"\xff\xff",),
    U32: (b"\xff\xff\xff\xff",),
    I32: (b"\x80\x00\x00\x00",),
    F32: (struct.pack(">f", math.nan), struct.pack(">f", math.inf), struct.pack(">f", -math.inf)),
}
FIELDS = [
    (span, field) for span in (*EVERY_CYCLE, *IN_TURN) for field in span.fields.values() if field.reg.kind in NOTHING
]


def image_with(span: AnySpan, field: Field, raw: bytes) -> SiteImage:
    data = bytearray(2 * span.count)
    at = 2 * (field.address - span.address)
    data[at : at + len(raw)] = raw
    (request,) = plan_reads((span,))
    return image_of(NOW, (Reading(request=request, data=bytes(data)),), None)


def value(image: SiteImage, span: AnySpan, field: Field) -> Any:
    places: list[Any] = [image.grid, image.status, image.warnings, image.errors, image.management, image.config]
    places += [*image.chargers, *image.batteries, *image.controls]
    held = next(place for place in places if place is not None and type(place) is span.of)
    return getattr(held, field.name)


@pytest.mark.parametrize(("span", "field"), FIELDS, ids=[f"{span.name}.{field.name}" for span, field in FIELDS])
def test_d8_every_register_that_says_not_available_is_unknown(span: AnySpan, field: Field) -> None:
    for raw in NOTHING[field.reg.kind]:
        found = value(image_with(span, field, raw), span, field)
        assert found is None or field.name in ("warnings", "errors")


ONE_WORD = (b"\x80\x00", b"\x7f\xff", b"\xff\xff")
TWO_WORDS = (b"\x80\x00\x00\x00", b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\x00\x00\x00\x01")
"""What devices say instead of "not available"; the last is a subnormal float."""


def test_d8_whatever_a_register_says_is_unknown_or_possible() -> None:
    bounds = {(place, name): (low, high) for place, rows in _PLAUSIBLE.items() for name, low, high in rows}
    tried = 0
    for span, field in FIELDS:
        place = span.name.rstrip("_12")
        for raw in ONE_WORD if field.words == 1 else (*TWO_WORDS, *NOTHING[F32]):
            found = value(image_with(span, field, raw), span, field)
            if found is None or (place, field.name) not in bounds:
                continue
            low, high = bounds[place, field.name]
            assert low <= found <= high, f"{span.name}.{field.name} says {found}"
            assert field.reg.kind is not F32 or found == 0.0 or abs(found) > 1e-37, "a subnormal is no number"
            tried += 1
    assert tried > 10


@pytest.mark.parametrize("soc_pct", [101, 255, 1000, 65_535])
def test_d8_an_impossible_state_of_charge_is_unknown(soc_pct: int) -> None:
    image = image_with(BATTERY_1, BATTERY_1.fields["soc_pct"], struct.pack(">H", soc_pct))

    assert image.batteries[0] is not None
    assert image.batteries[0].soc_pct is None


def test_all_spans_are_read_first_and_ten_requests_a_cycle_suffice_afterwards() -> None:
    first = reads_of_cycle(0, everything=True, with_pv=False)
    turns = [reads_of_cycle(cycle, everything=False, with_pv=False) for cycle in range(3)]

    assert {name for request in first for name in request.spans} == {span.name for span in (*EVERY_CYCLE, *IN_TURN)}
    assert {len(requests) for requests in turns} == {10}
    assert {name for requests in turns for request in requests for name in request.spans} == {
        name for request in first for name in request.spans
    }


def an_image(*, soc_pct: float | None = 50.0, left_s: float = 10.0, digest: int = 1, **charger: Any) -> SiteImage:
    battery = msgspec.convert(dict.fromkeys(BatteryStatus.__struct_fields__), BatteryStatus)
    status = msgspec.convert(dict.fromkeys(StationStatus.__struct_fields__), StationStatus)
    outlet = msgspec.convert(dict.fromkeys(ChargerStatus.__struct_fields__), ChargerStatus)
    meter = msgspec.convert(dict.fromkeys(GridMeter.__struct_fields__), GridMeter)
    return SiteImage(
        at=NOW,
        grid=msgspec.structs.replace(meter, grid_kw=80.0, own_consumption_kw=5.0),
        status=msgspec.structs.replace(status, watchdog_left_s=left_s),
        batteries=(msgspec.structs.replace(battery, soc_pct=soc_pct, battery_kw=20.0),) * 2,
        chargers=(msgspec.structs.replace(outlet, **charger), msgspec.structs.replace(outlet, ev_kw=0.0)),
        digest=digest,
    )


def test_c13_a_station_whose_registers_stand_still_is_stale_within_ten_seconds() -> None:
    trust = Trust()

    judged = [trust.judge(NOW.later(second), an_image(), beaten_s_ago=5.0).fresh for second in range(13)]

    assert judged[:9] == [True] * 9
    assert judged[9:] == [False] * 4


def test_c13_constant_values_with_a_falling_countdown_are_fresh() -> None:
    trust = Trust()

    judged = [trust.judge(NOW.later(second), an_image(digest=second), beaten_s_ago=5.0).fresh for second in range(100)]

    assert all(judged)


def test_c11_a_state_of_charge_that_jumps_halves_the_power_until_it_has_stood_for_a_minute() -> None:
    trust = Trust()
    trust.judge(NOW, an_image(soc_pct=50.0, digest=0), beaten_s_ago=0.0)

    jumped = trust.judge(NOW.later(1), an_image(soc_pct=80.0, digest=1), beaten_s_ago=0.0)
    later = trust.judge(NOW.later(62), an_image(soc_pct=80.0, digest=2), beaten_s_ago=0.0)

    assert jumped.soc_pct == (50.0, 50.0)
    assert jumped.soc_authority == (0.5, 0.5)
    assert jumped.quality["battery.units.0.soc_pct"] is Quality.ESTIMATED
    assert (later.soc_pct, later.soc_authority) == ((80.0, 80.0), (1.0, 1.0))


RESERVE_PCT = 20.0
LIMITS = msgspec.structs.replace(
    limits_in_force(NOW.at, Mode.ONLINE, a_config(), Held(), fallback_clearance_kw=None), reserve_pct=RESERVE_PCT
)


def believed_wrongly(seed: int) -> list[str]:
    """Two minutes of a string that moves as charge can, and of a reading that fails: what was taken for true."""
    chance, trust, wrong = random.Random(seed), Trust(), []
    truth_pct, drift_pct = chance.uniform(12.0, 90.0), chance.uniform(-0.03, 0.03)
    begin_s, length_s = chance.randint(5, 40), chance.randint(1, 55)
    kind = chance.choice(("none", "jump", "frozen", "wild"))
    jump_pct, stood_pct = chance.choice((-1.0, 1.0)) * chance.uniform(10.0, 60.0), truth_pct
    for second in range(120):
        truth_pct += drift_pct
        failing = begin_s <= second < begin_s + length_s
        stood_pct = stood_pct if failing else truth_pct
        said: dict[str, float | None] = {
            "none": None,
            "jump": min(max(truth_pct + jump_pct, 0.0), 100.0),
            "frozen": stood_pct,
            "wild": chance.uniform(0.0, 100.0),
        }
        soc_pct = said[kind] if failing else truth_pct
        image = an_image(soc_pct=soc_pct, digest=second)
        able = [msgspec.structs.replace(each, discharge_max_kw=110.0) for each in image.batteries if each]
        image = msgspec.structs.replace(image, batteries=tuple(able))
        trusted = trust.judge(NOW.later(second), image, beaten_s_ago=0.0)
        used_pct, authority = trusted.soc_pct[0], trusted.soc_authority[0]
        flagged = "battery.units.0.soc_pct" in trusted.quality
        if used_pct is None or abs(used_pct - truth_pct) > 6.0:
            wrong.append(f"{seed} {kind} {second}: {used_pct} for {truth_pct}")
        if (authority < 1.0) is not flagged or authority not in (0.5, 1.0):
            wrong.append(f"{seed} {kind} {second}: authority {authority}, flagged {flagged}")
        if soc_pct is None or abs(soc_pct - truth_pct) > 6.0:
            wrong += [f"{seed} {kind} {second}: believed in full"] if authority != 0.5 else []
        allowed_kw = 0.0 if (used_pct or 0.0) <= RESERVE_PCT else 220.0 * authority
        if envelope_of(image, trusted, LIMITS).discharge_max_kw != pytest.approx(allowed_kw):
            wrong.append(f"{seed} {kind} {second}: discharge at {used_pct}")
    return wrong


def test_c11_readings_that_never_stand_carry_nothing_after_a_minute() -> None:
    trust, chance = Trust(), random.Random(7)
    trust.judge(NOW, an_image(soc_pct=50.0, digest=0), beaten_s_ago=0.0)

    judged = [
        trust.judge(NOW.later(second), an_image(soc_pct=chance.uniform(0.0, 100.0), digest=second), beaten_s_ago=0.0)
        for second in range(1, 300)
    ]

    assert {each.soc_authority[0] for each in judged[:60]} <= {0.5, 1.0}
    assert {each.soc_authority[0] for each in judged[70:]} == {0.0}


def test_c11_a_reading_that_fails_never_drains_a_string_and_never_counts_in_full() -> None:
    assert [each for seed in range(60) for each in believed_wrongly(seed)] == []


@pytest.mark.soak
def test_c11_a_thousand_traces_of_the_state_of_charge() -> None:
    assert [each for seed in range(1000) for each in believed_wrongly(seed)] == []


def test_c11_an_unknown_state_of_charge_carries_no_power_after_a_minute() -> None:
    trust = Trust()
    trust.judge(NOW, an_image(digest=0), beaten_s_ago=0.0)

    soon = trust.judge(NOW.later(5), an_image(soc_pct=None, digest=1), beaten_s_ago=0.0)
    late = trust.judge(NOW.later(70), an_image(soc_pct=None, digest=2), beaten_s_ago=0.0)

    assert soon.soc_authority == (0.5, 0.5)
    assert late.soc_authority == (0.0, 0.0)
    assert late.quality["battery.units.0.soc_pct"] is Quality.UNKNOWN


def test_a_meter_that_says_zero_while_the_counter_runs_is_replaced_by_the_balance() -> None:
    trust = Trust()
    charging = {"process_state": ProcessState.CHARGING, "ev_kw": 0.0}

    before = trust.judge(NOW, an_image(digest=0, session_energy_kwh=1.0, **charging), beaten_s_ago=0.0)
    after = trust.judge(NOW.later(5), an_image(digest=1, session_energy_kwh=1.2, **charging), beaten_s_ago=0.0)

    assert before.ev_kw == (0.0, 0.0)
    assert after.ev_kw[0] == pytest.approx(80.0 + 40.0 - 5.0)
    assert after.quality["chargers.0.power_kw"] is Quality.ESTIMATED


@pytest.mark.parametrize("fault", ["null_frames", "not_a_number", "infinite", "state_undefined", "soc_out_of_range"])
def test_no_register_fault_puts_a_wrong_number_into_a_sample_or_a_setpoint(fault: str) -> None:
    bench = Bench().online(-30.0, -30.0)
    bench.rig.post.begin_fault(fault)

    bench.seconds(30)

    for sample in bench.samples[-25:]:
        numbers = [sample.battery.soc_pct, sample.battery.power_kw, sample.grid.import_kw, sample.aux_kw]
        assert all(number is None or (math.isfinite(number) and abs(number) <= 200.0) for number in numbers)
    for write in bench.written("request_kw"):
        raw = write.words[-2] << 16 | write.words[-1]
        assert raw == 0x8000_0000 or 0 <= (1 << 32) - raw <= 83_500 or raw == 0
