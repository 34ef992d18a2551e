"""Plans that need no solver: where the exact recursion answers, and the proof that its answer is the program's optimum.

One storage stands for all strings, and limits that move with the state of charge are left out. So the recursion solves
a relaxation: its cost is a lower bound of the linear program's. Its flows are then shared out to the strings and put
into the program: where they keep every row and every bound, and cost what the recursion said, they are the optimum.
Where they do not, or where the problem is not of the shape, there is no answer, and the caller asks HiGHS.

Of the shape: strings of one kind; no curve, no wear by depth, no budget, no section 14a, no fixed end, no prices that
ask for exclusivity. With a demand charge: one scenario whose slots are not split, or a peak that is paid already.
"""

from collections.abc import Callable

import numpy as np
from msgspec import Struct

from services.enexa.planning.exact import (
    BUY,
    CAP,
    FLOW_CHARGE,
    FLOW_DISCHARGE,
    FLOW_EXPORT,
    FLOW_IMPORT,
    FLOW_ROWS,
    FLOW_SUN,
    FLOW_UNSERVED,
    FLOWS,
    HIGH,
    HOURS,
    LOW,
    OWN,
    SELL,
    SHARE,
    SUN,
    WORTH,
    one_stage,
    two_stage,
)
from services.enexa.planning.layout import EXPORT, IMPORT, PV, SUBSTEPS, UNSERVED, Layout
from services.enexa.planning.policy import battery_parameters
from services.enexa.planning.problem import PlanProblem, Scenario
from services.enexa.planning.program import Floats, Program
from services.enexa.planning.recursion import CHARGE_EFFICIENCY, DISCHARGE_EFFICIENCY, WEAR
from services.enexa.planning.solver import Solution

TOLERANCE_KWH = 1e-6
TOLERANCE_RATIO = 1e-7


class Exactly(Struct, frozen=True):
    """The two recursions: as plain Python, or the same source compiled (`compiled.py`)."""

    two_stage: Callable[..., float] = two_stage
    one_stage: Callable[..., tuple[float, float]] = one_stage


EXACTLY = Exactly()


class ExactInput(Struct, frozen=True):
    """A problem as the arrays of `exact.py`; energies above the floor."""

    battery: Floats
    site: Floats
    series: Floats
    weights: Floats
    width_kwh: float
    floor_kwh: float
    energy_kwh: float


class ExactAnswer(Struct, frozen=True):
    """The relaxation's optimum: cost, peak, and flows [scenario, row, slot]."""

    cost_eur: float
    peak_kw: float
    flows: Floats


def fits(problem: PlanProblem, pairs_count: int = 0) -> bool:
    """Whether the problem has the shape; `pairs_count` is how many exclusive pairs its prices ask for."""
    strings, plant = problem.plant.strings, problem.plant
    if pairs_count or len(set(strings)) != 1 or plant.daily_discharge_budget_kwh is not None:
        return False
    string = strings[0]
    if string.knees or string.deep_wear_eur_per_kwh > 0:
        return False
    if problem.battery_import_cap_kw is not None or problem.end_energy_kwh is not None:
        return False
    floor_kwh = string.capacity_kwh * string.soc_min_pct / 100
    inside = all(floor_kwh <= kwh <= string.capacity_kwh * string.soc_max_pct / 100 for kwh in problem.energy_kwh)
    cap_kw = min(*problem.import_cap_kw, plant.import_limit_kw)
    return inside and cap_kw >= max(problem.own_kw) and (_peak_is_paid(problem) or _unsplit(problem))


def _peak_is_paid(problem: PlanProblem) -> bool:
    highest_kw = min(max(problem.import_cap_kw), problem.plant.import_limit_kw)
    return problem.peak_eur_per_kw == 0 or problem.peak_so_far_kw >= highest_kw


def _unsplit(problem: PlanProblem) -> bool:
    return len(problem.scenarios) == 1 and set(problem.scenarios[0].high_share) <= {0.0, 1.0}


def solve_exactly(problem: PlanProblem, program: Program, pairs_count: int, exactly: Exactly) -> Solution | None:
    """The optimum, proven against the program; None where the recursion cannot give it."""
    if not fits(problem, pairs_count):
        return None
    given = exact_input(problem)
    answer = relaxation(problem, given, exactly)
    x = _columns(problem, program.layout, given, answer)
    objective_eur = float(program.cost @ x)
    if abs(objective_eur - answer.cost_eur) > TOLERANCE_RATIO * max(abs(objective_eur), 10.0):
        return None
    if not _feasible(program, x):
        return None
    row_dual, column_dual = _duals(problem, program, given, answer)
    return Solution(x, row_dual, column_dual, objective_eur, 0.0, 0.0)


