"""The plants that ship: the reference day's old plant, and the ChargePost with and without sun."""

import math

from services.enexa.planning.problem import BatteryString, Plant

_ROUND_TRIP = math.sqrt(0.90)

OLD_PLANT = Plant(
    strings=(
        BatteryString(
            capacity_kwh=143.0,
            max_charge_kw=80.0,
            max_discharge_kw=150.0,
            charge_efficiency_ratio=_ROUND_TRIP,
            discharge_efficiency_ratio=_ROUND_TRIP,
            soc_min_pct=20.0,
            soc_max_pct=90.0,
            derating_below_pct=30.0,
            derating_floor_pct=20.0,
        ),
    ),
    grid_import_limit_kw=80.0,
    grid_apparent_limit_kva=100.0,
    power_factor_ratio=1.0,
    export_limit_kw=60.0,
    battery_offsets_load=True,
    max_charger_kw=230.0,
    charger_count=1,
    daily_discharge_budget_kwh=300.0,
)

CHARGEPOST = Plant()

PLANTS = {"reference_day": OLD_PLANT, "chargepost": CHARGEPOST, "chargepost_pv": CHARGEPOST}
"""The ChargePost with sun is the same station; its roof is an input of the day, not a part of the plant."""
