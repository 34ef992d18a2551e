"""What a plan promises: a schedule for every problem, within its limits, with reasons, or a refusal with the field."""

import pickle
import subprocess
import sys
from datetime import timedelta
from itertools import pairwise

import pytest

from services.enexa.planning.compiled import fast_backward
from services.enexa.planning.exclusivity import Pair
from services.enexa.planning.planner import plan
from services.enexa.planning.problem import BatteryString, Car, ImportCap, Plant
from services.enexa.planning.program import Program, build
from services.enexa.planning.recursion import backward
from services.enexa.planning.schedule import Reason
from services.enexa.planning.solver import Solution, Solver
from services.enexa.planning.tuning import Tuning
from services.enexa.planning.worker import COMPILE_AFTER_PLANS, Recursions, make_plan
from shared.contract.schedule import Zone
from shared.errors import InputsStale, OutOfBounds, SolverFailed
from tests.unit.enexa.planning.problems import random_problem
from tests.unit.enexa.planning.requests import NOW, reference_request


def test_a_plan_covers_its_horizon_in_contiguous_quarter_hours() -> None:
    made = make_plan(reference_request())
    starts = [slot.start for slot in made.schedule.slots]

    assert starts[0] <= NOW < starts[1]
    assert {after - start for start, after in pairwise(starts)} == {timedelta(minutes=15)}
    assert made.schedule.valid_until >= NOW + timedelta(hours=24)
    assert made.schedule.version == 3
    assert made.schedule.slot_at(NOW) == made.schedule.slots[0]
    assert made.schedule.slot_at(made.schedule.valid_until) is None


def test_every_slot_stays_inside_the_plant() -> None:
    request = reference_request()
    made = make_plan(request)

    for slot in made.schedule.slots:
        assert -220.0 <= slot.setpoint_kw <= 220.0
        assert 10.0 - 1e-6 <= slot.soc_target_pct <= 90.0 + 1e-6
        assert 10.0 <= slot.reserve_pct <= 90.0
        assert 0.0 <= slot.import_gate_kw <= request.plant.import_limit_kw
        assert slot.import_kw <= request.plant.import_limit_kw + 1e-3


def test_the_costs_add_up_to_the_objective() -> None:
    costs = make_plan(reference_request(tariff=reference_request().tariff)).costs
    parts = costs.energy_eur + costs.fees_eur + costs.wear_eur + costs.demand_charge_eur + costs.unserved_eur

    assert parts - costs.export_eur - costs.end_value_eur == pytest.approx(costs.total_eur, abs=1e-6)


def test_the_battery_charges_where_power_is_cheap_and_serves_where_it_is_dear() -> None:
    # Twenty ways the day may go: with four, one early customer more turns the sums.
    slots = make_plan(reference_request(tuning=Tuning(scenario_count=20, horizon_h=24.0))).schedule.slots
    charged = {zone: sum(-s.setpoint_kw for s in slots if s.zone is zone and s.setpoint_kw < 0) for zone in Zone}
    served = {zone: sum(s.setpoint_kw for s in slots if s.zone is zone and s.setpoint_kw > 0) for zone in Zone}

    assert charged[Zone.CHEAP] > 4 * charged[Zone.EXPENSIVE]
    assert served[Zone.EXPENSIVE] > 2 * served[Zone.CHEAP]


def test_each_slot_explains_itself() -> None:
    made = make_plan(reference_request())

    assert len(made.explanations) == len(made.schedule.slots)
    assert all("ct/kWh" in sentence for sentence in made.explanations)
    assert any("(estimated)" in sentence for sentence in made.explanations)
    assert {slot.reason for slot in made.schedule.slots} >= {Reason.CHEAP_SLOT, Reason.EXPENSIVE_SLOT}


def test_equal_requests_give_equal_plans_in_whatever_process() -> None:
    request = reference_request()
    first, again = make_plan(request), make_plan(pickle.loads(pickle.dumps(request)))

    assert pickle.loads(pickle.dumps(again)).schedule == first.schedule


def test_a_server_that_names_the_worker_loads_no_solver() -> None:
    check = (
        "import sys, services.enexa.planning.worker, services.enexa.planning.plan;"
        "sys.exit(any(name in sys.modules for name in ('highspy', 'numpy', 'cvxpy', 'numba')))"
    )

    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_the_worker_loads_neither_cvxpy_nor_numba() -> None:
    check = (
        "import sys; from tests.unit.enexa.planning.requests import reference_request;"
        "from services.enexa.planning.worker import make_plan; make_plan(reference_request());"
        "sys.exit(any(name in sys.modules for name in ('cvxpy', 'numba', 'pandas', 'pvlib')))"
    )

    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


