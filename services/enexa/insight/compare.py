"""Run the shipped day under the reactive rule, SmartEMS and perfect foresight: the engine behind Results and What-If.

Only a worker process loads this module, for it brings numpy, the solver and compiled code. SmartEMS knows what it
would know on site: published prices, and three weeks in which the same cars came at the same times.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial

import numpy as np
from msgspec.structs import replace

from services.enexa.insight.comparison import Comparison, Knobs, Result
from services.enexa.insight.turned import (
    errors_of,
    import_cap_kw,
    sun_ratio,
    turned_plant,
    turned_prices,
    turned_tariff,
    turned_visits,
)
from services.enexa.planning.bounds import Bound, whole_battery
from services.enexa.planning.problem import SessionRecord
from services.enexa.simulation.days import REFERENCE_DAY, scenario_day, scenario_prices
from services.enexa.simulation.evaluation import bound_of, wanted_kw
from services.enexa.simulation.kpis import highest_quarter_kw, kpis_of
from services.enexa.simulation.plant import CHARGE, DISCHARGE, ENERGY, IMPORT, Floats
from services.enexa.simulation.scenarios import PLANTS
from services.enexa.simulation.site import NO_BATTERY, STEPS_PER_SLOT, Run, RunSteps, Stretch, run_reactive
from services.enexa.simulation.smartems import History, Knows, SmartEms
from shared.errors import OutOfBounds
from shared.scenario.schema import Scenario

HISTORY_DAYS = 21


def compare(
    scenario: Scenario,
    knobs: Knobs,
    *,
    recursion: Callable[..., None],
    step_function: RunSteps,
    progress: Callable[[float], None] = lambda _ratio: None,
) -> Comparison:
    """All three on the same stretch; OutOfBounds for a plant that nobody knows. `progress` hears how far it is."""
    if knobs.plant not in PLANTS:
        raise OutOfBounds("no such plant", field="plant")
    sites = int(knobs.sites_count)
    made = []
    for site in range(sites):
        told = partial(_share_done, progress, site, sites)
        made.append(_one_site(scenario, knobs, site, recursion=recursion, step_function=step_function, progress=told))
    return made[0] if sites == 1 else together(made)


def _share_done(progress: Callable[[float], None], site: int, sites: int, ratio: float) -> None:
    progress((site + ratio) / sites)


def _one_site(
    scenario: Scenario,
    knobs: Knobs,
    site: int,
    *,
    recursion: Callable[..., None],
    step_function: RunSteps,
    progress: Callable[[float], None],
) -> Comparison:
    prices = turned_prices(scenario_prices(scenario), knobs)
    given = scenario_day(
        scenario,
        plant=turned_plant(knobs),
        tariff=turned_tariff(knobs),
        prices=prices,
        pv_kwp=knobs.pv_kwp * sun_ratio(knobs),
        turned=lambda visits: turned_visits(visits, knobs, site),
    )
    given = replace(given, import_cap_kw=import_cap_kw(given, knobs))
    controller = SmartEms(
        given, prices, _history(given), Knows.FORECAST,
        errors=errors_of(given, knobs), recursion=recursion, step_function=step_function,
    )  # fmt: skip
    reactive, smart = run_reactive(given, step_function), controller.complete(progress)
    return Comparison(
        knobs=knobs,
        day=REFERENCE_DAY,
        start=given.start,
        sessions_count=len(given.visits),
        requested_kwh=float(given.car_kwh.sum()),
        pv_kwh=float(given.pv_kw.sum() / 60),
        price_eur_per_mwh=_quarters(given.price_eur_per_mwh),
        ev_wanted_kw=_quarters(wanted_kw(given)),
        reactive=_of_run("reactive", reactive),
        smart=_of_run("smart", smart),
        perfect=_of_bound(given, bound_of(given, (reactive, smart))),
        plans_count=controller.plans_count,
    )


def together(made: Sequence[Comparison]) -> Comparison:
    """A fleet: what flows and costs adds up, charge is a mean, and the peak is that of the sum."""
    first = made[0]
    return replace(
        first,
        sessions_count=sum(each.sessions_count for each in made),
        requested_kwh=sum(each.requested_kwh for each in made),
        pv_kwh=sum(each.pv_kwh for each in made),
        ev_wanted_kw=_added([each.ev_wanted_kw for each in made]),
        reactive=_fleet([each.reactive for each in made]),
        smart=_fleet([each.smart for each in made]),
        perfect=_fleet([each.perfect for each in made]),
        plans_count=sum(each.plans_count for each in made),
    )


ADDED = (
    "net_eur", "cost_eur", "import_kwh", "export_kwh", "charged_kwh", "discharged_kwh", "ev_kwh", "unserved_kwh",
    "sessions_served_count", "energy_eur", "fees_eur", "wear_eur", "export_eur",
)  # fmt: skip


def _fleet(results: Sequence[Result]) -> Result:
    sums: dict[str, float | int | None] = {}
    for name in ADDED:
        values = [getattr(each, name) for each in results]
        sums[name] = None if None in values else sum(values)
    import_kw = _added([each.import_kw for each in results])
    cycles = [each.cycles_count for each in results if each.cycles_count is not None]
    lowest = [each.soc_min_pct for each in results if each.soc_min_pct is not None]
    return replace(
        results[0],
        **sums,
        end_soc_pct=sum(each.end_soc_pct for each in results) / len(results),
        peak_kw=max(import_kw),
        cycles_count=sum(cycles) / len(cycles) if cycles else None,
        soc_min_pct=min(lowest, default=None),
        battery_kw=_added([each.battery_kw for each in results]),
        import_kw=import_kw,
        soc_pct=tuple(np.mean([each.soc_pct for each in results], axis=0).tolist()),
    )


def _added(columns: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    return tuple(np.sum(columns, axis=0).tolist())


def _history(given: Stretch) -> History:
    days = range(HISTORY_DAYS, 0, -1)
    return History(
        sessions=tuple(
            SessionRecord(
                start=visit.start - timedelta(days=day),
                until=visit.until - timedelta(days=day),
                energy_kwh=visit.energy_kwh,
                max_power_kw=visit.max_power_kw,
            )
            for day in days
            for visit in given.visits
        ),
        observed_days=tuple(REFERENCE_DAY - timedelta(days=day) for day in days),
    )


def _of_run(name: str, run: Run) -> Result:
    kpis, record = kpis_of(run), run.record
    capacity_kwh = (whole_battery(run.given.plant) or NO_BATTERY).capacity_kwh or 1.0
    return Result(
        controller=name,
        net_eur=kpis.net_eur,
        cost_eur=kpis.cost_eur,
        import_kwh=kpis.import_kwh,
        export_kwh=kpis.export_kwh,
        charged_kwh=kpis.charged_kwh,
        discharged_kwh=kpis.discharged_kwh,
        ev_kwh=kpis.ev_kwh,
        unserved_kwh=kpis.unserved_kwh,
        end_soc_pct=100.0 * kpis.end_kwh / capacity_kwh,
        peak_kw=kpis.peak_kw,
        sessions_served_count=kpis.sessions_served_count,
        cycles_count=kpis.cycles_count,
        energy_eur=kpis.energy_eur,
        fees_eur=kpis.fees_eur,
        wear_eur=kpis.wear_eur,
        export_eur=kpis.export_eur,
        soc_min_pct=kpis.soc_min_pct,
        battery_kw=_quarters(record[DISCHARGE] - record[CHARGE]),
        import_kw=_quarters(record[IMPORT]),
        soc_pct=_at_ends(record[ENERGY] / capacity_kwh * 100),
    )


def _of_bound(given: Stretch, bound: Bound) -> Result:
    """The optimum in the same terms; its flows are energies per minute."""
    capacity_kwh = (whole_battery(given.plant) or NO_BATTERY).capacity_kwh or 1.0
    left_eur = given.end_value_eur_per_kwh * (bound.end_kwh - given.start_kwh)
    return Result(
        controller="perfect",
        net_eur=bound.cost_eur - left_eur,
        cost_eur=bound.cost_eur - given.tariff.unserved_eur_per_kwh * bound.unserved_kwh,
        import_kwh=float(bound.import_kwh.sum()),
        export_kwh=float(bound.export_kwh.sum()),
        charged_kwh=float(bound.charge_kwh.sum()),
        discharged_kwh=float(bound.discharge_kwh.sum()),
        ev_kwh=float(given.car_kwh.sum()) - bound.unserved_kwh,
        unserved_kwh=bound.unserved_kwh,
        end_soc_pct=100.0 * bound.end_kwh / capacity_kwh,
        peak_kw=highest_quarter_kw(bound.import_kwh * 60),
        battery_kw=_quarters((bound.discharge_kwh - bound.charge_kwh) * 60),
        import_kw=_quarters(bound.import_kwh * 60),
        soc_pct=_at_ends(bound.energy_kwh / capacity_kwh * 100),
    )


def _quarters(minutes: Floats) -> tuple[float, ...]:
    return tuple(np.round(minutes.reshape(-1, STEPS_PER_SLOT).mean(axis=1), 3).tolist())


def _at_ends(minutes: Floats) -> tuple[float, ...]:
    return tuple(np.round(minutes[STEPS_PER_SLOT - 1 :: STEPS_PER_SLOT], 2).tolist())
