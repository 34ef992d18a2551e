"""The physics keep the published and measured figures, and reproduce real curves and real sessions."""

import csv
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.physics.battery_string import BatteryString
from emulator.physics.nameplate import GridPlate, OutletPlate, PvPlate, StationProfile, StringPlate
from emulator.stations.load import load_station, station_names
from shared.chargepost.registers import BATTERY_1
from shared.chargepost.states import ProcessState
from shared.errors import BadInput
from shared.scenario.load import DC_OF_AC_RATIO
from tests.unit.emulator.rig import Rig

PLATE = StringPlate()


def carried(power_kw: float, *, soc_pct: float = 60.0, seconds: int = 60) -> BatteryString:
    string = BatteryString(PLATE, soc_pct=soc_pct, ambient_c=20.0)
    for _ in range(seconds):
        string.carry(power_kw, 20.0)
    return string


@pytest.mark.parametrize(
    ("power_kw", "low", "high"), [(110.0, 0.937, 0.943), (55.0, 0.950, 0.960), (20.0, 0.955, 0.97)]
)
def test_efficiency_is_a_curve_and_094_at_rated_power(power_kw: float, low: float, high: float) -> None:
    moved_kwh = power_kw * 60 / 3600.0
    start_kwh = 0.6 * PLATE.capacity_kwh

    discharge = moved_kwh / (start_kwh - carried(power_kw).energy_kwh)
    charge = (carried(-power_kw).energy_kwh - start_kwh) / moved_kwh

    assert low <= discharge <= high
    assert low <= charge <= high


LIMITS = [
    # SOC, temperature, ceiling, charge, discharge
    (60.0, 20.0, 90.0, 110.0, 110.0),
    (30.0, 20.0, 90.0, 110.0, 110.0),
    (20.0, 20.0, 90.0, 110.0, 55.0),
    (10.0, 20.0, 90.0, 110.0, 0.0),
    (5.0, 20.0, 90.0, 110.0, 0.0),
    (90.0, 20.0, 90.0, 0.0, 110.0),
    (94.5, 20.0, 97.0, 55.0, 110.0),
    (97.0, 20.0, 97.0, 0.0, 110.0),
    (60.0, 50.0, 90.0, 55.0, 55.0),
    (60.0, 55.0, 90.0, 0.0, 0.0),
    (60.0, -1.0, 90.0, 0.0, 110.0),
]


