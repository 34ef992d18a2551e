"""The few conversions and guards that numbers with units need everywhere."""

import math

SECONDS_PER_HOUR = 3600.0
SLOT_S = 900.0


def clamp(value: float, low: float, high: float) -> float:
    """`value` held inside [low, high]; NaN is a bug of the caller and never passes."""
    assert not math.isnan(value), "NaN must not reach a setpoint"
    assert low <= high, f"window upside down: {low} > {high}"
    return min(max(value, low), high)


def energy_kwh(power_kw: float, seconds: float) -> float:
    """Energy that constant `power_kw` carries in `seconds`."""
    return power_kw * seconds / SECONDS_PER_HOUR


def finite(value: float | None) -> bool:
    """Whether a reading is a number one may calculate with."""
    return value is not None and math.isfinite(value)
