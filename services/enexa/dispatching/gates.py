"""Schedule and measured now become one intent with the gate and the reason that decided it (pure).

The gates are asked in the fixed order of `GATES`; the first that has an opinion decides. What each means:

| Gate        | Decides when                                            | Wants |
|-------------|---------------------------------------------------------|-------|
| blind       | no sample, or none for 15 s                             | nothing: the last setpoint runs out |
| not_ours    | the site is locked or its station is lost               | nothing |
| operator    | the planner is switched off in the configuration        | nothing: the reactive rule serves cars |
| no_schedule | no slot is in force                                     | nothing |
| ev_assist   | the cars need more than the grid may give               | what the grid cannot give, at least |
| pv_absorb   | PV would be lost, there is room in the battery          | charge with what is over |
| near_full   | the plan charges, the battery is full or has its target | rest |
| ev_first    | the plan charges, cars leave no room under the gate     | rest |
| charge      | the plan charges                                        | its power, or more where it is behind |
| reserve     | the plan discharges, SOC is at target or reserve        | rest |
| discharge   | the plan discharges                                     | the battery covers the cars |
| wait        | always                                                  | rest |

"Nothing" leaves the site to the middleware. "Rest" is a wish of 0 kW: the middleware still lets the battery give cars
what the grid cannot. Without export a wish to discharge never flows into the grid, for the middleware holds it to what
the cars draw.
"""

import math
from collections.abc import Callable
from datetime import datetime

from msgspec import Struct

from services.enexa.planning.schedule import Reason
from shared.contract.config import SiteConfig
from shared.contract.schedule import ScheduleSlot, Zone
from shared.contract.telemetry import Mode, Telemetry

BLIND_AFTER_S = 15.0
IDLE_KW = 0.5
PV_SURPLUS_KW = 1.0
STEP_KW = 5.0
"""Setpoints that follow a car move in steps, so that a ramp does not become a stream of commands."""
CATCH_UP_MIN_S = 300.0
"""A battery behind its target catches up over the rest of the slot, but not faster than over this time."""
NOT_OURS = frozenset({Mode.LOCKED, Mode.DEVICE_LOST})


class Intent(Struct, frozen=True, kw_only=True):
    """What is wanted this second; `setpoint_kw` None = say nothing. `detail` is for people."""

    setpoint_kw: float | None
    reason: Reason
    gate: str
    detail: str = ""
    slot_start: datetime | None = None


class View(Struct, frozen=True, kw_only=True):
    """Everything the gates may look at, in this second."""

    at: datetime
    config: SiteConfig
    slot: ScheduleSlot | None = None
    slot_ends_at: datetime | None = None
    sample: Telemetry | None = None
    sample_age_s: float = math.inf

    @property
    def soc_pct(self) -> float | None:
        return self.sample.battery.soc_pct if self.sample else None

    @property
    def ev_kw(self) -> float:
        """What the cars draw, at the AC bus."""
        if self.sample is None:
            return 0.0
        return math.fsum(each.power_kw for each in self.sample.chargers if each.power_kw is not None)

    @property
    def need_kw(self) -> float:
        """What battery and grid must bring together."""
        assert self.sample is not None
        return self.ev_kw + (self.sample.aux_kw or 0.0) - (self.sample.pv_kw or 0.0)

    @property
    def import_max_kw(self) -> float:
        """The import limit in force: ours, or the lower one that the station shows."""
        shown_kw = self.sample.grid.clearance_kw if self.sample else None
        limit_kw = self.config.grid.import_limit_kw
        return limit_kw if shown_kw is None else min(limit_kw, shown_kw)

    @property
    def charge_max_kw(self) -> float:
        return math.fsum(each.charge_max_kw for each in self.config.battery.units)

    @property
    def discharge_max_kw(self) -> float:
        return math.fsum(each.discharge_max_kw for each in self.config.battery.units)

    @property
    def capacity_kwh(self) -> float:
        return math.fsum(each.capacity_kwh for each in self.config.battery.units)


