"""One aggregated storage, exactly: against peers, with scenarios, for a fleet, and for a year of re-plans."""

from functools import partial

import numpy as np

from services.enexa.planning.compiled import fast_exactly, fast_many_sites
from services.enexa.planning.exact import BUY, CAP, ENERGY, FLOW_ROWS, HOURS, LOW, OWN, SELL
from services.enexa.planning.problem import PlanProblem, Plant
from services.enexa.planning.program import Floats, build
from services.enexa.planning.shortcut import ExactInput, exact_input, relaxation
from services.enexa.planning.solver import Solver
from services.enexa.simulation.compiled import fast_run_steps
from services.enexa.simulation.evaluation import wanted_kw
from services.enexa.simulation.plant import CHARGE_BELOW, DISCHARGE_ABOVE, GATE, IMPORT, LEVEL_ROWS, LEVELS
from services.enexa.simulation.site import STEPS_PER_SLOT, Run, Stretch
from shared.clock import real_now_s
from tests.bench.planning.measure import median_ms, say, year_with_cars
from tests.unit.enexa.planning.problems import PLAIN_STRING, random_problem, unsplit

PLAIN = Plant(strings=(PLAIN_STRING, PLAIN_STRING))
SITES = 10_000
SLOTS = 96
YEAR_SLOTS = 35_040
PEAK_EUR_PER_KW = 2.5


def one_problem(limit_ms: float) -> None:
    """One scenario, without and with a demand charge, at HiGHS's objective."""
    plain = random_problem(1, slots=SLOTS, plant=PLAIN)
    charged = unsplit(random_problem(1, slots=SLOTS, plant=PLAIN, peak_eur_per_kw=PEAK_EUR_PER_KW))
    for name, problem in (("no demand charge", plain), ("demand charge", charged)):
        given = exact_input(problem)
        found = relaxation(problem, given, fast_exactly())
        highs_eur = Solver().solve(build(problem)).objective_eur
        spent_ms = median_ms(partial(relaxation, problem, given, fast_exactly()), repeats=51)
        say(f"{'exact, 96 slots, all flows, ' + name:46} {spent_ms:9.3f} ms ({spent_ms / limit_ms:.4f}x HiGHS cold)   "
            f"difference {abs(found.cost_eur - highs_eur):.1e} EUR")  # fmt: skip


def scenarios() -> None:
    """Fifty scenarios over a shared first slot."""
    spent, gaps = [], []
    for seed in range(9):
        problem = random_problem(seed, slots=SLOTS, plant=PLAIN, scenarios=50, unsure=True)
        given = exact_input(problem)
        relaxation(problem, given, fast_exactly())
        spent.append(median_ms(partial(decide, problem, given), repeats=5))
        if seed == 0:
            highs_eur = Solver(time_limit_s=120.0).solve(build(problem)).objective_eur
            gaps.append(abs(decide(problem, given) - highs_eur))
    say(f"{'exact, 50 scenarios two-stage, goal < 5 ms':46} {np.median(spent):9.3f} ms (worst {max(spent):.3f})   "
        f"difference {max(gaps):.1e} EUR")  # fmt: skip


def decide(problem: PlanProblem, given: ExactInput) -> float:
    """The optimal cost and what to do now."""
    flows = np.zeros((len(given.weights), FLOW_ROWS, SLOTS))
    cost = fast_exactly().two_stage(
        flows, given.battery, given.site, given.series, given.weights, given.width_kwh, problem.end_value_eur_per_kwh,
        given.energy_kwh, False,
    )  # fmt: skip
    return cost - problem.end_value_eur_per_kwh * given.floor_kwh


def fleet() -> None:
    """Ten thousand sites, each with its own demand, prices and month's peak, planned once and planned anew."""
    givens = [exact_input(unsplit(random_problem(seed, slots=SLOTS, plant=PLAIN))) for seed in range(200)]
    which = np.arange(SITES) % len(givens)
    battery = np.array([given.battery for given in givens])[which]
    site = np.array([given.site for given in givens])[which]
    series = np.array([given.series[0] for given in givens])[which]
    width = np.array([given.width_kwh for given in givens])[which]
    rng = np.random.default_rng(1)
    energy = rng.uniform(0.1, 0.9, SITES) * width
    paid, price = rng.uniform(0.0, 60.0, SITES), np.full(SITES, PEAK_EUR_PER_KW)
    answers = np.zeros((SITES, 3))
    many = fast_many_sites()
    end_value = np.full(SITES, 0.13)
    many(answers[:1], battery, site, series, width, end_value, energy[:1], paid, price, paid)
    for name, moved in (("planned", 0.0), ("re-planned, goal < 2 s", 2.0)):
        began = real_now_s()
        many(answers, battery, site, series, width, end_value, np.clip(energy + moved, 0, width), paid, price,
             np.maximum(answers[:, 1], paid))  # fmt: skip
        say(f"{'exact, 10,000 sites with demand charge ' + name:46} {real_now_s() - began:9.3f} s on one core")


def year() -> None:
    """A year of re-plans, one per quarter hour, each followed by fifteen minutes of the plant."""
    given = year_with_cars(PLAIN)
    site, series = year_series(given)
    like = exact_input(random_problem(1, slots=SLOTS, plant=PLAIN))
    spent_s = 0.0
    for slots in (2, YEAR_SLOTS):  # the first two compile
        run, peak_kw, began = Run(given, fast_run_steps()), 0.0, real_now_s()
        levels, flows = np.zeros((LEVEL_ROWS, YEAR_SLOTS)), np.zeros((FLOW_ROWS, SLOTS))
        levels[GATE] = given.plant.import_limit_kw
        for slot in range(slots):
            if slot % (YEAR_SLOTS // 12) == 0:
                peak_kw = 0.0
            energy_kwh = min(max(run.energy_kwh - like.floor_kwh, 0.0), like.width_kwh)
            fast_exactly().one_stage(
                flows, like.battery, site[:, slot : slot + SLOTS].copy(), series[:, slot : slot + SLOTS].copy(),
                like.width_kwh, 0.13, energy_kwh, peak_kw, PEAK_EUR_PER_KW, peak_kw, False,
            )  # fmt: skip
            levels[CHARGE_BELOW, slot] = levels[DISCHARGE_ABOVE, slot] = like.floor_kwh + flows[ENERGY, 0]
            first = slot * STEPS_PER_SLOT
            run.go(first, first + STEPS_PER_SLOT, LEVELS, levels)
            peak_kw = max(peak_kw, float(run.record[IMPORT, first : first + STEPS_PER_SLOT].mean()))
        spent_s = real_now_s() - began
    say(f"{'exact, a year of 35,040 re-plans, goal < 5 s':46} {spent_s:9.3f} s with the plant in minutes")


def year_series(given: Stretch) -> tuple[Floats, Floats]:
    """The year's slots and one day more, as the recursion reads them; cars as the mean of each slot."""
    slots = YEAR_SLOTS + SLOTS
    demand_kw = np.resize(wanted_kw(given).reshape(-1, STEPS_PER_SLOT).mean(axis=1), slots)
    site, series = np.zeros((3, slots)), np.zeros((6, slots))
    site[HOURS], site[OWN], site[CAP] = 0.25, given.own_kw[0], given.plant.import_limit_kw
    series[BUY] = np.resize(given.buy_eur_per_kwh[::STEPS_PER_SLOT], slots)
    series[SELL], series[LOW] = np.nan, demand_kw
    return site, series


def all_of_them(limit_ms: float) -> None:
    """Print one line per measurement."""
    one_problem(limit_ms)
    scenarios()
    fleet()
    year()
