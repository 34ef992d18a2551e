"""Play a measured stretch again under the reactive rule and with perfect foresight; only a worker loads this module.

Each minute's measured car power is a car of its own that stays for that minute, so that rule and bound serve the same
demand at the same time. A minute without a measurement has no demand, no sun and no grid: nobody gains from a gap.
"""

from datetime import timedelta

import numpy as np
from msgspec.structs import replace

from services.enexa.insight.bounds import Bounds, Measured
from services.enexa.planning.bounds import Bound, whole_battery
from services.enexa.planning.problem import Plant
from services.enexa.simulation.evaluation import bound_of
from services.enexa.simulation.kpis import kpis_of
from services.enexa.simulation.plant import Floats
from services.enexa.simulation.site import NO_BATTERY, RunSteps, Stretch, Visit, run_reactive, stretch
from shared.errors import OutOfBounds

HOURS = 1.0 / 60.0
DRAWS_KW = 0.05


def bounds_of(given: Measured, step_function: RunSteps) -> Bounds:
    """The three net costs; OutOfBounds where nothing was measured."""
    minutes = round((given.until - given.start) / timedelta(minutes=1))
    rows = _rows(given, minutes)
    soc_pct = rows["soc_pct"][~np.isnan(rows["soc_pct"])]
    if not len(soc_pct):
        raise OutOfBounds("nothing was measured", field="day")
    site = _site(given, minutes, rows, float(soc_pct[0]))
    baseline = run_reactive(site, step_function)
    reactive, perfect = kpis_of(baseline), bound_of(site, (baseline,))
    return Bounds(
        until=given.until,
        actual_eur=_actual_eur(site, rows, float(soc_pct[-1])),
        reactive_eur=reactive.net_eur,
        perfect_eur=_perfect_eur(site, perfect),
        reactive_unserved_kwh=reactive.unserved_kwh,
        perfect_unserved_kwh=perfect.unserved_kwh,
    )


def _rows(given: Measured, minutes: int) -> dict[str, Floats]:
    """Measured columns by minute, NaN where there was no measurement."""
    names = ("grid_kw", "battery_kw", "ev_kw", "pv_kw", "aux_kw", "soc_pct")
    rows = {name: np.full(minutes, np.nan) for name in names}
    for point in given.points:
        minute = round((point.at - given.start) / timedelta(minutes=1))
        if 0 <= minute < minutes:
            for name in names:
                value = getattr(point, name)
                rows[name][minute] = np.nan if value is None else value
    return rows


def _site(given: Measured, minutes: int, rows: dict[str, Floats], start_soc_pct: float) -> Stretch:
    plant = _down_to_the_floor(given.plant)
    ev_kw = np.nan_to_num(rows["ev_kw"])
    at = [given.start + timedelta(minutes=minute) for minute in range(minutes)]
    visits = [
        Visit(start=at[minute], until=at[minute] + timedelta(minutes=1), energy_kwh=kw * HOURS, max_power_kw=kw)
        for minute, kw in enumerate(ev_kw.tolist())
        if kw > DRAWS_KW
    ]
    battery = whole_battery(plant)
    floor_pct = battery.soc_min_pct if battery is not None else 0.0
    site = stretch(
        start=given.start,
        minutes=minutes,
        plant=plant,
        tariff=given.tariff,
        prices=given.prices,
        visits=visits,
        start_soc_pct=max(start_soc_pct, floor_pct),
        pv_kw=np.nan_to_num(rows["pv_kw"]),
        import_cap_kw=np.where(np.isnan(rows["grid_kw"]), 0.0, plant.import_limit_kw),
    )
    return replace(site, own_kw=np.where(np.isnan(rows["grid_kw"]), 0.0, np.nan_to_num(rows["aux_kw"])))


def _down_to_the_floor(plant: Plant) -> Plant:
    """The plant without the reserve that a plan keeps: the day is over, and nobody has to be kept for."""
    strings = tuple(replace(each, soc_min_pct=each.derating_floor_pct) for each in plant.strings)
    return replace(plant, strings=strings)


def _actual_eur(site: Stretch, rows: dict[str, Floats], end_soc_pct: float) -> float:
    grid, battery_kw = np.nan_to_num(rows["grid_kw"]), np.nan_to_num(rows["battery_kw"])
    sell = np.nan_to_num(site.sell_eur_per_kwh)
    flows = np.maximum(grid, 0.0) * site.buy_eur_per_kwh - np.maximum(-grid, 0.0) * sell
    wear = site.tariff.wear_eur_per_kwh * np.abs(battery_kw)
    capacity_kwh = (whole_battery(site.plant) or NO_BATTERY).capacity_kwh
    left_eur = site.end_value_eur_per_kwh * (capacity_kwh * end_soc_pct / 100.0 - site.start_kwh)
    return float((flows + wear).sum() * HOURS - left_eur)


def _perfect_eur(site: Stretch, bound: Bound) -> float:
    """`cost_eur` of a bound holds the unserved energy at its price already."""
    return bound.cost_eur - site.end_value_eur_per_kwh * (bound.end_kwh - site.start_kwh)
