"""The physics keep the published and measured figures, and reproduce real curves and real sessions."""

import csv
from collections import defaultdict
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.physics.battery_string import BatteryString
from emulator.physics.nameplate import GridPlate, OutletPlate, PvPlate, StationProfile, StringPlate
from emulator.stations.load import load_station, station_names
from shared.chargepost.registers import CONTROL_1
from shared.chargepost.states import ChargingMode
from shared.errors import BadInput
from shared.scenario.load import DC_OF_AC_RATIO, load_sessions
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


def test_a_full_charge_ends_at_the_ceiling() -> None:
    rig = Rig(soc_pct=85.0).take_control(clearance_kw=87.0).beat(3600)

    assert all(89.9 < string.soc_pct <= 90.0 + 1e-6 for string in rig.post.strings)


IMPOSSIBLE = [
    ({"string": {"capacity_kwh": 0.0}}, "capacity_kwh"),
    ({"string": {"floor_pct": 40.0}}, "must rise"),
    ({"string": {"ceiling_pct": 20.0}}, "must rise"),
    ({"string": {"stop_at_c": 40.0}}, "stop_at_c"),
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


def curves(path: Path) -> dict[str, list[dict[str, str]]]:
    by_car: dict[str, list[dict[str, str]]] = defaultdict(list)
    with path.open() as file:
        for row in csv.DictReader(file):
            by_car[row["curve_id"]].append(row)
    return by_car


def implied_s(points: list[tuple[float, float]], capacity_kwh: float, low_pct: float, high_pct: float) -> float:
    """Seconds from low to high along straight lines, summed in hundredths of a percent."""
    seconds, step = 0.0, 0.01
    for index in range(round((high_pct - low_pct) / step)):
        soc = low_pct + (index + 0.5) * step
        right = next(i for i, point in enumerate(points) if point[0] >= soc)
        (soc_a, kw_a), (soc_b, kw_b) = points[max(right - 1, 0)], points[right]
        power = kw_b if soc_b == soc_a else kw_a + (kw_b - kw_a) * (soc - soc_a) / (soc_b - soc_a)
        seconds += capacity_kwh * step / 100.0 / power * 3600.0
    return seconds


def test_real_cars_charge_from_10_to_80_percent_in_the_time_their_curve_implies(real_data: Path) -> None:
    by_car = curves(real_data / "ev_dc_curves_openevdata.csv")
    for rows in list(by_car.values())[::8]:
        points = sorted({float(row["soc_pct"]): float(row["power_kw"]) for row in rows}.items())
        capacity_kwh = float(rows[0]["battery_usable_kwh"])
        most_kw = max(power for _, power in points)
        rig = Rig(STRONG)
        if most_kw > 150.0:
            rig.take_control(clearance_kw=87.0)
            rig.write(CONTROL_1.write(charging_mode=ChargingMode.DUAL, ev_limit_kw=300.0))
        rig.plug(
            capacity_kwh=capacity_kwh, soc_start_pct=10.0, soc_target_pct=80.0, max_kw=most_kw, curve=tuple(points)
        )
        charging_s = 0
        while rig.post.outlets[0].process.name != "CHARGING_FINISHED":
            rig.beat(1, every_s=1) if most_kw > 150.0 else rig.run(1)
            charging_s += rig.post.outlets[0].power_kw > 0.0

        assert charging_s == pytest.approx(implied_s(points, capacity_kwh, 10.0, 80.0), rel=0.02)


def test_real_sessions_from_soc_to_soc_reproduce_their_energy(real_data: Path) -> None:
    path = real_data / "ev_sessions_epfl_ccs175kw_2022-04_2022-12.csv"
    with path.open() as file:
        rows = [row for row in csv.DictReader(file) if row["power_limited"] == "0"]
    by_start = {session.start_at.isoformat(): session for session in load_sessions(path)}
    checked = 0
    for row in rows[::10]:
        session = by_start.get(row["start_utc"].replace("Z", "+00:00"))
        ac_kwh = float(row["energy_ac_kwh"])
        if session is None or ac_kwh < 5.0 or row["flag_capacity_implausible"] not in {"", "0", "False"}:
            continue
        if abs(session.soc_start_pct - float(row["soc_start_pct"])) > 0.01:
            continue  # the other plug's session of the same minute
        rig = Rig(STRONG).plug(
            capacity_kwh=session.capacity_kwh,
            soc_start_pct=session.soc_start_pct,
            soc_target_pct=session.soc_target_pct,
            max_kw=session.max_kw,
        )
        while rig.post.outlets[0].process.name != "CHARGING_FINISHED":
            rig.run(10)
        assert rig.post.outlets[0].session_kwh == pytest.approx(DC_OF_AC_RATIO * ac_kwh, rel=0.03)
        checked += 1
    assert checked >= 10
