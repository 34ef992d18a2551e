"""The plan as the dispatcher and the middleware read it: one slot per quarter hour, each with its reason.

How a slot is meant, second by second (the policy the numbers stand for):

* SOC above `reserve_pct` and `setpoint_kw` > 0: the battery covers the cars, not only what the grid cannot give.
* SOC at or below `reserve_pct`: the battery covers only what the grid cannot give.
* `setpoint_kw` < 0: charge towards `soc_target_pct`, with the site's import held to `import_gate_kw`.
* An EV is served first: it may lift import above the gate up to the grid limit, and then the battery to the floor.
"""

from datetime import datetime
from enum import StrEnum

from msgspec import Struct


class Zone(StrEnum):
    """Where a slot's price lies among the prices of its plan."""

    NEGATIVE = "negative"
    CHEAP = "cheap"
    NORMAL = "normal"
    EXPENSIVE = "expensive"


class Reason(StrEnum):
    """Why the battery does what it does; the planner's and the dispatcher's common words."""

    CHEAP_SLOT = "cheap_slot"
    EXPENSIVE_SLOT = "expensive_slot"
    PEAK_SHAVING = "peak_shaving"
    PV_ABSORB = "pv_absorb"
    EV_ASSIST = "ev_assist"
    RESERVE_PROTECT = "reserve_protect"
    NEAR_FULL = "near_full"
    GRID_LIMIT = "grid_limit"
    NEGATIVE_PRICE = "negative_price"
    SAFE_FALLBACK = "safe_fallback"
    OPERATOR = "operator"


class Slot(Struct, frozen=True, kw_only=True):
    """What to do in one slot; + discharges the battery, and the price may be an estimate (see the plan)."""

    start: datetime
    setpoint_kw: float
    soc_target_pct: float
    reserve_pct: float
    import_gate_kw: float
    price_eur_per_mwh: float
    zone: Zone
    reason: Reason
    marginal_eur_per_kwh: float


class Schedule(Struct, frozen=True, kw_only=True):
    """The slots of one plan, contiguous and in order; valid from the first start to `valid_until`."""

    version: int
    valid_from: datetime
    valid_until: datetime
    slots: tuple[Slot, ...]

    def slot_at(self, at: datetime) -> Slot | None:
        """The slot in force at `at`, or None outside the schedule's validity."""
        if not self.valid_from <= at < self.valid_until:
            return None
        return next((slot for slot in reversed(self.slots) if slot.start <= at), None)
