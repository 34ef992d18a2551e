"""The exact recursion: one storage with convex stage cost needs no solver, only sorted lists of slopes.

V_t is convex and piecewise linear in the stored energy. A backward step merges its pieces with those of the stage cost
(infimal convolution) and cuts the result to the window. Scenarios share only the first slot, so their value functions
after it are added, weighted, and the first slot is convolved last. Exact to rounding: a test holds it to HiGHS.

Of this shape: strings of one kind, no derating that binds, no discharge budget, no demand charge (or the peak already
paid), no prices that ask for exclusivity. `fits` says so; anything else goes to the linear program.

A function is four arrays in one: row 0 lengths (kWh), row 1 slopes (EUR/kWh), and `head` = [start, value there, count].
"""

import numpy as np

from services.enexa.planning.exclusivity import burning_pays
from services.enexa.planning.policy import RecursionInput, recursion_input
from services.enexa.planning.problem import PlanProblem
from services.enexa.planning.recursion import MAX_PIECES, Floats, substep_pieces

LENGTH, SLOPE = range(2)
START, VALUE, COUNT = range(3)


def merge_and_cut(
    pieces: Floats,
    head: Floats,
    lengths: Floats,
    slopes: Floats,
    count: int,
    cost: float,
    charged_kwh: float,
    width_kwh: float,
    scratch: Floats,
) -> None:
    """V := (C [] V) cut to [0, width]; `pieces` and `head` are changed in place, `scratch` is as large as `pieces`."""
    start = head[START] - charged_kwh
    value = head[VALUE] + cost
    total = int(head[COUNT])
    one, other, kept = 0, 0, 0
    at = start
    head[START], head[VALUE] = 0.0, value
    if start > 0.0:
        head[START] = start
    while one < total or other < count:
        if other >= count or (one < total and pieces[SLOPE, one] <= slopes[other]):
            length, slope = pieces[LENGTH, one], pieces[SLOPE, one]
            one += 1
        else:
            length, slope = lengths[other], slopes[other]
            other += 1
        end = at + length
        if end <= 0.0:
            head[VALUE] += slope * length
        elif at < width_kwh:
            if at < 0.0:
                head[VALUE] += slope * -at
                length = end
                at = 0.0
            length = min(length, width_kwh - at)
            if kept > 0 and scratch[SLOPE, kept - 1] == slope:
                scratch[LENGTH, kept - 1] += length
            else:
                scratch[LENGTH, kept] = length
                scratch[SLOPE, kept] = slope
                kept += 1
        at = end
    pieces[:, :kept] = scratch[:, :kept]
    head[COUNT] = kept


def value_after_first(
    weight_pieces: Floats,
    head: Floats,
    scratch: Floats,
    battery: Floats,
    hours: Floats,
    buy: Floats,
    sell: Floats,
    own_kw: Floats,
    pv_kw: Floats,
    cap_kw: Floats,
    high_share: Floats,
    high_kw: Floats,
    low_kw: Floats,
    width_kwh: float,
    first: int,
) -> None:
    """Run one scenario backwards from its last slot to slot `first`; `weight_pieces`, `head` hold V at the end."""
    lengths = np.zeros(MAX_PIECES)
    slopes = np.zeros(MAX_PIECES)
    for slot in range(len(hours) - 1, first - 1, -1):
        count, cost, charged_kwh = 0, 0.0, 0.0
        share = high_share[slot]
        for step in range(2):
            part_h = hours[slot] * (share if step == 0 else 1.0 - share)
            if part_h > 0.0:
                ev_kw = high_kw[slot] if step == 0 else low_kw[slot]
                count, step_cost, step_kwh = substep_pieces(
                    lengths, slopes, count, battery, part_h, ev_kw, own_kw[slot], pv_kw[slot], cap_kw[slot],
                    cap_kw[slot], buy[slot], sell[slot],
                )  # fmt: skip
                cost += step_cost
                charged_kwh += step_kwh
        merge_and_cut(weight_pieces, head, lengths, slopes, count, cost, charged_kwh, width_kwh, scratch)