def exact_input(problem: PlanProblem) -> ExactInput:
    """The arrays of a problem whose strings are of one kind."""
    strings, plant = problem.plant.strings, problem.plant
    floor_kwh = sum(s.capacity_kwh * s.soc_min_pct / 100 for s in strings)
    ceiling_kwh = sum(s.capacity_kwh * s.soc_max_pct / 100 for s in strings)
    cap_kw = np.minimum(np.array(problem.import_cap_kw), plant.import_limit_kw)
    site = np.zeros((3, len(problem.starts)))
    site[HOURS], site[OWN], site[CAP] = problem.hours(), problem.own_kw, cap_kw
    return ExactInput(
        battery=battery_parameters(problem),
        site=site,
        series=np.array([_series(problem, scenario) for scenario in problem.scenarios]),
        weights=np.array([scenario.weight for scenario in problem.scenarios]),
        width_kwh=ceiling_kwh - floor_kwh,
        floor_kwh=floor_kwh,
        energy_kwh=sum(problem.energy_kwh) - floor_kwh,
    )


def _series(problem: PlanProblem, scenario: Scenario) -> Floats:
    tariff = problem.tariff
    price = np.array(scenario.price_eur_per_mwh or problem.price_eur_per_mwh)
    series = np.zeros((6, len(price)))
    series[BUY] = (price + tariff.fees_eur_per_mwh) / 1000
    paid = (price - tariff.export_discount_eur_per_mwh) / 1000
    series[SELL] = np.where(price < tariff.export_floor_eur_per_mwh, np.nan, paid)
    series[SUN] = problem.pv_kw if scenario.pv_kw is None else scenario.pv_kw
    series[SHARE], series[HIGH], series[LOW] = scenario.high_share, scenario.high_kw, scenario.low_kw
    return series


def relaxation(problem: PlanProblem, given: ExactInput, exactly: Exactly) -> ExactAnswer:
    """The optimum of one storage without limits that move with its charge."""
    flows = np.zeros((len(given.weights), FLOW_ROWS, len(problem.starts)))
    end_value = problem.end_value_eur_per_kwh
    if _peak_is_paid(problem):
        cost = exactly.two_stage(
            flows, given.battery, given.site, given.series, given.weights, given.width_kwh, end_value,
            given.energy_kwh, True,
        )  # fmt: skip
        peak_kw = problem.peak_so_far_kw
        cost += problem.peak_eur_per_kw * peak_kw
    else:
        cost, peak_kw = exactly.one_stage(
            flows[0], given.battery, given.site, given.series[0], given.width_kwh, end_value, given.energy_kwh,
            problem.peak_so_far_kw, problem.peak_eur_per_kw, problem.peak_so_far_kw, True,
        )  # fmt: skip
    return ExactAnswer(cost - end_value * given.floor_kwh, peak_kw, flows)


def _columns(problem: PlanProblem, layout: Layout, given: ExactInput, answer: ExactAnswer) -> Floats:
    """The answer as the program's columns, shared out to the strings."""
    x = np.zeros(layout.columns)
    paths = np.array([layout.path(scenario) for scenario in range(layout.scenarios)])
    kinds = ((IMPORT, FLOW_IMPORT), (EXPORT, FLOW_EXPORT), (PV, FLOW_SUN), (UNSERVED, FLOW_UNSERVED))
    for step in range(SUBSTEPS):
        for kind, row in kinds:
            x[layout.flow(step, kind)[paths]] = answer.flows[:, step * FLOWS + row]
    for string, (charge, discharge, energy) in enumerate(_shared_out(problem, given, answer.flows)):
        for step in range(SUBSTEPS):
            x[layout.charge(step, string)[paths]] = charge[step]
            x[layout.discharge(step, string)[paths]] = discharge[step]
        x[layout.energy(string)[paths]] = energy
    imported = sum((answer.flows[:, step * FLOWS + FLOW_IMPORT] for step in range(SUBSTEPS)), np.zeros(paths.shape))
    x[layout.peak()] = np.maximum((imported / given.site[HOURS]).max(axis=1), problem.peak_so_far_kw)
    return x