@pytest.mark.soak  # compiles
@pytest.mark.timeout(300)
def test_a_worker_that_lives_long_plans_with_machine_code() -> None:
    recursions = Recursions()
    first = [recursions.now() for _ in range(COMPILE_AFTER_PLANS)]
    assert {step_back for step_back, _ in first} == {backward}

    assert recursions.ready(within_s=240.0)
    step_back, exactly = recursions.now()
    assert step_back is fast_backward()
    assert plan(random_problem(1), Solver(), step_back, exactly).schedule == plan(random_problem(1), Solver()).schedule


def test_the_grid_operators_cap_holds_in_its_hours() -> None:
    cap = ImportCap(start=NOW + timedelta(hours=2), until=NOW + timedelta(hours=4), import_kw=4.2)
    made = make_plan(reference_request(caps=(cap,)))
    capped = [slot for slot in made.schedule.slots if cap.start <= slot.start < NOW + timedelta(hours=4)]

    assert capped
    assert all(slot.import_kw <= 4.2 + 1e-6 for slot in capped)
    assert all(slot.import_gate_kw <= 4.2 for slot in capped)


def test_a_cap_below_own_consumption_is_a_breach_and_not_a_failure() -> None:
    cap = ImportCap(start=NOW, until=None, import_kw=0.0)
    made = make_plan(reference_request(caps=(cap,)))

    assert "grid_limit" in {breach.limit for breach in made.breaches}


def test_a_battery_below_its_floor_is_a_breach_and_not_a_failure() -> None:
    made = make_plan(reference_request(soc_pct=(3.0, 4.0)))

    assert "soc_floor" in {breach.limit for breach in made.breaches}
    assert made.schedule.slots[0].setpoint_kw < 0


def test_a_site_without_battery_gets_a_plan_that_does_nothing() -> None:
    made = make_plan(reference_request(plant=Plant(strings=()), soc_pct=()))

    assert {slot.setpoint_kw for slot in made.schedule.slots} == {0.0}


def test_a_horizon_of_one_slot_is_a_plan_of_one_slot() -> None:
    made = make_plan(reference_request(tuning=Tuning(horizon_h=0.1, scenario_count=1)))

    assert len(made.schedule.slots) == 1


def test_prices_of_three_thousand_and_below_minus_five_hundred_are_planned() -> None:
    wild = tuple(3000.0 if slot % 2 else -1500.0 for slot in range(24))
    made = plan(random_problem(3, prices=wild), Solver())

    assert made.method == "milp"
    assert made.gap_eur <= 0.01
    assert len(made.schedule.slots) == 24


def test_a_car_that_is_plugged_counts_from_now() -> None:
    car = Car(power_kw=120.0, plugged_at=NOW - timedelta(minutes=5), energy_kwh=8.0)
    alone, busy = make_plan(reference_request()), make_plan(reference_request(cars=(car,)))

    assert alone.schedule.slots[0].ev_kw == 0.0
    assert busy.schedule.slots[0].ev_kw == pytest.approx(120.0)
    assert busy.schedule.slots[0].setpoint_kw > 30.0


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"soc_pct": (50.0,)}, OutOfBounds),
        ({"soc_pct": (50.0, 101.0)}, OutOfBounds),
        (
            {"plant": Plant(strings=(BatteryString(soc_min_pct=90.0, soc_max_pct=10.0),)), "soc_pct": (50.0,)},
            OutOfBounds,
        ),
        ({"now": NOW + timedelta(days=30)}, InputsStale),
        ({"tuning": Tuning(horizon_h=-1.0)}, OutOfBounds),
    ],
)
def test_facts_that_make_no_plan_are_refused_by_name(changes: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error):
        make_plan(reference_request(**changes))


def test_a_peak_already_paid_is_free_to_use() -> None:
    dear = reference_request().tariff
    from msgspec.structs import replace  # noqa: PLC0415  beside its only use

    tariff = replace(dear, demand_charge_eur_per_kw_year=120.0)
    fresh = make_plan(reference_request(tariff=tariff))
    paid = make_plan(reference_request(tariff=tariff, peak_so_far_kw=80.0))

    assert max(slot.import_gate_kw for slot in fresh.schedule.slots) < 80.0
    assert min(slot.import_gate_kw for slot in paid.schedule.slots) >= 80.0


def test_where_time_runs_out_a_few_scenarios_must_do() -> None:
    class Hurried(Solver):
        def solve(self, program: Program, pairs: tuple[Pair, ...] = ()) -> Solution:
            if program.layout.scenarios > 3:
                raise SolverFailed("HiGHS found no plan", status="Time limit reached")
            return super().solve(program, pairs)

    made = plan(random_problem(1, scenarios=8), Hurried())

    assert made.scenario_count == 3
    assert len(made.schedule.slots) == 24


def test_a_kept_model_has_its_whole_time_for_every_run() -> None:
    kept = Solver(time_limit_s=1.0)
    for seed in range(60):
        kept.solve(build(random_problem(seed, slots=60, scenarios=4)))