def fits(problem: PlanProblem) -> bool:
    """Whether the exact recursion may answer for this problem."""
    plant, tariff = problem.plant, problem.tariff
    if len(set(plant.strings)) != 1 or plant.daily_discharge_budget_kwh is not None:
        return False
    if problem.peak_eur_per_kw > 0 or problem.end_energy_kwh is not None:
        return False
    string = plant.strings[0]
    round_trip = string.charge_efficiency_ratio * string.discharge_efficiency_ratio
    floor_kwh = string.capacity_kwh * string.soc_min_pct / 100
    inside = all(floor_kwh <= kwh <= string.capacity_kwh * string.soc_max_pct / 100 for kwh in problem.energy_kwh)
    derates = string.derating_below_pct > string.derating_floor_pct
    cheap = min(tariff.import_eur_per_kwh(price) for price in problem.price_eur_per_mwh)
    sells = [tariff.export_eur_per_kwh(price) for price in problem.price_eur_per_mwh]
    loops = plant.export_limit_kw > 0 and any(
        sell is not None and tariff.import_eur_per_kwh(price) < sell
        for price, sell in zip(problem.price_eur_per_mwh, sells, strict=True)
    )
    capped = min(problem.import_cap_kw) < max(problem.own_kw)
    burns = burning_pays(cheap, tariff.wear_eur_per_kwh, round_trip)
    return inside and not (derates or loops or capped or burns)


def exact_cost_eur(problem: PlanProblem) -> float:
    """The optimal expected cost of a problem that `fits`, EUR."""
    assert fits(problem)
    given = recursion_input(problem)
    width_kwh = given.ceiling_kwh - given.floor_kwh
    functions = [_after_first(problem, given, index, width_kwh) for index in range(len(problem.scenarios))]
    weights = [scenario.weight for scenario in problem.scenarios]
    pieces, head = _sum(functions, weights)
    first = problem.scenarios[0]
    _backwards(
        pieces, head, given, (first.high_share[:1], first.high_kw[:1], first.low_kw[:1]), width_kwh, slots=1, first=0
    )
    value = _evaluate(pieces, head, sum(problem.energy_kwh) - given.floor_kwh)
    return value - problem.end_value_eur_per_kwh * given.floor_kwh


def _after_first(problem: PlanProblem, given: RecursionInput, index: int, width_kwh: float) -> tuple[Floats, Floats]:
    scenario = problem.scenarios[index]
    slots = len(problem.starts)
    pieces = np.zeros((2, slots * MAX_PIECES + 2))
    pieces[:, 0] = width_kwh, -problem.end_value_eur_per_kwh
    head = np.array([0.0, 0.0, 1.0])
    demand = (scenario.high_share, scenario.high_kw, scenario.low_kw)
    _backwards(pieces, head, given, demand, width_kwh, slots=slots, first=1)
    return pieces, head


def _backwards(
    pieces: Floats,
    head: Floats,
    given: RecursionInput,
    demand: tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]],
    width_kwh: float,
    *,
    slots: int,
    first: int,
) -> None:
    share, high_kw, low_kw = (np.array(column) for column in demand)
    value_after_first(
        pieces, head, np.zeros((2, pieces.shape[1] + MAX_PIECES)), given.battery, given.hours[:slots],
        given.buy[:slots], given.sell[:slots], given.own_kw[:slots], given.pv_kw[:slots], given.cap_kw[:slots],
        share, high_kw, low_kw, width_kwh, first,
    )  # fmt: skip


def _sum(functions: list[tuple[Floats, Floats]], weights: list[float]) -> tuple[Floats, Floats]:
    """The weighted sum of convex functions on one window: its breakpoints are all of theirs."""
    edges: list[Floats] = []
    for pieces, head in functions:
        edges.append(head[START] + np.concatenate([[0.0], np.cumsum(pieces[LENGTH, : int(head[COUNT])])]))
    points = np.unique(np.concatenate(edges))
    values = sum(
        (
            weight * np.array([_evaluate(pieces, head, float(at)) for at in points])
            for (pieces, head), weight in zip(functions, weights, strict=True)
        ),
        np.zeros(len(points)),
    )
    lengths = np.diff(points)
    keep = lengths > 1e-12
    result = np.zeros((2, int(keep.sum()) + 2 * MAX_PIECES))
    result[LENGTH, : int(keep.sum())] = lengths[keep]
    result[SLOPE, : int(keep.sum())] = np.maximum.accumulate((np.diff(values) / np.where(keep, lengths, 1.0))[keep])
    return result, np.array([points[0], values[0], float(keep.sum())])


def _evaluate(pieces: Floats, head: Floats, energy_kwh: float) -> float:
    count = int(head[COUNT])
    edges = head[START] + np.concatenate([[0.0], np.cumsum(pieces[LENGTH, :count])])
    values = head[VALUE] + np.concatenate([[0.0], np.cumsum(pieces[LENGTH, :count] * pieces[SLOPE, :count])])
    return float(np.interp(energy_kwh, edges, values))
