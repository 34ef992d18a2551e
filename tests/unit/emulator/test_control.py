"""Who gives and who yields: the rules of automatic and manual mode, as rows and as laws."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.device.control import Demand, Flows, automatic, ev_loss_kw, manual


def demand(**given: float | bool | None) -> Demand:
    """A station with 2 x 110 kW both ways, 4 kW of own consumption and no export, changed by what is given."""
    asked = Demand()
    usual: dict[str, float | bool | None] = {
        "charge_1_kw": 110.0,
        "charge_2_kw": 110.0,
        "discharge_1_kw": 110.0,
        "discharge_2_kw": 110.0,
        "base_kw": 4.0,
        "clearance_kw": 80.0,
    }
    for name, value in {**usual, **given}.items():
        setattr(asked, name, value)
    return asked


def settled(mode: str, asked: Demand) -> Flows:
    flows = Flows()
    (automatic if mode == "automatic" else manual)(asked, flows)
    return flows


AUTOMATIC = [
    # why, what is asked, import, battery, EV
    ("spare clearance charges the battery", {}, 80.0, -76.0, 0.0),
    ("a full battery leaves own consumption alone", {"charge_1_kw": 0.0, "charge_2_kw": 0.0}, 4.0, 0.0, 0.0),
    ("cars come from the grid up to the clearance", {"ev_1_kw": 50.0}, 80.0, -26.0, 50.0),
    ("the battery covers exactly the gap", {"ev_1_kw": 120.0}, 80.0, 44.0, 120.0),
    (
        "at the reserve the car is curtailed to what the clearance leaves",
        {"ev_1_kw": 120.0, "discharge_1_kw": 0.0, "discharge_2_kw": 0.0},
        80.0,
        0.0,
        76.0,
    ),
    (
        "request 0 is battery first, own use still imports",
        {"ev_1_kw": 60.0, "request_kw": 0.0},
        4.0,
        60.0,
        60.0,
    ),
    ("request 40 splits its import between car and battery", {"ev_1_kw": 20.0, "request_kw": 40.0}, 40.0, -16.0, 20.0),
    ("a request above the clearance ends at the clearance", {"request_kw": 87.0}, 80.0, -76.0, 0.0),
    (
        "at the reserve import rises above the request before a car yields",
        {"ev_1_kw": 60.0, "request_kw": 10.0, "discharge_1_kw": 0.0, "discharge_2_kw": 0.0},
        64.0,
        0.0,
        60.0,
    ),
    ("sun comes before grid and is stored", {"pv_kw": 30.0, "request_kw": 0.0}, 0.0, -26.0, 0.0),
    (
        "sun that nobody takes is curtailed where export is forbidden",
        {"pv_kw": 30.0, "charge_1_kw": 0.0, "charge_2_kw": 0.0},
        0.0,
        0.0,
        0.0,
    ),
    (
        "sun that nobody takes is exported where it may be",
        {"pv_kw": 30.0, "charge_1_kw": 0.0, "charge_2_kw": 0.0, "export_kw": 60.0},
        -26.0,
        0.0,
        0.0,
    ),
]


@pytest.mark.parametrize(("why", "asked", "grid", "battery", "ev"), AUTOMATIC, ids=[row[0] for row in AUTOMATIC])
def test_automatic_mode(why: str, asked: dict[str, float], grid: float, battery: float, ev: float) -> None:
    flows = settled("automatic", demand(**asked))

    assert flows.grid_kw == pytest.approx(grid)
    assert flows.battery_1_kw + flows.battery_2_kw == pytest.approx(battery)
    assert flows.ev_1_kw + flows.ev_2_kw == pytest.approx(ev)


MANUAL = [
    ("targets 0 and no car: only own consumption", {}, 4.0, 0.0, 0.0),
    ("a target without a car charges the battery", {"target_1_kw": 25.0}, 29.0, -25.0, 0.0),
    ("the battery takes up what the target leaves", {"ev_1_kw": 100.0, "target_1_kw": 40.0}, 44.0, 60.0, 100.0),
    (
        "at the floor the car falls to the target",
        {"ev_1_kw": 100.0, "target_1_kw": 40.0, "discharge_1_kw": 0.0, "discharge_2_kw": 0.0},
        44.0,
        0.0,
        40.0,
    ),
    (
        "one unit serves the other's car",
        {"ev_1_kw": 100.0, "target_1_kw": 50.0, "target_2_kw": -50.0},
        4.0,
        100.0,
        100.0,
    ),
    ("a target to export is refused", {"target_1_kw": -50.0}, 4.0, 0.0, 0.0),
    ("targets above the clearance are held", {"target_1_kw": 60.0, "target_2_kw": 60.0}, 80.0, -76.0, 0.0),
]


@pytest.mark.parametrize(("why", "asked", "grid", "battery", "ev"), MANUAL, ids=[row[0] for row in MANUAL])
def test_manual_mode(why: str, asked: dict[str, float], grid: float, battery: float, ev: float) -> None:
    flows = settled("manual", demand(**asked))

    assert flows.grid_kw == pytest.approx(grid)
    assert flows.battery_1_kw + flows.battery_2_kw == pytest.approx(battery)
    assert flows.ev_1_kw + flows.ev_2_kw == pytest.approx(ev)


SHARES = [
    # SOC of both, discharge of both for a gap of 40 kW
    (60.0, 60.0, 20.0, 20.0),
    (65.0, 60.0, 25.0, 15.0),
    (80.0, 60.0, 40.0, 0.0),
    (95.0, 30.0, 40.0, 0.0),
    (50.0, 60.0, 10.0, 30.0),
]


@pytest.mark.parametrize(("soc_1", "soc_2", "first", "second"), SHARES)
def test_the_fuller_string_gives_more(soc_1: float, soc_2: float, first: float, second: float) -> None:
    flows = settled("automatic", demand(ev_1_kw=60.0, clearance_kw=24.0, soc_1_pct=soc_1, soc_2_pct=soc_2))

    assert flows.battery_1_kw == pytest.approx(first)
    assert flows.battery_2_kw == pytest.approx(second)


@pytest.mark.parametrize(("soc_1", "soc_2", "first", "second"), SHARES)
def test_the_emptier_string_takes_more(soc_1: float, soc_2: float, first: float, second: float) -> None:
    flows = settled("automatic", demand(clearance_kw=44.0, soc_1_pct=soc_2, soc_2_pct=soc_1))

    assert flows.battery_1_kw == pytest.approx(-first)
    assert flows.battery_2_kw == pytest.approx(-second)


def test_no_grid_side_converter_carries_more_than_its_rating() -> None:
    asked = demand(ev_1_kw=150.0, loss_linear_ratio=0.05, clearance_kw=44.0)
    flows = settled("automatic", asked)

    assert 157.5 - flows.battery_1_kw <= 87.0 + 1e-9
    assert flows.grid_kw == pytest.approx(44.0)
    assert flows.ev_1_kw == 150.0


POWER = st.floats(0.0, 150.0)


@st.composite
def demands(draw: st.DrawFn) -> Demand:
    return demand(
        ev_1_kw=draw(st.just(0.0) | POWER),
        ev_2_kw=draw(st.just(0.0) | POWER),
        base_kw=draw(st.floats(0.2, 9.0)),
        pv_kw=draw(st.just(0.0) | POWER),
        charge_1_kw=draw(st.floats(0.0, 110.0)),
        charge_2_kw=draw(st.floats(0.0, 110.0)),
        discharge_1_kw=draw(st.floats(0.0, 110.0)),
        discharge_2_kw=draw(st.floats(0.0, 110.0)),
        soc_1_pct=draw(st.floats(5.0, 97.0)),
        soc_2_pct=draw(st.floats(5.0, 97.0)),
        clearance_kw=draw(st.floats(0.0, 87.0)),
        export_kw=draw(st.sampled_from([0.0, 60.0])),
        request_kw=draw(st.none() | st.floats(0.0, 87.0)),
        target_1_kw=draw(st.floats(-87.0, 87.0)),
        target_2_kw=draw(st.floats(-87.0, 87.0)),
        coupled=draw(st.booleans()),
        loss_linear_ratio=0.03,
        loss_quadratic_per_kw=1.333e-4,
    )


@pytest.mark.parametrize("mode", ["automatic", "manual"])
@settings(max_examples=200, deadline=None)
@given(asked=demands())
def test_whatever_is_asked_the_books_close_and_the_limits_hold(mode: str, asked: Demand) -> None:
    flows = settled(mode, asked)

    into = flows.grid_kw + flows.battery_1_kw + flows.battery_2_kw + flows.pv_kw
    assert abs(into - flows.ev_1_kw - flows.ev_2_kw - flows.own_kw) < 1e-9
    assert flows.own_kw == pytest.approx(
        asked.base_kw + ev_loss_kw(asked, flows.ev_1_kw) + ev_loss_kw(asked, flows.ev_2_kw)
    )
    assert flows.grid_kw <= max(asked.clearance_kw, asked.base_kw) + 1e-6
    assert flows.grid_kw >= -asked.export_kw - 1e-6
    assert 0.0 <= flows.ev_1_kw <= asked.ev_1_kw + 1e-9
    assert 0.0 <= flows.ev_2_kw <= asked.ev_2_kw + 1e-9
    assert 0.0 <= flows.pv_kw <= asked.pv_kw
    assert -asked.charge_1_kw - 1e-9 <= flows.battery_1_kw <= asked.discharge_1_kw + 1e-9
    assert -asked.charge_2_kw - 1e-9 <= flows.battery_2_kw <= asked.discharge_2_kw + 1e-9


@settings(max_examples=200, deadline=None)
@given(asked=demands())
def test_no_car_yields_while_import_or_battery_are_left(asked: Demand) -> None:
    asked.coupled = True
    flows = settled("automatic", asked)
    left_kw = asked.discharge_1_kw + asked.discharge_2_kw - flows.battery_1_kw - flows.battery_2_kw
    converters_bind = max(asked.ev_1_kw, asked.ev_2_kw) > 80.0

    if flows.curtailed_kw > 1e-6 and not converters_bind:
        assert flows.grid_kw >= asked.clearance_kw - 1e-6
        assert left_kw < 1e-6
        assert flows.battery_1_kw + flows.battery_2_kw >= -1e-9
