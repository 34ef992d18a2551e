"""Packed samples come back equal to the last bit, and small."""

import struct
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from services.enexa.store.columns import Kept, numbers, pack, unpack
from shared.contract.telemetry import (
    Battery,
    BatteryUnit,
    Charger,
    Control,
    Grid,
    LimitedBy,
    Mode,
    Station,
    Telemetry,
)
from shared.contract.wire import Quality

START = datetime(2024, 1, 15, 10, 0, tzinfo=UTC)
POWER = st.none() | st.floats(-10_000, 10_000) | st.sampled_from([0.0, -0.0, 0.1, 1e-9, 5e-324, 1234.567])
PERCENT = st.none() | st.floats(0, 100)
WORDS = st.none() | st.text(max_size=8)

SAMPLES = st.builds(
    Telemetry,
    site_id=st.sampled_from(["SITE001", "SITE002"]),
    timestamp=st.integers(0, 2**51).map(lambda us: START + timedelta(microseconds=us - 2**50)),
    battery=st.builds(
        Battery,
        soc_pct=PERCENT,
        power_kw=POWER,
        units=st.lists(st.builds(BatteryUnit, soc_pct=PERCENT, power_kw=POWER), max_size=3).map(tuple),
    ),
    grid=st.builds(Grid, import_kw=st.none() | st.floats(0, 10_000), import_kwh=st.none() | st.floats(0, 1e9)),
    chargers=st.lists(
        st.builds(Charger, state=WORDS, plugged=st.none() | st.booleans(), power_kw=st.none() | st.floats(0, 400)),
        max_size=3,
    ).map(tuple),
    station=st.builds(
        Station,
        mode=st.none() | st.sampled_from(Mode),
        warnings=st.lists(st.text(max_size=5), max_size=3).map(tuple),
        buffered_count=st.none() | st.integers(0, 1_000_000_000),
    ),
    control=st.builds(Control, limited_by=st.lists(st.sampled_from(LimitedBy), max_size=3).map(tuple)),
    sequence=st.none() | st.integers(0, 9_007_199_254_740_991),
    quality=st.dictionaries(st.text(max_size=6), st.sampled_from(Quality), max_size=3),
)
ROWS = st.lists(
    st.builds(Kept, sequence=st.integers(0, 2**62), received_us=st.integers(0, 2**55), sample=SAMPLES), max_size=12
)


@settings(max_examples=80, deadline=None)
@given(ROWS)
def test_what_comes_out_is_what_went_in_to_the_last_bit(rows: list[Kept]) -> None:
    block = pack(rows)

    assert msgspec.json.encode(unpack(block)) == msgspec.json.encode(rows)
    assert numbers(block) == [row.sequence for row in rows]
    assert [_bits(row.sample.battery.power_kw) for row in unpack(block)] == [
        _bits(row.sample.battery.power_kw) for row in rows
    ]


def _bits(value: float | None) -> bytes:
    return struct.pack("d", value) if value is not None else b""


def test_an_hour_of_forty_wandering_readings_takes_less_than_sixty_bytes_a_sample() -> None:
    rows = wandering(3600)

    block = pack(rows)

    assert len(block) / len(rows) <= 60.0
    assert unpack(block) == rows


def wandering(count: int, seed: int = 7) -> list[Kept]:
    """Every reading a random walk in steps of a hundredth: the least that one may hope for, and no constant column."""
    random = Random(seed)
    walks = [random.uniform(20, 60) for _ in range(41)]
    rows: list[Kept] = []
    for number in range(1, count + 1):
        walks = [min(max(round(each + random.gauss(0, 0.25), 2), 1.0), 99.0) for each in walks]
        rows.append(
            Kept(number, 1_700_000_000_000_000 + number * 1_000_000 + random.randrange(9000), _walked(number, walks))
        )
    return rows


def _walked(number: int, walks: list[float]) -> Telemetry:
    """A sample whose forty-one readings all differ from those of the second before."""
    unit = list(BatteryUnit.__struct_fields__)
    charger = ("power_kw", "ev_soc_pct", "session_kwh", "limit_kw", "ev_max_kw")
    names = [*(("a", each) for each in unit), *(("b", each) for each in unit), *(("c", each) for each in charger)]
    names += [("d", each) for each in charger]
    given: dict[str, dict[str, Any]] = {"a": {}, "b": {}, "c": {}, "d": {}}
    for (where, name), value in zip(names, walks[: len(names)], strict=True):
        given[where][name] = value
    rest = walks[len(names) :]
    return Telemetry(
        site_id="SITE001",
        timestamp=START + timedelta(seconds=number),
        battery=Battery(
            soc_pct=rest[0],
            power_kw=rest[1],
            temp_c=rest[2],
            units=(BatteryUnit(**given["a"]), BatteryUnit(**given["b"])),
        ),
        grid=Grid(
            import_kw=rest[3],
            export_kw=rest[4],
            frequency_hz=rest[5],
            power_factor=round(rest[6] / 100.0, 2),
            import_kwh=rest[7],
            export_kwh=rest[8],
            clearance_kw=rest[9],
            request_kw=rest[10],
        ),
        chargers=(Charger(state="charging", **given["c"]), Charger(state="charging", **given["d"])),
        aux_kw=rest[11],
        pv_kw=rest[12],
        station=Station(state="ready", mode=Mode.ONLINE),
        control=Control(wish_kw=rest[13], applied_kw=rest[14]),
        stream_epoch="e1",
        sequence=number,
    )