def _shared_out(problem: PlanProblem, given: ExactInput, flows: Floats) -> list[tuple[Floats, Floats, Floats]]:
    """For each string [sub-step, scenario, slot] charge and discharge, and energies [scenario, slot], all in kWh.

    All strings come to the same energy as fast as their powers allow.
    """
    count, scenarios, slots = len(problem.energy_kwh), len(flows), flows.shape[2]
    string = problem.plant.strings[0]
    ratios = np.stack([given.series[:, SHARE], 1 - given.series[:, SHARE]])
    part_h = ratios * given.site[HOURS]
    into, out = given.battery[CHARGE_EFFICIENCY], 1.0 / given.battery[DISCHARGE_EFFICIENCY]
    charge, discharge = np.zeros((2, count, SUBSTEPS, scenarios, slots))
    energy = np.zeros((count, scenarios, slots))
    now = np.repeat(np.array(problem.energy_kwh)[:, None], scenarios, axis=1)
    for slot in range(slots):
        for all_kwh, into_cells, limit_kw, row in (
            (charge, into, string.max_charge_kw, FLOW_CHARGE),
            (discharge, -out, string.max_discharge_kw, FLOW_DISCHARGE),
        ):
            total = np.stack([flows[:, step * FLOWS + row, slot] for step in range(SUBSTEPS)])
            parts = _level(now, total.sum(axis=0) * into_cells)
            for step in range(SUBSTEPS):
                kwh = total[step] * parts
                most = limit_kw * part_h[step, :, slot]
                kept = np.minimum(kwh, most)
                room = most - kept
                over = (kwh - kept).sum(axis=0)
                kept += room * np.divide(over, room.sum(axis=0), out=np.zeros(scenarios), where=room.sum(axis=0) > 0)
                all_kwh[:, step, :, slot] = kept
            now = now + into_cells * all_kwh[:, :, :, slot].sum(axis=1)
        energy[:, :, slot] = now
    return [(charge[which], discharge[which], energy[which]) for which in range(count)]


def _level(now: Floats, change_kwh: Floats) -> Floats:
    """[string, scenario] which part of a change each string takes, so that they end as equal as they can."""
    wanted = (now.sum(axis=0) + change_kwh) / len(now) - now
    wanted = np.maximum(np.where(change_kwh < 0, -wanted, wanted), 0.0)
    total = wanted.sum(axis=0)
    return np.asarray(np.divide(wanted, total, out=np.full(now.shape, 1 / len(now)), where=total > 1e-9))


def _feasible(program: Program, x: Floats) -> bool:
    values = np.bincount(program.rows, program.values * x[program.columns], len(program.row_low))
    columns_hold = (x >= program.low - TOLERANCE_KWH).all() and (x <= program.high + TOLERANCE_KWH).all()
    rows_hold = (values >= program.row_low - TOLERANCE_KWH).all() and (values <= program.row_high + TOLERANCE_KWH).all()
    return bool(columns_hold and rows_hold)


def _duals(problem: PlanProblem, program: Program, given: ExactInput, answer: ExactAnswer) -> tuple[Floats, Floats]:
    """What a kWh in the cells and a kWh more of import are worth, where the program has them as duals."""
    layout = program.layout
    row_dual, column_dual = np.zeros(layout.rows), np.zeros(layout.columns)
    paths = np.array([layout.path(scenario) for scenario in range(layout.scenarios)])
    weights = np.where(np.arange(len(problem.starts)) == 0, 1.0, given.weights[:, None])
    worth = answer.flows[:, WORTH]
    for string in range(layout.strings):
        row_dual[layout.state(string)[paths]] = -weights * worth
    wear, loss = given.battery[WEAR], 1 + problem.ev_loss_ratio
    for step in range(SUBSTEPS):
        kwh = {row: answer.flows[:, step * FLOWS + row] for row in (FLOW_UNSERVED, FLOW_DISCHARGE, FLOW_IMPORT)}
        at_bus = np.where(
            kwh[FLOW_DISCHARGE] > TOLERANCE_KWH,
            wear + worth / given.battery[DISCHARGE_EFFICIENCY],
            worth * given.battery[CHARGE_EFFICIENCY] - wear,
        )
        at_bus = np.where(kwh[FLOW_UNSERVED] > TOLERANCE_KWH, problem.tariff.unserved_eur_per_kwh / loss, at_bus)
        columns = layout.flow(step, IMPORT)[paths]
        binds = (kwh[FLOW_IMPORT] >= program.high[columns] - TOLERANCE_KWH) & (program.high[columns] > 0)
        column_dual[columns] = np.where(binds, -weights * np.maximum(at_bus - given.series[:, BUY], 0.0), 0.0)
    return row_dual, column_dual
