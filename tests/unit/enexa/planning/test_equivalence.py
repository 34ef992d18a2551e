"""Three ways to the same optimum: the readable model, HiGHS on arrays in place, and the exact recursion."""

import numpy as np
import pytest
from msgspec.structs import replace

from services.enexa.planning.compiled import fast_exactly
from services.enexa.planning.exclusivity import exclusive_pairs
from services.enexa.planning.layout import IMPORT
from services.enexa.planning.planner import plan
from services.enexa.planning.problem import BatteryString, Plant
from services.enexa.planning.program import build
from services.enexa.planning.shortcut import Exactly, fits, solve_exactly
from services.enexa.planning.solver import Solver
from shared.energy.slots import local_day
from tests.unit.enexa.planning.problems import BENT, FULL_PLANT, PLAIN_STRING, random_problem, rolled, unsplit

UNLIKE = Plant(strings=(BatteryString(), BatteryString(capacity_kwh=60.0, max_charge_kw=40.0, soc_max_pct=80.0)))
EXPORTING = Plant(export_limit_kw=60.0, battery_offsets_load=True)
BUDGET_KWH = 60.0
BUDGETED = Plant(daily_discharge_budget_kwh=BUDGET_KWH)
BY_DEPTH = Plant(strings=(BatteryString(shallow_depth_pct=30.0, deep_wear_eur_per_kwh=0.06),) * 2)
CURVED = Plant(strings=(BatteryString(knees=BENT),) * 2)
EMPTY = Plant(strings=())
SELLING = Plant(strings=(PLAIN_STRING,), export_limit_kw=60.0, battery_offsets_load=True)
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


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("seed", "plant", "scenarios", "dimmed"),
    [(21, FULL_PLANT, 1, False), (22, FULL_PLANT, 3, True), (23, BY_DEPTH, 2, False), (24, BUDGETED, 2, True),
     (25, CURVED, 2, False)],
)  # fmt: skip
def test_the_full_plant_means_the_same_in_both(seed: int, plant: Plant, scenarios: int, dimmed: bool) -> None:
    from services.enexa.planning.model import solve  # noqa: PLC0415  as above

    problem = random_problem(
        seed, slots=20, plant=plant, scenarios=scenarios, peak_eur_per_kw=0.3, pv_kw=60.0, unsure=True, dimmed=dimmed
    )

    answer, solution = solve(problem), Solver().solve(build(problem))

    assert solution.objective_eur == pytest.approx(answer.objective_eur, abs=1e-5)


@pytest.mark.parametrize("plant", [BY_DEPTH, BUDGETED, CURVED])
def test_what_a_plant_must_respect_costs_money(plant: Plant) -> None:
    dearer = 0
    for seed in range(6):
        free = Solver().solve(build(random_problem(seed, plant=Plant()))).objective_eur
        bound = Solver().solve(build(random_problem(seed, plant=plant))).objective_eur
        assert bound >= free - 1e-6
        dearer += bound > free + 0.01

    assert dearer >= 3


def test_a_day_gives_no_more_than_its_budget_and_the_next_day_begins_anew() -> None:
    problem = random_problem(3, slots=96, plant=BUDGETED, prices=(20.0, 20.0, 20.0, 300.0) * 24)
    program = build(problem)
    x, layout = Solver().solve(program).x, program.layout
    given_kwh = np.sum([x[layout.discharge(step, string)] for step in (0, 1) for string in (0, 1)], axis=0)
    today = [local_day(start) == local_day(problem.starts[0]) for start in problem.starts]

    assert problem.discharged_today_kwh + given_kwh[today].sum() == pytest.approx(BUDGET_KWH, abs=1e-6)
    assert 0 < given_kwh[~np.array(today)].sum() <= BUDGET_KWH + 1e-6


def test_section_14a_holds_the_battery_and_leaves_the_cars_alone() -> None:
    problem = random_problem(4, slots=24, dimmed=True)
    program = build(problem)
    x, layout = Solver().solve(program).x, program.layout
    hours, held_kw = np.array(problem.hours()), np.array(problem.battery_import_cap_kw)
    charged_kwh = np.sum([x[layout.charge(step, string)] for step in (0, 1) for string in (0, 1)], axis=0)

    held = held_kw < 5.0
    assert (charged_kwh[held] <= held_kw[held] * hours[held] + 1e-6).all()
    assert charged_kwh[~held].max() > 5.0
    assert x[layout.flow(1, IMPORT)][held].max() > 4.2 * 0.25


def test_a_bent_curve_is_climbed_from_its_good_end_even_where_burning_pays() -> None:
    problem = random_problem(5, slots=8, plant=CURVED, prices=(-400.0,) * 8)
    program = build(problem)
    layout = program.layout

    x = Solver(gap_eur=1e-6).solve(program, exclusive_pairs(problem, layout)).x

    moved = False
    for step in (0, 1):
        for way in (layout.charge, layout.discharge):
            for string in (0, 1):
                for segment in range(layout.segments - 1):
                    before, after = way(step, string, segment), way(step, string, segment + 1)
                    in_use = x[after] > 1e-5
                    moved |= bool(in_use.any())
                    assert (x[before][in_use] >= program.high[before][in_use] - 1e-5).all()
    assert moved


