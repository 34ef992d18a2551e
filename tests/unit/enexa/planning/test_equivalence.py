"""Three ways to the same optimum: the readable model, HiGHS on arrays in place, and the exact recursion."""

import pytest

from services.enexa.planning.exact import exact_cost_eur, fits
from services.enexa.planning.exclusivity import exclusive_pairs
from services.enexa.planning.problem import BatteryString, Plant
from services.enexa.planning.program import build
from services.enexa.planning.solver import Solver
from tests.unit.enexa.planning.problems import PLAIN_STRING, random_problem

UNLIKE = Plant(strings=(BatteryString(), BatteryString(capacity_kwh=60.0, max_charge_kw=40.0, soc_max_pct=80.0)))
EXPORTING = Plant(export_limit_kw=60.0, battery_offsets_load=True)
EMPTY = Plant(strings=())
PLAIN = Plant(strings=(PLAIN_STRING, PLAIN_STRING))


@pytest.mark.timeout(120)  # the first import of cvxpy on a busy machine
@pytest.mark.parametrize(
    ("seed", "plant", "scenarios", "peak_eur_per_kw", "pv_kw"),
    [
        (1, Plant(), 1, 0.0, 0.0),
        (2, Plant(), 1, 2.5, 0.0),
        (3, Plant(), 4, 1.0, 0.0),
        (4, UNLIKE, 3, 0.5, 0.0),
        (5, EXPORTING, 2, 0.1, 80.0),
        (6, EXPORTING, 1, 0.0, 120.0),
        (7, EMPTY, 2, 1.0, 30.0),
        (8, PLAIN, 3, 0.0, 0.0),
    ],
)
def test_the_arrays_mean_what_the_readable_model_says(
    seed: int, plant: Plant, scenarios: int, peak_eur_per_kw: float, pv_kw: float
) -> None:
    from services.enexa.planning.model import solve  # noqa: PLC0415  cvxpy takes seconds: only this test pays

    problem = random_problem(
        seed, slots=16, plant=plant, scenarios=scenarios, peak_eur_per_kw=peak_eur_per_kw, pv_kw=pv_kw
    )

    answer = solve(problem)
    solution = Solver().solve(build(problem))

    assert answer.status == "optimal"
    assert solution.objective_eur == pytest.approx(answer.objective_eur, abs=1e-5)


def test_a_model_changed_in_place_answers_like_a_new_one() -> None:
    kept = Solver()
    for seed in range(12):
        problem = random_problem(seed, scenarios=3, peak_eur_per_kw=0.3)

        warm = kept.solve(build(problem))

        assert warm.objective_eur == pytest.approx(Solver().solve(build(problem)).objective_eur, abs=1e-6)


@pytest.mark.parametrize("scenarios", [1, 5])
@pytest.mark.parametrize(
    "plant", [PLAIN, Plant(strings=(PLAIN_STRING,), export_limit_kw=60.0, battery_offsets_load=True)]
)
def test_the_exact_recursion_and_highs_agree_to_a_millionth(plant: Plant, scenarios: int) -> None:
    for seed in range(25):
        problem = random_problem(seed, slots=40, plant=plant, scenarios=scenarios, pv_kw=40.0)
        assert fits(problem)

        solution = Solver().solve(build(problem))

        assert exact_cost_eur(problem) == pytest.approx(solution.objective_eur, abs=1e-6)


def test_the_recursion_refuses_what_is_not_of_its_shape() -> None:
    assert fits(random_problem(1, plant=PLAIN))
    assert not fits(random_problem(1, plant=Plant()))
    assert not fits(random_problem(1, plant=UNLIKE))
    assert not fits(random_problem(1, plant=PLAIN, peak_eur_per_kw=1.0))
    assert not fits(random_problem(1, plant=PLAIN, prices=(-2000.0,) * 24))


def test_binaries_appear_only_where_burning_energy_would_pay() -> None:
    calm = random_problem(1, plant=PLAIN)
    wild = random_problem(1, plant=PLAIN, prices=(-2000.0,) * 12 + (100.0,) * 12)

    assert exclusive_pairs(calm, build(calm).layout) == ()
    assert len(exclusive_pairs(wild, build(wild).layout)) == 24


def test_with_binaries_no_slot_charges_and_discharges_at_once() -> None:
    problem = random_problem(2, slots=12, plant=PLAIN, prices=(-2500.0, -2400.0) * 6)
    program = build(problem)
    pairs = exclusive_pairs(problem, program.layout)

    free = Solver().solve(program)
    exclusive = Solver(gap_eur=1e-6).solve(program, pairs)

    assert max(min(free.x[pair.one].sum(), free.x[pair.other].sum()) for pair in pairs) > 1.0
    assert max(min(exclusive.x[pair.one].sum(), exclusive.x[pair.other].sum()) for pair in pairs) < 1e-6
    assert exclusive.objective_eur > free.objective_eur
