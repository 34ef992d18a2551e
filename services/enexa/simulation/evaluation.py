"""How much of the possible uplift SmartEMS captures on recorded sessions, day by day, with the cause of what is missed.

    uplift captured = sum(reactive - smart) / sum(reactive - perfect)        never a mean of daily ratios

Net costs are compared: energy, fees and wear minus export, unserved energy at its price, energy left valued. The
distance to perfect foresight is split by letting the same controller know more and more: what knowing arrivals
brings is forecast error of demand, what knowing prices brings on top is forecast error of prices, and what is then
left is model and control.
"""

from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from itertools import pairwise

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from services.enexa.market.prices import PriceSeries
from services.enexa.market.tariffs import Tariff
from services.enexa.planning.bounds import Bound, Foresight, perfect_foresight
from services.enexa.planning.problem import Plant, SessionRecord
from services.enexa.planning.tuning import Tuning
from services.enexa.simulation.kpis import Kpis, kpis_of
from services.enexa.simulation.plant import CHARGE, DISCHARGE, ENERGY, EV, EXPORT, IMPORT, Floats, Integers
from services.enexa.simulation.site import STEP_S, Run, RunSteps, Stretch, Visit, run_reactive, stretch
from services.enexa.simulation.smartems import History, Knows, SmartEms
from shared.energy.slots import day_end, day_start, local_day

START_SOC_PCT = 50.0
BLOCK_DAYS = 7
RESAMPLES = 2000
SAME_KW = 1e-9
Progress = Callable[[int, int], None]


class DayResult(Struct, frozen=True, kw_only=True):
    """Net cost of one local day under each controller, EUR; energy at its ends valued alike for all."""

    day: date
    sessions_count: int
    requested_kwh: float
    reactive_eur: float
    forecast_eur: float
    arrivals_eur: float
    all_eur: float
    perfect_eur: float
    reactive_unserved_kwh: float
    forecast_unserved_kwh: float


class Split(Struct, frozen=True, kw_only=True):
    """A cost by kind over all days, EUR."""

    controller: str
    energy_eur: float
    fees_eur: float
    wear_eur: float
    unserved_kwh: float
    cycles_count: float
    peak_kw: float


class Evaluation(Struct, frozen=True, kw_only=True):
    """The three figures with weekly bootstrap intervals (2.5 and 97.5 %), the regret by cause, and all days."""

    captured_of_perfect_ratio: float
    captured_of_perfect_interval: tuple[float, float]
    captured_of_arrivals_ratio: float
    captured_of_arrivals_interval: tuple[float, float]
    all_known_ratio: float
    all_known_interval: tuple[float, float]
    regret_demand_eur: float
    regret_price_eur: float
    regret_control_eur: float
    possible_eur: float
    requested_kwh: float
    unserved_reactive_kwh: float
    unserved_smart_kwh: float
    plans_count: int
    days: tuple[DayResult, ...]
    splits: tuple[Split, ...]


class Setting(Struct, frozen=True, kw_only=True):
    """What an evaluation runs on; `warm_up_days` observed days are history only."""

    plant: Plant
    tariff: Tariff
    sessions: tuple[SessionRecord, ...]
    prices: PriceSeries
    ev_loss_ratio: float = 0.05
    own_kw: float = 0.4
    warm_up_days: int = 10
    tuning: Tuning = Tuning()


def observed_runs(sessions: Sequence[SessionRecord], skip: int = 0) -> tuple[tuple[date, ...], ...]:
    """Runs of consecutive local days that have sessions, after the first `skip` such days."""
    days = sorted({local_day(session.start) for session in sessions})[skip:]
    if not days:
        return ()
    runs: list[list[date]] = [[days[0]]]
    for day, after in pairwise(days):
        if after - day == timedelta(days=1):
            runs[-1].append(after)
        else:
            runs.append([after])
    return tuple(tuple(run) for run in runs)


def evaluate(
    setting: Setting,
    *,
    recursion: Callable[..., None],
    step_function: RunSteps,
    progress: Progress = lambda _done, _of: None,
) -> Evaluation:
    """All runs of consecutive days, each with the battery's charge carried from day to day."""
    runs = observed_runs(setting.sessions, setting.warm_up_days)
    days: list[DayResult] = []
    finished: dict[str, list[Run]] = {"reactive": [], **{knows.value: [] for knows in Knows}}
    plans = 0
    for index, run_days in enumerate(runs):
        progress(index, len(runs))
        given = _stretch_of(setting, run_days)
        history = _history(setting, run_days[0])
        reactive = run_reactive(given, step_function)
        finished["reactive"].append(reactive)
        smart: dict[Knows, Run] = {}
        for knows in Knows:
            controller = SmartEms(
                given, setting.prices, history, knows,
                tuning=setting.tuning, recursion=recursion, step_function=step_function,
            )  # fmt: skip
            smart[knows] = controller.complete()
            finished[knows.value].append(smart[knows])
            plans += controller.plans_count
        days.extend(_days_of(given, run_days, reactive, smart, bound_of(given, tuple(smart.values()))))
    progress(len(runs), len(runs))
    splits = tuple(_split(name, runs_of) for name, runs_of in finished.items())
    return summarise(days, splits, plans)


