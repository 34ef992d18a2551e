"""Why a slot is as it is: the price zone, the one reason code, and a sentence for people."""

import numpy as np
from msgspec import Struct

from services.enexa.planning.problem import PlanProblem
from services.enexa.planning.schedule import Reason
from shared.contract.schedule import Zone

IDLE_KW = 0.5


class SlotView(Struct, frozen=True, kw_only=True):
    """What one slot of a plan looks like, before it becomes a slot of the schedule."""

    setpoint_kw: float
    soc_before_pct: float
    soc_target_pct: float
    soc_max_pct: float
    reserve_pct: float
    gate_kw: float
    zone: Zone
    price_eur_per_mwh: float
    published: bool
    marginal_eur_per_kwh: float
    grid_limit_eur_per_kwh: float
    capped: bool
    peak_binds: bool
    gap_kwh: float
    pv_kwh: float
    charged_kwh: float
    discharged_kwh: float


def zones_of(problem: PlanProblem) -> tuple[Zone, ...]:
    """Each slot's price among the prices of its plan."""
    prices = problem.price_eur_per_mwh
    cheap, expensive = np.quantile(
        prices, [problem.tuning.cheap_quantile_ratio, problem.tuning.expensive_quantile_ratio]
    )
    return tuple(_zone(price, float(cheap), float(expensive)) for price in prices)


def _zone(price: float, cheap: float, expensive: float) -> Zone:
    if price < 0:
        return Zone.NEGATIVE
    if expensive - cheap < 1.0:
        return Zone.NORMAL
    if price <= cheap:
        return Zone.CHEAP
    return Zone.EXPENSIVE if price >= expensive else Zone.NORMAL


def reason_of(view: SlotView) -> Reason:
    """The first that applies, charging before discharging before waiting."""
    if view.setpoint_kw < -IDLE_KW:
        return _why_charge(view)
    if view.setpoint_kw > IDLE_KW:
        return _why_discharge(view)
    return _why_wait(view)


def _why_charge(view: SlotView) -> Reason:
    if view.zone is Zone.NEGATIVE:
        return Reason.NEGATIVE_PRICE
    if view.pv_kwh >= view.charged_kwh / 2:
        return Reason.PV_ABSORB
    return Reason.RESERVE_PROTECT if view.zone is Zone.EXPENSIVE else Reason.CHEAP_SLOT


def _why_discharge(view: SlotView) -> Reason:
    if view.gap_kwh >= view.discharged_kwh / 2:
        return Reason.GRID_LIMIT if view.capped else Reason.EV_ASSIST
    if view.zone is not Zone.EXPENSIVE and view.peak_binds:
        return Reason.PEAK_SHAVING
    return Reason.EXPENSIVE_SLOT


def _why_wait(view: SlotView) -> Reason:
    if view.soc_before_pct >= view.soc_max_pct - 1:
        return Reason.NEAR_FULL
    if view.capped:
        return Reason.GRID_LIMIT
    return Reason.EXPENSIVE_SLOT if view.zone is Zone.EXPENSIVE else Reason.RESERVE_PROTECT


_SENTENCES = {
    Reason.CHEAP_SLOT: "price valley: charge",
    Reason.NEGATIVE_PRICE: "the market pays for taking energy: charge",
    Reason.EXPENSIVE_SLOT: "price peak: no grid energy for the battery, cars from the battery",
    Reason.PEAK_SHAVING: "hold the quarter-hour peak down",
    Reason.PV_ABSORB: "store the sun",
    Reason.EV_ASSIST: "the battery gives cars what the grid cannot",
    Reason.RESERVE_PROTECT: "keep energy for cars to come",
    Reason.NEAR_FULL: "nearly full",
    Reason.GRID_LIMIT: "the grid operator holds import down",
    Reason.SAFE_FALLBACK: "safe fallback",
    Reason.OPERATOR: "an operator decided",
}


def explain(view: SlotView) -> str:
    """One sentence with the numbers that decided: price, worth of stored energy, and what binds."""
    parts = [
        _SENTENCES[reason_of(view)],
        f"price {view.price_eur_per_mwh / 10:.1f} ct/kWh{'' if view.published else ' (estimated)'}",
        f"a stored kWh is worth {view.marginal_eur_per_kwh * 100:.1f} ct",
    ]
    if view.grid_limit_eur_per_kwh > 0.0005:
        parts.append(f"grid limit binding, {view.grid_limit_eur_per_kwh * 100:.1f} ct/kWh")
    if view.reserve_pct > view.soc_before_pct:
        parts.append(f"below the reserve of {view.reserve_pct:.0f} %")
    return "; ".join(parts)
