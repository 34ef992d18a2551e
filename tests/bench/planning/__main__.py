"""`python -m tests.bench.planning`: plans, recursion and simulated plant, as ratios to HiGHS's own cold run.

Medians of repeated runs in this process on this machine; the ratios travel, the milliseconds do not.
"""

import importlib.util
import statistics
import sys
from collections.abc import Callable
from datetime import date, timedelta
from functools import partial

import numpy as np
from msgspec.structs import replace

from services.enexa.market.prices import daily_series
from services.enexa.market.tariffs import Tariff
from services.enexa.planning.exact import exact_cost_eur, value_after_first
from services.enexa.planning.policy import recursion_input
from services.enexa.planning.problem import PlanProblem, Plant
from services.enexa.planning.program import build
from services.enexa.planning.recursion import MAX_PIECES
from services.enexa.planning.solver import Solver
from services.enexa.simulation.compiled import fast_run_steps, fast_value_after_first
from services.enexa.simulation.scenarios import CHARGEPOST
from services.enexa.simulation.site import Visit, run_reactive, stretch
from shared.clock import real_now_s
from shared.energy.slots import day_start
from tests.unit.enexa.planning.problems import PLAIN_STRING, random_problem

PLAIN = Plant(strings=(PLAIN_STRING, PLAIN_STRING))
PEERS = ("flexmeasures", "emhass", "pypsa", "optimizer")
REPEATS = 9


def main() -> int:
    """Print one line per measurement; exit code 0."""
    limit_ms = plans()
    recursion(limit_ms)
    plant_year()
    for peer in PEERS:
        if importlib.util.find_spec(peer) is None:
            say(f"peer {peer:34} skipped: not installed here")
    return 0


def plans() -> float:
    """General model: HiGHS cold, in place and warm, with scenarios; the cold time of one scenario is the limit."""
    limit_ms = 0.0
    for strings, scenarios in ((PLAIN, 1), (CHARGEPOST, 1), (CHARGEPOST, 20), (CHARGEPOST, 50)):
        problems = [random_problem(seed, slots=96, plant=strings, scenarios=scenarios) for seed in range(3)]
        cold_ms = statistics.median(
            Solver(time_limit_s=120.0).solve(build(problem)).solve_s * 1000 for problem in problems
        )
        kept = Solver(time_limit_s=120.0)
        kept.solve(build(problems[0]))
        warm = [kept.solve(build(nudged(problems[0], index))).solve_s * 1000 for index in range(REPEATS)]
        whole_ms = median_ms(partial(replan, kept, problems[0]))
        name = f"{'chargepost' if strings is CHARGEPOST else 'one storage'}, 96 slots, {scenarios} scenarios"
        say(f"{name:40} cold run {cold_ms:8.2f} ms   warm run {statistics.median(warm):8.2f} ms "
            f"({statistics.median(warm) / cold_ms:.2f}x)   build + change + run {whole_ms:8.2f} ms")  # fmt: skip
        if strings is PLAIN:
            limit_ms = cold_ms
    return limit_ms


def replan(solver: Solver, problem: PlanProblem) -> None:
    """What a running planner does: build, change in place, run."""
    solver.solve(build(nudged(problem, 3)))


def nudged(problem: PlanProblem, index: int) -> PlanProblem:
    """A near re-plan: another charge, other prices by a few percent."""
    rng = np.random.default_rng(index)
    return replace(
        problem,
        energy_kwh=tuple(kwh + float(rng.uniform(-5, 5)) for kwh in problem.energy_kwh),
        price_eur_per_mwh=tuple((np.array(problem.price_eur_per_mwh) * rng.uniform(0.95, 1.05, 96)).tolist()),
    )


def recursion(limit_ms: float) -> None:
    """One storage exactly: plain Python and compiled, against HiGHS at equal cost."""
    problem = random_problem(1, slots=96, plant=PLAIN)
    exact_eur, highs_eur = exact_cost_eur(problem), Solver().solve(build(problem)).objective_eur
    say(f"{'exact recursion against HiGHS':40} difference {abs(exact_eur - highs_eur):.1e} EUR")
    given = recursion_input(problem)
    scenario = problem.scenarios[0]
    demand = tuple(np.array(column) for column in (scenario.high_share, scenario.high_kw, scenario.low_kw))
    pieces = np.zeros((2, 96 * MAX_PIECES + 2))
    scratch = np.zeros((2, 97 * MAX_PIECES + 2))
    width_kwh = given.ceiling_kwh - given.floor_kwh

    def run(function: Callable[..., None]) -> None:
        pieces[:, 0] = width_kwh, -problem.end_value_eur_per_kwh
        function(
            pieces, np.array([0.0, 0.0, 1.0]), scratch, given.battery, given.hours, given.buy, given.sell, given.own_kw,
            given.pv_kw, given.cap_kw, *demand, width_kwh, 0,
        )  # fmt: skip

    fast = fast_value_after_first()
    run(fast)
    for name, function in (("plain Python", value_after_first), ("compiled", fast)):
        spent_ms = median_ms(partial(run, function))
        say(f"{'exact recursion, 96 slots, ' + name:40} {spent_ms:.3f} ms ({spent_ms / limit_ms:.4f}x HiGHS cold)")


def plant_year() -> None:
    """525,600 minutes of the plant, compiled, with ten cars a day."""
    start = day_start(date(2023, 1, 1))
    rng = np.random.default_rng(1)
    visits = []
    for day in range(365):
        for begin in np.sort(rng.integers(0, 1300, 10)):
            at = start + timedelta(days=day, minutes=int(begin))
            visits.append(Visit(start=at, until=at + timedelta(minutes=40), energy_kwh=33.0, max_power_kw=110.0))
    given = stretch(
        start=start, minutes=525_600, plant=CHARGEPOST, tariff=Tariff(),
        prices=daily_series(tuple(float(q) for q in range(96)), date(2022, 12, 31), 368), visits=visits,
        start_soc_pct=50.0, ev_loss_ratio=0.05, own_kw=0.4,
    )  # fmt: skip
    fast = fast_run_steps()
    run_reactive(given, fast)
    spent_ms = median_ms(lambda: run_reactive(given, fast), repeats=3)
    say(f"{'plant, one year in minutes, compiled':40} {spent_ms:.0f} ms ({525_600 / spent_ms / 1000:.1f} M steps/s)")


def median_ms(action: Callable[[], object], repeats: int = REPEATS) -> float:
    """Median wall time of an action, ms."""
    spent = []
    for _ in range(repeats):
        began = real_now_s()
        action()
        spent.append((real_now_s() - began) * 1000)
    return statistics.median(spent)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