def bound_of(given: Stretch, runs: Sequence[Run] = ()) -> Bound:
    """Perfect foresight on a stretch, with each car at full power from its start, or as one of `runs` served it.

    A controller whose battery runs low slows a car down, and the car catches up later in its stay; no plan with cars at
    full power has that freedom. So that the bound has it as well, it is the cheapest of perfect foresight with the cars
    at full power and with the cars as each run served them: no run can lie below.
    """
    wanted = wanted_kw(given)
    slowed = [run for run in runs if run.rest_kwh.any() or np.abs(run.record[EV] - wanted).max() > SAME_KW]
    bounds = [_foresight(given, wanted), *(_as_served(run) for run in slowed)]
    return min(bounds, key=lambda bound: bound.objective_eur)


def _as_served(run: Run) -> Bound:
    """Perfect foresight with the cars as a run served them; what it left them short is missing here, too."""
    given, bound = run.given, _foresight(run.given, run.record[EV])
    missing_kwh = bound.unserved_by_step_kwh.copy()
    np.add.at(missing_kwh, np.minimum(given.car_last, given.steps) - 1, run.rest_kwh)
    missing_eur = given.tariff.unserved_eur_per_kwh * float(run.rest_kwh.sum())
    return replace(
        bound,
        cost_eur=bound.cost_eur + missing_eur,
        objective_eur=bound.objective_eur + missing_eur,
        unserved_by_step_kwh=missing_kwh,
        unserved_kwh=float(missing_kwh.sum()),
    )


def _foresight(given: Stretch, ev_kw: Floats) -> Bound:
    return perfect_foresight(
        Foresight(
            step_s=STEP_S,
            ev_kw=ev_kw,
            own_kw=given.own_kw,
            pv_kw=given.pv_kw,
            buy_eur_per_kwh=given.buy_eur_per_kwh,
            sell_eur_per_kwh=given.sell_eur_per_kwh,
            import_cap_kw=given.import_cap_kw,
            plant=given.plant,
            wear_eur_per_kwh=given.tariff.wear_eur_per_kwh,
            ev_loss_ratio=given.ev_loss_ratio,
            start_kwh=given.start_kwh,
            end_value_eur_per_kwh=given.end_value_eur_per_kwh,
            unserved_eur_per_kwh=given.tariff.unserved_eur_per_kwh,
        )
    )


def wanted_kw(given: Stretch) -> Floats:
    """What the cars draw each minute where nothing holds them back."""
    power_kw = np.zeros(given.steps)
    for car in range(len(given.car_kwh)):
        begin, end = int(given.car_first[car]), int(given.car_last[car])
        kw = float(given.car_max_kw[car])
        power_kw[begin:end] += np.clip(given.car_kwh[car] * 60 - kw * np.arange(end - begin), 0.0, kw)
    return np.asarray(np.minimum(power_kw, given.plant.max_charger_kw))