@pytest.mark.parametrize(("soc_pct", "warm_c", "ceiling_pct", "charge_kw", "discharge_kw"), LIMITS)
def test_limits_follow_charge_and_temperature(
    soc_pct: float, warm_c: float, ceiling_pct: float, charge_kw: float, discharge_kw: float
) -> None:
    string = BatteryString(PLATE, soc_pct=soc_pct, ambient_c=warm_c)
    string.look(ceiling_pct)

    assert string.charge_max_kw == pytest.approx(charge_kw, abs=1e-6)
    assert string.discharge_max_kw == pytest.approx(discharge_kw, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(soc_pct=st.floats(0.0, 100.0), power_kw=st.floats(-110.0, 110.0))
def test_a_round_trip_always_costs(soc_pct: float, power_kw: float) -> None:
    string = BatteryString(PLATE, soc_pct=soc_pct, ambient_c=20.0)
    before_kwh = string.energy_kwh
    string.carry(power_kw, 20.0)
    string.carry(-power_kw, 20.0)

    assert string.energy_kwh <= before_kwh + 1e-12


def test_full_power_warms_a_string_by_six_kelvin_with_a_lag_of_five_minutes() -> None:
    assert carried(55.0 * 2, seconds=300, soc_pct=90.0).temperature_c == pytest.approx(20.0 + 6.0 * 0.632, abs=0.05)


def test_a_string_wears() -> None:
    new, used = carried(0.0), carried(100.0, seconds=1500)

    assert used.health_ratio < new.health_ratio < 1.0


def aged(cycles: float, years: float, resistance_ohm: float = PLATE.resistance_ohm) -> BatteryString:
    plate = StringPlate(cycles_before=cycles, years_before=years, resistance_ohm=resistance_ohm)
    return BatteryString(plate, soc_pct=60.0, ambient_c=20.0)


def test_an_old_string_holds_less_and_loses_more() -> None:
    new, old = aged(0.0, 0.0), aged(3_000.0, 9.0)
    for string in (new, old):
        string.carry(110.0, 20.0)

    assert old.capacity_kwh == pytest.approx(95.0 * (1.0 - 3_000 * 2.5e-5 - 0.01 * 3.0))
    ohmic_kw = aged(0.0, 0.0, resistance_ohm=0.0)
    ohmic_kw.carry(110.0, 20.0)
    stiffer = (old.loss_kw - ohmic_kw.loss_kw) / (new.loss_kw - ohmic_kw.loss_kw)
    assert stiffer == pytest.approx(1.0 + 2.0 * (1.0 - old.health_ratio), rel=1e-3)


def test_ageing_takes_capacity_and_never_energy() -> None:
    string = carried(100.0, seconds=600, soc_pct=80.0)
    energy_kwh, soc_pct = string.energy_kwh, string.soc_pct
    string.age()

    assert string.energy_kwh == energy_kwh
    assert string.capacity_kwh < PLATE.capacity_kwh
    assert string.soc_pct > soc_pct


def test_a_year_of_use_is_felt_at_the_registers() -> None:
    def full_kwh(plate: StringPlate) -> float:
        battery = Rig(StationProfile(name="used", string=plate)).run(1).read(BATTERY_1)
        return (battery.energy_to_full_kwh or 0.0) + (battery.energy_to_empty_kwh or 0.0)

    assert full_kwh(StringPlate(cycles_before=1_000.0, years_before=4.0)) == pytest.approx(
        (1.0 - 0.025 - 0.02) * full_kwh(StringPlate()), rel=1e-3
    )


def test_a_full_charge_ends_at_the_ceiling() -> None:
    rig = Rig(soc_pct=85.0).take_control(clearance_kw=87.0).beat(3600)

    assert all(89.9 < string.soc_pct < 90.02 for string in rig.post.strings)  # rest ages, and that moves the percentage


IMPOSSIBLE = [
    ({"string": {"capacity_kwh": 0.0}}, "capacity_kwh"),
    ({"string": {"floor_pct": 40.0}}, "must rise"),
    ({"string": {"ceiling_pct": 20.0}}, "must rise"),
    ({"string": {"stop_at_c": 40.0}}, "stop_at_c"),
    ({"string": {"cycles_before": 20_000, "years_before": 25}}, "cycles_before"),
    ({"outlet": {"coupled_kw": 100.0}}, "coupled_kw"),
    ({"grid": {"fallback_clearance_kw": 100.0}}, "fallback_clearance_kw"),
    ({"coupled": True}, "outlets must be 1"),
    ({"soc_start_pct": [60.0, 120.0]}, "soc_start_pct"),
    ({"wheels": 4}, "wheels"),
]


@pytest.mark.parametrize(("change", "word"), IMPOSSIBLE)
def test_an_impossible_station_is_refused_with_field_and_reason(change: dict[str, object], word: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=word):
        msgspec.convert({"name": "impossible", **change}, StationProfile)


def test_a_station_file_with_a_mistake_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\n\n[string]\ncells = 224\ncapacity_kwh = -1\n')

    with pytest.raises(BadInput, match=r"mine\.toml, line 5"):
        load_station(path)


def test_three_stations_are_shipped() -> None:
    assert station_names() == ("chargepost", "chargepost_pv", "reference_day")
    pilot = load_station("chargepost")
    assert (pilot.string.capacity_kwh, pilot.grid.apparent_kva, pilot.pv) == (95.0, 87.0, None)
    assert load_station("chargepost_pv").pv == PvPlate(peak_kw=51.6, inverter_kw=60.0)


# --- real cars --------------------------------------------------------------------------------------------------------

STRONG = StationProfile(
    name="strong",
    string=StringPlate(capacity_kwh=1_000.0, charge_kw=400.0, discharge_kw=400.0),
    outlet=OutletPlate(ramp_s=1.0, current_a=2_000.0),
    grid=GridPlate(apparent_kva=500.0, unit_kva=500.0, fallback_clearance_kw=400.0),
    soc_start_pct=(90.0, 90.0),
)
"""Never the bottleneck: what is measured is the car."""


COUPLED = msgspec.structs.replace(STRONG, outlets=1, coupled=True)


def curves(path: Path) -> dict[str, list[dict[str, str]]]:
    by_car: dict[str, list[dict[str, str]]] = defaultdict(list)
    with path.open() as file:
        for row in csv.DictReader(file):
            by_car[row["curve_id"]].append(row)
    return by_car


def implied_s(points: list[tuple[float, float]], capacity_kwh: float, low_pct: float, high_pct: float) -> float:
    """Seconds from low to high along straight lines, summed in tenths of a percent."""
    seconds, step = 0.0, 0.1
    for index in range(round((high_pct - low_pct) / step)):
        soc = low_pct + (index + 0.5) * step
        right = next(i for i, point in enumerate(points) if point[0] >= soc)
        (soc_a, kw_a), (soc_b, kw_b) = points[max(right - 1, 0)], points[right]
        power = kw_b if soc_b == soc_a else kw_a + (kw_b - kw_a) * (soc - soc_a) / (soc_b - soc_a)
        seconds += capacity_kwh * step / 100.0 / power * 3600.0
    return seconds


def charged(profile: StationProfile, cars: Sequence[dict[str, Any]]) -> list[tuple[int, float]]:
    """Seconds of charging and kWh of each of at most two cars that charge at the same time until they are full."""
    rig = Rig(profile)
    for number, car in enumerate(cars, 1):
        rig.plug(outlet=number, **car)
    outlets = rig.post.outlets[: len(cars)]
    seconds = [0] * len(cars)
    while any(outlet.process is not ProcessState.CHARGING_FINISHED for outlet in outlets):
        rig.run(1)
        for index, outlet in enumerate(outlets):
            seconds[index] += outlet.power_kw > 0.0
    return [(second, outlet.session_kwh) for second, outlet in zip(seconds, outlets, strict=True)]


def all_charged(cars: Sequence[dict[str, Any]]) -> list[tuple[int, float]]:
    """The same for any number of cars: two by two, a strong one alone behind both units."""
    strong = [index for index, car in enumerate(cars) if car["max_kw"] > 150.0]
    rest = [index for index, car in enumerate(cars) if car["max_kw"] <= 150.0]
    results = {index: charged(COUPLED, [cars[index]])[0] for index in strong}
    for pair in (rest[at : at + 2] for at in range(0, len(rest), 2)):
        results |= dict(zip(pair, charged(STRONG, [cars[index] for index in pair]), strict=True))
    return [results[index] for index in range(len(cars))]


@pytest.mark.timeout(300)  # a few seconds of work, beside whatever else the machine does
def test_every_real_car_charges_from_10_to_80_percent_in_the_time_its_curve_implies(real_data: Path) -> None:
    cars: list[dict[str, Any]] = []
    due_s: list[float] = []
    for rows in curves(real_data / "ev_dc_curves_openevdata.csv").values():
        points = sorted({float(row["soc_pct"]): float(row["power_kw"]) for row in rows}.items())
        capacity_kwh = float(rows[0]["battery_usable_kwh"])
        cars.append(
            {
                "capacity_kwh": capacity_kwh,
                "soc_start_pct": 10.0,
                "soc_target_pct": 80.0,
                "max_kw": max(power for _, power in points),
                "curve": tuple(points),
            }
        )
        due_s.append(implied_s(points, capacity_kwh, 10.0, 80.0))
    assert (len(cars), sum(car["max_kw"] > 150.0 for car in cars)) == (123, 22)

    took_s = [seconds for seconds, _ in all_charged(cars)]

    assert [pair for pair in zip(took_s, due_s, strict=True) if pair[0] != pytest.approx(pair[1], rel=0.02)] == []


@pytest.mark.timeout(300)
def test_every_real_session_that_was_not_limited_reproduces_its_energy_from_soc_to_soc(real_data: Path) -> None:
    with (real_data / "ev_sessions_epfl_ccs175kw_2022-04_2022-12.csv").open() as file:
        rows = [
            row
            for row in csv.DictReader(file)
            # Where the capacity is no estimate, nothing follows from two states of charge.
            if row["power_limited"] == "0" and row["flag_capacity_implausible"] != "1"
        ]
    assert len(rows) >= 200

    cars = [
        {
            "capacity_kwh": float(row["capacity_est_kwh"]),
            "soc_start_pct": float(row["soc_start_pct"]),
            "soc_target_pct": float(row["soc_end_pct"]),
            "max_kw": float(row["p_requested_max_kw"]),
        }
        for row in rows
    ]
    dc_kwh = [DC_OF_AC_RATIO * float(row["energy_ac_kwh"]) for row in rows]
    got_kwh = [energy_kwh for _, energy_kwh in all_charged(cars)]

    assert [pair for pair in zip(got_kwh, dc_kwh, strict=True) if pair[0] != pytest.approx(pair[1], rel=0.03)] == []
