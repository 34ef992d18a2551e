"""The value of stored energy: convex, and honest about a battery that gives less the emptier it is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from services.enexa.planning.compiled import fast_backward
from services.enexa.planning.policy import ValueTable, value_table
from services.enexa.planning.problem import PlanProblem
from services.enexa.planning.recursion import DERATING, DERATING_FLOOR, DISCHARGE_EFFICIENCY, MAX_DISCHARGE, Floats
from services.enexa.planning.recursion import removable_kwh as removable
from tests.unit.enexa.planning.problems import random_problem


def battery(derating_kwh: float) -> Floats:
    """220 kW at 0.94, derated below `derating_kwh` above the floor."""
    parameters = np.zeros(11)
    parameters[MAX_DISCHARGE], parameters[DISCHARGE_EFFICIENCY] = 220.0, 0.94
    parameters[DERATING], parameters[DERATING_FLOOR] = derating_kwh, 0.0
    return parameters


def table_of(problem: PlanProblem, derating_below_pct: float) -> ValueTable:
    strings = tuple(
        replace(string, derating_below_pct=derating_below_pct, derating_floor_pct=10.0, soc_min_pct=10.0)
        for string in problem.plant.strings
    )
    derated = replace(problem, plant=replace(problem.plant, strings=strings))
    return value_table(derated, np.array(derated.import_cap_kw), fast_backward())


@given(
    energy_kwh=st.floats(0, 152), more_kwh=st.floats(0, 50), rate_kw=st.floats(1, 220), hours=st.floats(0.01, 0.25)
)  # fmt: skip
def test_a_derated_battery_gives_what_minute_steps_give(
    energy_kwh: float, more_kwh: float, rate_kw: float, hours: float
) -> None:
    given_kwh = removable(battery(38.0), energy_kwh, rate_kw, hours)
    left_kwh, steps = energy_kwh, 2000
    for _ in range(steps):
        left_kwh -= min(rate_kw, 220.0 * left_kwh / 38.0) / 0.94 * hours / steps

    assert given_kwh == pytest.approx(energy_kwh - left_kwh, abs=0.02)
    assert given_kwh <= removable(battery(38.0), energy_kwh + more_kwh, rate_kw, hours) + 1e-9
    assert given_kwh <= removable(battery(0.0), energy_kwh, rate_kw, hours) + 1e-9


@pytest.mark.timeout(300)  # compiles on first use
@pytest.mark.parametrize("seed", range(8))
def test_derating_makes_low_charge_worth_more_to_leave_and_the_value_stays_convex(seed: int) -> None:
    problem = random_problem(seed, slots=24)
    plain, derated = table_of(problem, 10.0), table_of(problem, 30.0)

    assert (derated.values >= plain.values - 1e-6).all()
    assert (derated.values[0] > plain.values[0] + 1e-3).any()
    assert np.diff(derated.values, n=2, axis=1).min() > -0.05
