"""The gates: each row is a second, what is seen in it, and what must be wanted."""

from datetime import timedelta
from typing import Any

import pytest

from services.enexa.dispatching.gates import GATES, View, decide
from shared.contract.config import GridConfig
from shared.contract.schedule import Zone
from shared.contract.telemetry import Mode
from tests.unit.enexa.dispatching.scene import START, config, sample, slot

CHARGING = {"setpoint_kw": -40.0, "soc_target_pct": 80.0, "zone": Zone.CHEAP, "reason": "cheap_slot"}
SERVING = {"setpoint_kw": 30.0, "soc_target_pct": 40.0, "zone": Zone.EXPENSIVE, "reason": "expensive_slot"}

# what is planned, what is seen, -> which gate, which setpoint, which reason
ROWS: list[tuple[str, dict[str, Any], dict[str, Any], str, float | None, str]] = [
    ("a locked site hears nothing", {}, {"mode": Mode.LOCKED}, "not_ours", None, "safe_fallback"),
    ("a lost station hears nothing", {}, {"mode": Mode.DEVICE_LOST}, "not_ours", None, "safe_fallback"),
    ("an autonomous site is spoken to again", {}, {"mode": Mode.AUTONOMOUS}, "wait", 0.0, "reserve_protect"),
    ("a plan that rests", {}, {}, "wait", 0.0, "reserve_protect"),
    ("a cheap slot charges", CHARGING, {}, "charge", -79.0, "cheap_slot"),
    ("on target it charges no more", CHARGING, {"soc_pct": 80.6}, "near_full", 0.0, "near_full"),
    ("a full battery rests", CHARGING, {"soc_pct": 90.0}, "near_full", 0.0, "near_full"),
    ("nearly there the plan's own power", CHARGING, {"soc_pct": 79.9}, "charge", -40.0, "cheap_slot"),
    ("a car leaves less room", CHARGING, {"ev_kw": 50.0}, "charge", -29.0, "cheap_slot"),
    ("a car that takes all room", CHARGING, {"ev_kw": 80.0}, "ev_first", 0.0, "ev_assist"),
    ("a narrow gate", {**CHARGING, "import_gate_kw": 20.0}, {}, "charge", -19.0, "cheap_slot"),
    (
        "a negative price",
        {**CHARGING, "zone": Zone.NEGATIVE, "reason": "negative_price", "soc_target_pct": 60.1},
        {},
        "charge",
        -40.0,
        "negative_price",
    ),
    ("more than the grid gives", {}, {"ev_kw": 130.0}, "ev_assist", 45.0, "ev_assist"),
    ("under an operator's cap", {}, {"ev_kw": 60.0, "clearance_kw": 42.0}, "ev_assist", 15.0, "grid_limit"),
    ("an expensive slot serves the car", SERVING, {"ev_kw": 52.0}, "discharge", 55.0, "expensive_slot"),
    ("beyond the grid too", SERVING, {"ev_kw": 130.0}, "ev_assist", 130.0, "ev_assist"),
    ("nobody there", SERVING, {}, "discharge", 30.0, "expensive_slot"),
    ("at its target the battery rests", SERVING, {"soc_pct": 40.0}, "reserve", 0.0, "reserve_protect"),
    ("below the reserve it rests", {**SERVING, "reserve_pct": 65.0}, {}, "reserve", 0.0, "reserve_protect"),
    ("an unknown charge is not given away", SERVING, {"soc_pct": None}, "reserve", 0.0, "reserve_protect"),
    ("sun that would be lost", {}, {"pv_kw": 30.4}, "pv_absorb", -30.0, "pv_absorb"),
    ("sun and a full battery", {}, {"pv_kw": 30.0, "soc_pct": 90.0}, "wait", 0.0, "reserve_protect"),
]


@pytest.mark.parametrize(
    ("planned", "seen", "gate", "setpoint_kw", "reason"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_the_first_gate_with_an_opinion_decides(
    planned: dict[str, Any], seen: dict[str, Any], gate: str, setpoint_kw: float | None, reason: str
) -> None:
    view = View(
        at=START,
        config=config(),
        slot=slot(**planned),
        slot_ends_at=START + timedelta(minutes=15),
        sample=sample(**seen),
        sample_age_s=1.0,
    )

    intent = decide(view)

    assert (intent.gate, intent.setpoint_kw, intent.reason.value) == (gate, setpoint_kw, reason)
    assert intent.detail


def test_without_a_sample_nothing_is_said() -> None:
    assert decide(View(at=START, config=config(), slot=slot())).gate == "blind"


def test_a_sample_of_sixteen_seconds_ago_is_no_view_at_all() -> None:
    def gate(age_s: float) -> str:
        return decide(View(at=START, config=config(), slot=slot(), sample=sample(), sample_age_s=age_s)).gate

    assert (gate(15.0), gate(16.0)) == ("wait", "blind")


def test_a_planner_that_is_switched_off_leaves_the_site_to_the_middleware() -> None:
    intent = decide(View(at=START, config=config(enabled=False), slot=slot(), sample=sample(), sample_age_s=1.0))

    assert (intent.gate, intent.setpoint_kw, intent.reason.value) == ("operator", None, "operator")


def test_without_a_slot_nothing_is_said() -> None:
    assert decide(View(at=START, config=config(), sample=sample(), sample_age_s=1.0)).gate == "no_schedule"


def test_a_site_that_may_export_needs_no_battery_for_its_sun() -> None:
    grid = GridConfig(export_allowed=True, export_limit_kw=60.0)
    view = View(at=START, config=config(grid=grid), slot=slot(), sample=sample(pv_kw=30.0), sample_age_s=1.0)

    assert decide(view).gate == "wait"


def test_every_gate_decides_in_some_row() -> None:
    seen = {row[3] for row in ROWS} | {"blind", "operator", "no_schedule"}

    assert seen == {name for name, _ in GATES}