def test_a_model_changed_in_place_answers_like_a_new_one() -> None:
    kept = Solver()
    for seed in range(12):
        plant = FULL_PLANT if seed % 2 else Plant()
        problem = random_problem(seed, scenarios=3, peak_eur_per_kw=0.3, plant=plant, pv_kw=30.0, unsure=True)

        warm = kept.solve(build(problem))

        assert warm.objective_eur == pytest.approx(Solver().solve(build(problem)).objective_eur, abs=1e-6)


def test_a_plan_that_rolls_on_answers_like_a_new_one() -> None:
    whole, kept = random_problem(9, slots=40, plant=FULL_PLANT, peak_eur_per_kw=0.3, pv_kw=40.0), Solver()
    energy_kwh, first = whole.energy_kwh, 0
    for later in (0, 1, 1, 1, 2, 5, 1, 1):
        first += later
        program = build(rolled(whole, first, 24, energy_kwh))

        warm = kept.solve(program)

        assert warm.objective_eur == pytest.approx(Solver().solve(program).objective_eur, abs=1e-6)
        energy_kwh = tuple(float(warm.x[program.layout.energy(string)[0]]) for string in (0, 1))


@pytest.mark.parametrize("plant", [PLAIN, SELLING], ids=["plain", "selling"])
@pytest.mark.parametrize(("scenarios", "unsure"), [(1, False), (5, True)])
def test_the_exact_recursion_and_highs_agree_to_a_millionth(plant: Plant, scenarios: int, unsure: bool) -> None:
    for seed in range(12):
        problem = random_problem(seed, slots=32, plant=plant, scenarios=scenarios, pv_kw=40.0, unsure=unsure)
        program = build(problem)

        exact, solution = solve_exactly(problem, program, 0, Exactly()), Solver().solve(program)

        assert exact is not None
        assert exact.objective_eur == pytest.approx(solution.objective_eur, abs=1e-6)


def test_the_demand_charge_is_a_search_outside_the_recursion() -> None:
    found = 0
    for seed in range(20):
        problem = unsplit(random_problem(seed, slots=24, plant=PLAIN, peak_eur_per_kw=0.05 * seed))
        problem = replace(problem, peak_so_far_kw=float(seed % 3) * 15)
        program = build(problem)

        exact, solution = solve_exactly(problem, program, 0, Exactly()), Solver().solve(program)

        if exact is not None:
            found += 1
            assert exact.objective_eur == pytest.approx(solution.objective_eur, rel=1e-6, abs=1e-6)

    assert found >= 15


def test_a_plan_says_who_made_it_and_both_make_the_same() -> None:
    made = {"exact": 0, "lp": 0}
    for seed in range(14):
        problem = random_problem(seed, slots=16, scenarios=3, plant=Plant() if seed % 2 else PLAIN, unsure=True)

        found, solution = plan(problem, Solver()), Solver().solve(build(problem))

        made[found.method] += 1
        assert found.costs.total_eur == pytest.approx(solution.objective_eur, abs=1e-6)

    assert made["exact"] >= 7
    assert made["lp"] >= 1


def test_where_the_battery_weakens_the_recursion_does_not_answer() -> None:
    problem = random_problem(1, slots=8, prices=(400.0,) * 8)
    busy = replace(problem.scenarios[0], high_share=(0.5,) * 8, high_kw=(280.0,) * 8, low_kw=(0.0,) * 8)
    low = replace(problem, energy_kwh=(22.0, 22.0), scenarios=(busy,))

    assert fits(low)
    assert solve_exactly(low, build(low), 0, Exactly()) is None
    assert plan(low, Solver()).method == "lp"


@pytest.mark.soak  # compiling takes longer than all the other tests here
@pytest.mark.timeout(300)
def test_compiled_and_plain_recursions_are_the_same() -> None:
    problem = random_problem(7, slots=20, plant=PLAIN, scenarios=3, pv_kw=30.0, unsure=True)
    program = build(problem)

    plain, fast = (solve_exactly(problem, program, 0, way) for way in (Exactly(), fast_exactly()))

    assert plain is not None
    assert fast is not None
    assert plain.x == pytest.approx(fast.x, abs=1e-9)


def test_the_recursion_refuses_what_is_not_of_its_shape() -> None:
    wild = random_problem(1, plant=PLAIN, prices=(-2000.0,) * 24)

    assert fits(random_problem(1, plant=PLAIN))
    assert fits(random_problem(1, plant=Plant()))
    assert not fits(random_problem(1, plant=UNLIKE))
    assert not fits(random_problem(1, plant=PLAIN, peak_eur_per_kw=1.0))
    assert fits(replace(random_problem(1, plant=PLAIN, peak_eur_per_kw=1.0), peak_so_far_kw=83.0))
    assert not fits(wild, len(exclusive_pairs(wild, build(wild).layout)))
    assert not fits(random_problem(1, plant=PLAIN, dimmed=True))
    assert not any(fits(random_problem(1, plant=plant)) for plant in (BUDGETED, BY_DEPTH, CURVED, FULL_PLANT, EMPTY))


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
