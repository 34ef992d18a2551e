"""The reactive rule, row by row: what is there, and what the battery does."""

import pytest

from shared.energy.reactive import derated_kw, reactive_kw


@pytest.mark.parametrize(
    ("ev_kw", "pv_kw", "room", "battery_kw"),
    [
        (60.0, 0.0, 100.0, -20.0),  # spare grid trickles into the battery
        (60.0, 30.0, 100.0, -50.0),  # spare grid and sun
        (60.0, 30.0, 10.0, -10.0),  # not past the ceiling
        (120.0, 0.0, 100.0, 40.0),  # the gap, exactly
        (120.0, 50.0, 100.0, -10.0),  # sun first: no gap left
        (400.0, 0.0, 100.0, 150.0),  # no more than it can
        (0.0, 0.0, 100.0, -50.0),  # nobody there: recharge, grid held to 50
        (0.0, 30.0, 100.0, -80.0),  # nobody there: sun and 50 from the grid
        (0.0, 0.0, 0.0, 0.0),  # recharged
    ],
)
def test_the_rule(ev_kw: float, pv_kw: float, room: float, battery_kw: float) -> None:
    wanted = reactive_kw(
        ev_kw=ev_kw, load_kw=ev_kw, pv_kw=pv_kw, import_limit_kw=80.0, idle_import_kw=50.0, max_charge_kw=80.0,
        max_discharge_kw=150.0, chargeable_kw=room, rechargeable_kw=room,
    )  # fmt: skip

    assert wanted == pytest.approx(battery_kw)


@pytest.mark.parametrize(("energy_kwh", "kw"), [(100.0, 220.0), (57.0, 220.0), (38.0, 110.0), (19.0, 0.0), (5.0, 0.0)])
def test_power_fades_from_the_derating_point_to_the_floor(energy_kwh: float, kw: float) -> None:
    assert derated_kw(220.0, energy_kwh, 19.0, 57.0) == pytest.approx(kw)