Opinion = Callable[[View], Intent | None]


def decide(view: View) -> Intent:
    """The intent of this second."""
    for name, gate in GATES:
        intent = gate(view)
        if intent is not None:
            return Intent(
                setpoint_kw=intent.setpoint_kw,
                reason=intent.reason,
                gate=name,
                detail=intent.detail,
                slot_start=view.slot.start if view.slot else None,
            )
    raise AssertionError("the last gate always has an opinion")


def _want(setpoint_kw: float | None, reason: Reason, detail: str) -> Intent:
    rounded_kw = None if setpoint_kw is None else round(setpoint_kw, 1) + 0.0
    return Intent(setpoint_kw=rounded_kw, reason=reason, gate="", detail=detail)


def _blind(view: View) -> Intent | None:
    if view.sample is not None and view.sample_age_s <= BLIND_AFTER_S:
        return None
    if view.sample is None:
        return _want(None, Reason.SAFE_FALLBACK, "no sample yet")
    return _want(None, Reason.SAFE_FALLBACK, f"the newest sample is {view.sample_age_s:.0f} s old")


def _not_ours(view: View) -> Intent | None:
    mode = view.sample.station.mode if view.sample else None
    if mode not in NOT_OURS:
        return None
    return _want(None, Reason.SAFE_FALLBACK, f"the site is {mode.value.replace('_', ' ')}")


def _operator(view: View) -> Intent | None:
    if view.config.planner.enabled:
        return None
    return _want(None, Reason.OPERATOR, "the planner is switched off in the configuration")


def _no_schedule(view: View) -> Intent | None:
    return None if view.slot is not None else _want(None, Reason.SAFE_FALLBACK, "no schedule is in force")


def _ev_assist(view: View) -> Intent | None:
    gap_kw = view.need_kw - view.import_max_kw
    if gap_kw <= IDLE_KW or view.ev_kw <= IDLE_KW:
        return None
    reason = Reason.GRID_LIMIT if view.import_max_kw < view.config.grid.import_limit_kw - IDLE_KW else Reason.EV_ASSIST
    wish_kw = max(_stepped_down(gap_kw), _planned_discharge_kw(view))
    return _want(min(wish_kw, view.discharge_max_kw), reason, f"cars need {gap_kw:.0f} kW more than the grid may give")


def _pv_absorb(view: View) -> Intent | None:
    surplus_kw = -view.need_kw
    if surplus_kw <= PV_SURPLUS_KW or view.config.grid.export_allowed or _full(view):
        return None
    planned_kw = -_slot(view).setpoint_kw
    wish_kw = max(_stepped_down(surplus_kw, 1.0), planned_kw)
    return _want(-min(wish_kw, view.charge_max_kw), Reason.PV_ABSORB, f"{surplus_kw:.0f} kW of PV would be lost")


def _near_full(view: View) -> Intent | None:
    slot = _slot(view)
    if slot.setpoint_kw >= -IDLE_KW:
        return None
    if _full(view):
        return _want(0.0, Reason.NEAR_FULL, f"the battery holds {view.soc_pct:.0f} %, its ceiling")
    if view.soc_pct is not None and view.soc_pct >= slot.soc_target_pct + 0.5:
        return _want(0.0, Reason.NEAR_FULL, f"the slot's target of {slot.soc_target_pct:.0f} % is reached")
    return None


def _ev_first(view: View) -> Intent | None:
    slot = _slot(view)
    if slot.setpoint_kw >= -IDLE_KW or _room_kw(view) > IDLE_KW:
        return None
    return _want(0.0, Reason.EV_ASSIST, f"cars take what the import gate of {slot.import_gate_kw:.0f} kW gives")


