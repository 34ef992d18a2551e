"""The one sentence that says what the site does now, for whoever has five seconds."""

from services.enexa.insight.balance import ev_kw, grid_kw
from shared.contract.telemetry import LimitedBy, Mode, Telemetry

QUIET_KW = 0.5

REASONS = {
    "cheap_slot": "energy is cheap",
    "expensive_slot": "energy is expensive",
    "peak_shaving": "the peak is held down",
    "pv_absorb": "the sun is stored",
    "ev_assist": "a car needs more than the grid gives",
    "reserve_protect": "the reserve is kept for cars",
    "near_full": "the battery is nearly full",
    "grid_limit": "the grid limit holds",
    "negative_price": "the price is negative",
    "safe_fallback": "safe limits are in force",
    "operator": "an operator asked for it",
    "idle": "nothing is to be gained now",
}


def why(reason: str) -> str:
    """A reason code as half a sentence; an unknown one is shown as it is."""
    return REASONS.get(reason, reason.replace("_", " "))


def headline(sample: Telemetry | None, reason: str | None, age_s: float | None) -> str:
    """Present tense while the sample is fresh; otherwise it says only that nothing is known."""
    if age_s is None:
        return "No data has arrived from this site yet."
    if sample is None:
        return "The site is not heard; its present state is unknown."
    if sample.station.mode is Mode.DEVICE_LOST:
        return "The ChargePost does not answer; its present state is unknown."
    return f"{_cars(sample)}{_battery(sample, reason)}"


def _cars(sample: Telemetry) -> str:
    drawn_kw = ev_kw(sample)
    charging = sum(1 for each in sample.chargers if (each.power_kw or 0.0) > QUIET_KW)
    plugged = sum(1 for each in sample.chargers if each.plugged)
    if drawn_kw is None:
        return "What the cars draw is unknown; "
    if charging == 0:
        return "A car is plugged in and draws nothing; " if plugged else "No car is charging; "
    cars = "One car charges" if charging == 1 else f"{charging} cars charge"
    return f"{cars} with {drawn_kw:.0f} kW; "


def _battery(sample: Telemetry, reason: str | None) -> str:
    power_kw = sample.battery.power_kw
    if power_kw is None:
        return "the battery's power is unknown."
    because = _because(sample, power_kw, reason)
    if power_kw > QUIET_KW:
        return f"the battery gives {power_kw:.0f} kW{because}."
    if power_kw < -QUIET_KW:
        return f"the battery takes {-power_kw:.0f} kW{because}."
    imported_kw = grid_kw(sample)
    return "the battery rests." if imported_kw is None else f"the battery rests, the grid gives {imported_kw:.0f} kW."


def _because(sample: Telemetry, power_kw: float, reason: str | None) -> str:
    """The reason, unless the battery does not do what was wished: then what holds it, or nothing."""
    if LimitedBy.EV_MUST_SERVE in sample.control.limited_by and power_kw > QUIET_KW:
        return f" because {why('ev_assist')}"
    wish_kw = sample.control.wish_kw
    if reason in (None, "idle") or (wish_kw is not None and wish_kw * power_kw < 0):
        return ""
    assert reason is not None
    return f" because {why(reason)}"
