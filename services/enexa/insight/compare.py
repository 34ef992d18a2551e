"""Run the shipped day under the reactive rule, SmartEMS and perfect foresight: the engine behind Results and What-If.

Only a worker process loads this module, for it brings numpy, the solver and compiled code. SmartEMS knows what it
would know on site: published prices, and three weeks in which the same cars came at the same times.
"""

from collections.abc import Callable
from datetime import timedelta

import numpy as np
from msgspec.structs import replace

from services.enexa.insight.comparison import Comparison, Knobs, Result
from services.enexa.market.prices import PriceSeries
from services.enexa.market.tariffs import Tariff
from services.enexa.planning.bounds import Bound, whole_battery
from services.enexa.planning.problem import Plant, SessionRecord
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
    prices = _turned(scenario_prices(scenario), knobs)
    given = scenario_day(
        replace(scenario, sessions=_thinned(scenario.sessions, knobs.cars_ratio)),
        plant=_plant(knobs),
        tariff=Tariff(),
        prices=prices,
        pv_kwp=knobs.pv_kwp,
    )
    controller = SmartEms(
        given, prices, _history(given), Knows.FORECAST, recursion=recursion, step_function=step_function
    )
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


def _plant(knobs: Knobs) -> Plant:
    plant = PLANTS[knobs.plant]
    ratio = knobs.battery_ratio
    strings = tuple(
        replace(
            each,
            capacity_kwh=each.capacity_kwh * ratio,
            max_charge_kw=each.max_charge_kw * ratio,
            max_discharge_kw=each.max_discharge_kw * ratio,
        )
        for each in plant.strings
    )
    plant = replace(plant, strings=strings)
    if knobs.grid_limit_kw is None:
        return plant
    return replace(plant, grid_import_limit_kw=knobs.grid_limit_kw, grid_apparent_limit_kva=knobs.grid_limit_kw * 2)


def _turned(prices: PriceSeries, knobs: Knobs) -> PriceSeries:
    """Spread around the mean first, then shifted as a whole."""
    mean = sum(prices.price_eur_per_mwh) / len(prices.price_eur_per_mwh)
    turned = tuple(
        mean + knobs.price_spread_ratio * (price - mean) + knobs.price_shift_eur_per_mwh
        for price in prices.price_eur_per_mwh
    )
    return replace(prices, price_eur_per_mwh=turned)


def _thinned(sessions: tuple[object, ...], ratio: float) -> tuple[object, ...]:
    """About `ratio` of the cars, spread over the day."""
    return tuple(each for index, each in enumerate(sessions) if int((index + 1) * ratio) > int(index * ratio))


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