def _charge(view: View) -> Intent | None:
    slot = _slot(view)
    if slot.setpoint_kw >= -IDLE_KW:
        return None
    wish_kw = min(max(-slot.setpoint_kw, _catch_up_kw(view)), _room_kw(view), view.charge_max_kw)
    reason = Reason.NEGATIVE_PRICE if slot.zone is Zone.NEGATIVE else _planned_reason(slot, Reason.CHEAP_SLOT)
    return _want(-_stepped_down(wish_kw, 1.0), reason, f"towards {slot.soc_target_pct:.0f} % by the end of the slot")


def _reserve(view: View) -> Intent | None:
    slot = _slot(view)
    if slot.setpoint_kw <= IDLE_KW or _above_thresholds(view):
        return None
    level_pct = max(slot.soc_target_pct, slot.reserve_pct)
    return _want(0.0, Reason.RESERVE_PROTECT, f"{level_pct:.0f} % is kept for cars to come")


def _discharge(view: View) -> Intent | None:
    slot = _slot(view)
    if slot.setpoint_kw <= IDLE_KW:
        return None
    reason = _planned_reason(slot, Reason.EXPENSIVE_SLOT)
    return _want(_planned_discharge_kw(view), reason, "the battery covers the cars instead of the grid")


def _wait(view: View) -> Intent | None:
    slot = _slot(view)
    return _want(0.0, _planned_reason(slot, Reason.RESERVE_PROTECT), "the plan rests")


GATES: tuple[tuple[str, Opinion], ...] = (
    ("blind", _blind),
    ("not_ours", _not_ours),
    ("operator", _operator),
    ("no_schedule", _no_schedule),
    ("ev_assist", _ev_assist),
    ("pv_absorb", _pv_absorb),
    ("near_full", _near_full),
    ("ev_first", _ev_first),
    ("charge", _charge),
    ("reserve", _reserve),
    ("discharge", _discharge),
    ("wait", _wait),
)


def _slot(view: View) -> ScheduleSlot:
    assert view.slot is not None, "the gate no_schedule comes first"
    return view.slot


def _full(view: View) -> bool:
    return view.soc_pct is not None and view.soc_pct >= view.config.battery.soc_max_pct - 0.25


def _above_thresholds(view: View) -> bool:
    """Whether the battery may serve for the price's sake; an unknown SOC may not."""
    slot = _slot(view)
    return view.soc_pct is not None and view.soc_pct > max(slot.soc_target_pct, slot.reserve_pct)


def _planned_discharge_kw(view: View) -> float:
    """Where the plan discharges and the battery is above its thresholds: enough to cover the cars; else 0."""
    slot = _slot(view)
    if slot.setpoint_kw <= IDLE_KW or not _above_thresholds(view):
        return 0.0
    covering_kw = math.ceil(view.ev_kw / STEP_KW) * STEP_KW
    return min(max(slot.setpoint_kw, covering_kw), view.discharge_max_kw)


def _room_kw(view: View) -> float:
    """What the battery may take without lifting import above the slot's gate."""
    return min(_slot(view).import_gate_kw, view.import_max_kw) - view.need_kw


def _catch_up_kw(view: View) -> float:
    """The power that reaches the slot's target at its end."""
    slot = _slot(view)
    if view.soc_pct is None or view.slot_ends_at is None:
        return 0.0
    left_s = max((view.slot_ends_at - view.at).total_seconds(), CATCH_UP_MIN_S)
    missing_kwh = max(slot.soc_target_pct - view.soc_pct, 0.0) / 100.0 * view.capacity_kwh
    return missing_kwh / view.config.battery.charge_efficiency * 3600.0 / left_s


def _planned_reason(slot: ScheduleSlot, otherwise: Reason) -> Reason:
    """The plan's own reason where it is one of ours."""
    return Reason(slot.reason) if slot.reason in Reason.__members__.values() else otherwise


def _stepped_down(power_kw: float, step_kw: float = STEP_KW) -> float:
    return math.floor(power_kw / step_kw) * step_kw