def _stretch_of(setting: Setting, days: tuple[date, ...]) -> Stretch:
    start, end = day_start(days[0]), day_end(days[-1])
    visits = [visit_of(session, end) for session in setting.sessions if start <= session.start < end]
    return stretch(
        start=start,
        minutes=int((end - start).total_seconds() // 60),
        plant=setting.plant,
        tariff=setting.tariff,
        prices=setting.prices,
        visits=visits,
        start_soc_pct=START_SOC_PCT,
        ev_loss_ratio=setting.ev_loss_ratio,
        own_kw=setting.own_kw,
    )


def visit_of(session: SessionRecord, end: datetime) -> Visit:
    """A recorded session as a visit that ends by `end`; it wants no more than its power can give in its stay."""
    until = min(session.until, end)
    hours = (until - session.start).total_seconds() / 3600
    return Visit(
        start=session.start,
        until=until,
        energy_kwh=min(session.energy_kwh, session.max_power_kw * hours),
        max_power_kw=session.max_power_kw,
    )


def _history(setting: Setting, first_day: date) -> History:
    """Sessions and observed days before the tested window, never in it."""
    before = tuple(session for session in setting.sessions if local_day(session.start) < first_day)
    return History(sessions=before, observed_days=tuple(sorted({local_day(session.start) for session in before})))


def _days_of(
    given: Stretch, days: tuple[date, ...], reactive: Run, smart: dict[Knows, Run], bound: Bound
) -> list[DayResult]:
    results = []
    for day in days:
        first = int((day_start(day) - given.start).total_seconds() // STEP_S)
        last = int((day_end(day) - given.start).total_seconds() // STEP_S)
        cars: Integers = np.flatnonzero((given.car_first >= first) & (given.car_first < last)).astype(np.int64)
        results.append(
            DayResult(
                day=day,
                sessions_count=len(cars),
                requested_kwh=float(given.car_kwh[cars].sum()),
                reactive_eur=run_eur(reactive, first, last, cars),
                forecast_eur=run_eur(smart[Knows.FORECAST], first, last, cars),
                arrivals_eur=run_eur(smart[Knows.ARRIVALS], first, last, cars),
                all_eur=run_eur(smart[Knows.ALL], first, last, cars),
                perfect_eur=_bound_eur(given, bound, first, last),
                reactive_unserved_kwh=float(reactive.rest_kwh[cars].sum()),
                forecast_unserved_kwh=float(smart[Knows.FORECAST].rest_kwh[cars].sum()),
            )
        )
    return results


def run_eur(run: Run, first: int, last: int, cars: Integers) -> float:
    """Net cost of steps [first, last), EUR; `cars` are those whose missing energy counts there."""
    given, record = run.given, run.record
    part = slice(first, last)
    hours = STEP_S / 3600
    flows = (
        (record[IMPORT, part] * given.buy_eur_per_kwh[part]).sum()
        - (record[EXPORT, part] * np.nan_to_num(given.sell_eur_per_kwh[part])).sum()
        + given.tariff.wear_eur_per_kwh * (record[CHARGE, part] + record[DISCHARGE, part]).sum()
    )
    before = given.start_kwh if first == 0 else record[ENERGY, first - 1]
    left = given.end_value_eur_per_kwh * (record[ENERGY, last - 1] - before)
    return float(flows * hours - left + given.tariff.unserved_eur_per_kwh * run.rest_kwh[cars].sum())


def _bound_eur(given: Stretch, bound: Bound, first: int, last: int) -> float:
    part = slice(first, last)
    flows = (
        (bound.import_kwh[part] * given.buy_eur_per_kwh[part]).sum()
        - (bound.export_kwh[part] * np.nan_to_num(given.sell_eur_per_kwh[part])).sum()
        + given.tariff.wear_eur_per_kwh * (bound.charge_kwh[part] + bound.discharge_kwh[part]).sum()
    )
    before = given.start_kwh if first == 0 else bound.energy_kwh[first - 1]
    left = given.end_value_eur_per_kwh * (bound.energy_kwh[last - 1] - before)
    unserved = given.tariff.unserved_eur_per_kwh * bound.unserved_by_step_kwh[part].sum()
    return float(flows - left + unserved)


def summarise(days: Sequence[DayResult], splits: tuple[Split, ...], plans: int) -> Evaluation:
    """Ratios of sums over all days, their intervals, and the regret by cause."""
    table = np.array([[d.reactive_eur, d.forecast_eur, d.arrivals_eur, d.all_eur, d.perfect_eur] for d in days])
    figures = _figures(table.sum(axis=0))
    low, high = _bootstrap(table)
    total = table.sum(axis=0)
    return Evaluation(
        captured_of_perfect_ratio=figures[0],
        captured_of_perfect_interval=(low[0], high[0]),
        captured_of_arrivals_ratio=figures[1],
        captured_of_arrivals_interval=(low[1], high[1]),
        all_known_ratio=figures[2],
        all_known_interval=(low[2], high[2]),
        regret_demand_eur=float(total[1] - total[2]),
        regret_price_eur=float(total[2] - total[3]),
        regret_control_eur=float(total[3] - total[4]),
        possible_eur=float(total[0] - total[4]),
        requested_kwh=sum(d.requested_kwh for d in days),
        unserved_reactive_kwh=sum(d.reactive_unserved_kwh for d in days),
        unserved_smart_kwh=sum(d.forecast_unserved_kwh for d in days),
        plans_count=plans,
        days=tuple(days),
        splits=splits,
    )


def _figures(sums: Floats) -> tuple[float, float, float]:
    """Smart of perfect; smart of the same with arrivals known; all known of perfect."""
    reactive, forecast, arrivals, everything, perfect = (float(value) for value in sums)
    return (
        (reactive - forecast) / (reactive - perfect),
        (reactive - forecast) / (reactive - arrivals),
        (reactive - everything) / (reactive - perfect),
    )


def _bootstrap(table: Floats) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Whole weeks are drawn with replacement, because neighbouring days are alike."""
    weeks = [table[at : at + BLOCK_DAYS].sum(axis=0) for at in range(0, len(table), BLOCK_DAYS)]
    sums = np.array(weeks)
    rng = np.random.default_rng(7)
    drawn = np.array([_figures(sums[rng.integers(0, len(sums), len(sums))].sum(axis=0)) for _ in range(RESAMPLES)])
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    return tuple(low.tolist()), tuple(high.tolist())


def _split(name: str, runs: list[Run]) -> Split:
    figures: list[Kpis] = [kpis_of(run) for run in runs]
    return Split(
        controller=name,
        energy_eur=sum(k.energy_eur for k in figures),
        fees_eur=sum(k.fees_eur for k in figures),
        wear_eur=sum(k.wear_eur for k in figures),
        unserved_kwh=sum(k.unserved_kwh for k in figures),
        cycles_count=sum(k.cycles_count for k in figures),
        peak_kw=max((k.peak_kw for k in figures), default=0.0),
    )
