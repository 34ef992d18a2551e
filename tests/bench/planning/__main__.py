"""`python -m tests.bench.planning`: plans, recursion and simulated plant, as ratios to HiGHS's own cold run.

Medians of repeated runs in this process on this machine; the ratios travel, the milliseconds do not.
"""

import statistics
import sys
from functools import partial

import numpy as np
from msgspec.structs import replace

from services.enexa.planning.problem import PlanProblem, Plant
from services.enexa.planning.program import build
from services.enexa.planning.solver import Solver
from services.enexa.simulation.compiled import fast_run_steps
from services.enexa.simulation.scenarios import CHARGEPOST
from services.enexa.simulation.site import run_reactive
from shared.clock import real_now_s
from tests.bench.planning import exactly, peers
from tests.bench.planning.measure import REPEATS, median_ms, say, year_with_cars
from tests.unit.enexa.planning.problems import FULL_PLANT, PLAIN_STRING, random_problem, rolled

PLAIN = Plant(strings=(PLAIN_STRING, PLAIN_STRING))
SLOTS = 96
ROLLED = 2000
YEAR_SLOTS = 35_040


def main() -> int:
    """Print one line per measurement; exit code 0."""
    limit_ms = plans()
    rolling_year()
    exactly.all_of_them(limit_ms)
    plant_year()
    peers.side_by_side()
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


def rolling_year() -> None:
    """The full plant, rolled on by a quarter hour at a time in one live model; a part of a year, and the year by it."""
    whole = random_problem(1, slots=SLOTS + ROLLED, plant=FULL_PLANT, peak_eur_per_kw=0.3, pv_kw=40.0)
    kept, energy_kwh, began = Solver(), whole.energy_kwh, real_now_s()
    for first in range(ROLLED):
        program = build(rolled(whole, first, SLOTS, energy_kwh))
        x = kept.solve(program).x
        energy_kwh = tuple(float(x[program.layout.energy(string)[0]]) for string in range(2))
    spent_s = real_now_s() - began
    say(f"{'full plant on HiGHS in place, a year, goal < 60 s':50} {spent_s * YEAR_SLOTS / ROLLED:8.1f} s "
        f"({ROLLED} re-plans measured, {spent_s / ROLLED * 1000:.2f} ms each, build included)")  # fmt: skip


def plant_year() -> None:
    """525,600 minutes of the plant, compiled, with ten cars a day."""
    given = year_with_cars(CHARGEPOST)
    fast = fast_run_steps()
    run_reactive(given, fast)
    spent_ms = median_ms(lambda: run_reactive(given, fast), repeats=3)
    say(f"{'plant, one year in minutes, compiled':40} {spent_ms:.0f} ms ({525_600 / spent_ms / 1000:.1f} M steps/s)")


if __name__ == "__main__":
    sys.exit(main())
