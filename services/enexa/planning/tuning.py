"""The planner's knobs, with units and defaults."""

from msgspec import Struct


class Tuning(Struct, frozen=True, kw_only=True):
    """What an engineer may turn; every default is used by the tests and the published figures."""

    scenario_count: int = 20
    horizon_h: float = 36.0
    time_limit_s: float = 10.0
    gap_eur: float = 0.01
    floor_breach_eur_per_kwh: float = 20.0
    grid_breach_eur_per_kwh: float = 5.0
    end_value_quantile_ratio: float = 0.25
    cheap_quantile_ratio: float = 0.33
    expensive_quantile_ratio: float = 0.67
    reserve_risk_ratio: float = 0.05
    seed: int = 1
