"""The plan as the dispatcher and the middleware read it: one slot per quarter hour, each with its reason.

How a slot is meant, second by second (the policy the numbers stand for):

* `setpoint_kw` > 0: while the state of charge is above `soc_target_pct`, the battery covers the cars instead of the
  grid. Below it, and in every slot with a setpoint of 0, it gives only what the grid cannot.
* `setpoint_kw` < 0: while the state of charge is below `soc_target_pct`, the battery charges with that power or, if it
  is behind, with more; the site's import is held to `import_gate_kw` while it does.
* `reserve_pct` is what cars to come will need with 95 % probability. No discharge for the price's sake goes below it.
  It never stops the battery from serving a car: an EV lifts import up to the grid limit, then drains to the floor.
"""

from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from shared.contract.schedule import Zone


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
    """What to do in one slot; + discharges the battery. `ev_kw` and `import_kw` are the means the plan expects."""

    start: datetime
    setpoint_kw: float
    soc_target_pct: float
    reserve_pct: float
    import_gate_kw: float
    price_eur_per_mwh: float
    zone: Zone
    reason: Reason
    marginal_eur_per_kwh: float
    ev_kw: float = 0.0
    import_kw: float = 0.0


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
