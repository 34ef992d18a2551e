"""The plan as a linear program in numbers: the same inequalities as `model.py`, written as arrays for HiGHS.

`model.py` is the readable statement and the oracle; a test holds both to the same optimum over real days.
"""

from itertools import pairwise

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from services.enexa.planning.layout import (
    EXPORT,
    IMPORT,
    OVER_IMPORT,
    PV,
    SUBSTEPS,
    UNSERVED,
    Integers,
    Layout,
    layout_of,
)
from services.enexa.planning.problem import BatteryString, PlanProblem
from shared.energy.slots import local_day
from shared.errors import BadInput

INFINITY = np.inf
Floats = NDArray[np.float64]


class Program(Struct, frozen=True):
    """min cost·x + offset subject to row_low <= A x <= row_high, low <= x <= high, with A as triplets."""

    layout: Layout
    cost: Floats
    low: Floats
    high: Floats
    row_low: Floats
    row_high: Floats
    rows: Integers
    columns: Integers
    values: Floats
    first_slot: int = 0
    """Which slot of all time the plan begins with, so that a later plan knows what it shares with an earlier one."""


class NodeData(Struct, frozen=True):
    """The problem's columns spread over nodes: arrays [node] or [node, sub-step]."""

    weight: Floats
    slot: Integers
    hours: Floats
    step_hours: Floats
    ev_kw: Floats
    pv_kw: Floats
    price_eur_per_mwh: Floats


def spread(problem: PlanProblem, layout: Layout) -> NodeData:
    """Slots and scenarios as nodes; slot 0 must be the same in every scenario."""
    share = np.array([s.high_share for s in problem.scenarios])
    high = np.array([s.high_kw for s in problem.scenarios])
    low = np.array([s.low_kw for s in problem.scenarios])
    pv = np.array([problem.pv_kw if s.pv_kw is None else s.pv_kw for s in problem.scenarios])
    price = np.array([s.price_eur_per_mwh or problem.price_eur_per_mwh for s in problem.scenarios])
    if any(np.ptp(column[:, 0]) > 0 for column in (share, high, low, pv, price)):
        raise BadInput("The first slot must be the same in every scenario: it is what is known now")
    hours = np.array(problem.hours())
    slot = np.concatenate([[0], np.tile(np.arange(1, layout.slots), layout.scenarios)]).astype(np.int64)
    scenario = np.concatenate([[0], np.repeat(np.arange(layout.scenarios), layout.slots - 1)]).astype(np.int64)
    weight = np.array([s.weight for s in problem.scenarios])[scenario]
    weight[0] = 1.0
    node_share = share[scenario, slot]
    step_hours = hours[slot][:, None] * np.stack([node_share, 1 - node_share], axis=1)
    return NodeData(
        weight=weight,
        slot=slot,
        hours=hours[slot],
        step_hours=step_hours,
        ev_kw=np.stack([high[scenario, slot], low[scenario, slot]], axis=1),
        pv_kw=pv[scenario, slot],
        price_eur_per_mwh=price[scenario, slot],
    )


def build(problem: PlanProblem) -> Program:
    """The program of a problem; equal layouts differ in numbers, never in the pattern of A."""
    layout = layout_of(problem)
    nodes = spread(problem, layout)
    low = np.zeros(layout.columns)
    high = np.full(layout.columns, INFINITY)
    _bound_columns(problem, layout, nodes, low, high)
    row_low, row_high = _bound_rows(problem, layout, nodes)
    rows, columns, values = _matrix(problem, layout, nodes)
    first_slot = int(problem.starts[0].timestamp()) // problem.slot_s
    cost = _costs(problem, layout, nodes)
    return Program(layout, cost, low, high, row_low, row_high, rows, columns, values, first_slot)


def _bound_columns(problem: PlanProblem, layout: Layout, nodes: NodeData, low: Floats, high: Floats) -> None:
    plant = problem.plant
    cap_kw = np.maximum(np.minimum(np.array(problem.import_cap_kw), plant.import_limit_kw), 0.0)[nodes.slot]
    own_kw = np.array(problem.own_kw)[nodes.slot]
    export_kw = np.where(worthless(problem, nodes), 0.0, plant.export_cap_kw)
    for step in range(SUBSTEPS):
        hours = nodes.step_hours[:, step]
        high[layout.flow(step, IMPORT)] = cap_kw * hours
        high[layout.flow(step, OVER_IMPORT)] = np.maximum(own_kw - cap_kw, 0.0) * hours
        high[layout.flow(step, EXPORT)] = export_kw * hours
        high[layout.flow(step, PV)] = nodes.pv_kw * hours
        high[layout.flow(step, UNSERVED)] = nodes.ev_kw[:, step] * hours
        for index, string in enumerate(plant.strings):
            for segment in range(layout.segments):
                ratio = (*string.segment_ratios(), *(0.0,) * layout.segments)[segment]
                high[layout.charge(step, index, segment)] = ratio * string.max_charge_kw * hours
                high[layout.discharge(step, index, segment)] = ratio * string.max_discharge_kw * hours
    for index, string in enumerate(plant.strings):
        ceiling = string.capacity_kwh * string.soc_max_pct / 100
        high[layout.energy(index)] = max(ceiling, problem.energy_kwh[index])
        if layout.by_depth:
            high[layout.deep(index)] = string.deep_kwh
    if plant.daily_discharge_budget_kwh is not None:
        today = np.cumsum(new_days(problem))[nodes.slot] == 0
        spent_kwh = np.where(today, problem.discharged_today_kwh, 0.0)
        high[layout.given_today()] = np.maximum(plant.daily_discharge_budget_kwh, spent_kwh)
    low[layout.peak()] = problem.peak_so_far_kw


def worthless(problem: PlanProblem, nodes: NodeData) -> NDArray[np.bool_]:
    """At which nodes nothing is exported, because nobody pays for it."""
    return nodes.price_eur_per_mwh < problem.tariff.export_floor_eur_per_mwh


def export_eur_per_kwh(problem: PlanProblem, nodes: NodeData) -> Floats:
    """What an exported kWh earns at each node."""
    paid = (nodes.price_eur_per_mwh - problem.tariff.export_discount_eur_per_mwh) / 1000
    return np.where(worthless(problem, nodes), 0.0, paid)


def _bound_rows(problem: PlanProblem, layout: Layout, nodes: NodeData) -> tuple[Floats, Floats]:
    row_low = np.full(layout.rows, -INFINITY)
    row_high = np.full(layout.rows, INFINITY)
    own_kw = np.array(problem.own_kw)[nodes.slot]
    for step in range(SUBSTEPS):
        load = ((1 + problem.ev_loss_ratio) * nodes.ev_kw[:, step] + own_kw) * nodes.step_hours[:, step]
        row_low[layout.balance(step)] = row_high[layout.balance(step)] = load
        if not problem.plant.battery_offsets_load:
            row_high[layout.assist(step)] = nodes.ev_kw[:, step] * nodes.step_hours[:, step]
        if problem.battery_import_cap_kw is not None:
            held_kw = np.array(problem.battery_import_cap_kw)[nodes.slot]
            row_high[layout.steering(step)] = held_kw * nodes.step_hours[:, step]
        for index, string in enumerate(problem.plant.strings):
            if slope_per_h := derating_slope_per_h(string):
                rows = layout.derating(step, index)
                floor_kwh = string.capacity_kwh * string.derating_floor_pct / 100
                row_high[rows] = -slope_per_h * floor_kwh * nodes.step_hours[:, step]
                above_kwh = max(problem.energy_kwh[index] - floor_kwh, 0.0)
                row_high[rows[0]] = slope_per_h * above_kwh * nodes.step_hours[0, step]
    for index, string in enumerate(problem.plant.strings):
        row_low[layout.state(index)] = row_high[layout.state(index)] = 0.0
        row_low[layout.state(index)[0]] = row_high[layout.state(index)[0]] = problem.energy_kwh[index]
        row_low[layout.floor(index)] = string.capacity_kwh * string.soc_min_pct / 100
        if layout.by_depth:
            _bound_depth(problem, layout, index, row_low, row_high)
    if layout.budgeted:
        row_low[layout.budget()] = row_high[layout.budget()] = 0.0
        row_low[layout.budget()[0]] = row_high[layout.budget()[0]] = problem.discharged_today_kwh
    row_high[layout.peak_rows()] = 0.0
    if problem.end_energy_kwh is not None:
        row_low[layout.end_rows()] = row_high[layout.end_rows()] = problem.end_energy_kwh
    return row_low, row_high


def _bound_depth(problem: PlanProblem, layout: Layout, index: int, row_low: Floats, row_high: Floats) -> None:
    string = problem.plant.strings[index]
    floor_kwh = string.capacity_kwh * string.soc_min_pct / 100
    row_low[layout.depth(index)] = 0.0
    row_low[layout.depth(index)[0]] = first_deep_kwh(string, problem.energy_kwh[index])
    row_low[layout.layers(index)] = floor_kwh
    row_high[layout.layers(index)] = max(
        string.capacity_kwh * string.soc_max_pct / 100 - string.deep_kwh, problem.energy_kwh[index] - string.deep_kwh
    )


def first_deep_kwh(string: BatteryString, energy_kwh: float) -> float:
    """What the deep layer holds at the start: it fills first."""
    floor_kwh = string.capacity_kwh * string.soc_min_pct / 100
    return min(max(energy_kwh - floor_kwh, 0.0), string.deep_kwh)


def new_days(problem: PlanProblem) -> tuple[bool, ...]:
    """In which slots a new local day begins."""
    days = [local_day(start) for start in problem.starts]
    return (False, *(after != before for before, after in pairwise(days)))


def derating_slope_per_h(string: BatteryString) -> float:
    """Discharge power gained per kWh above the derating floor, in 1/h; 0 where nothing derates."""
    width_kwh = string.capacity_kwh * (string.derating_below_pct - string.derating_floor_pct) / 100
    return string.max_discharge_kw / width_kwh if width_kwh > 0 else 0.0


def _costs(problem: PlanProblem, layout: Layout, nodes: NodeData) -> Floats:
    tariff, tuning = problem.tariff, problem.tuning
    cost = np.zeros(layout.columns)
    buy = (nodes.price_eur_per_mwh + tariff.fees_eur_per_mwh) / 1000
    sell = export_eur_per_kwh(problem, nodes)
    for step in range(SUBSTEPS):
        cost[layout.flow(step, IMPORT)] = nodes.weight * buy
        cost[layout.flow(step, OVER_IMPORT)] = nodes.weight * (np.maximum(buy, 0.0) + tuning.grid_breach_eur_per_kwh)
        cost[layout.flow(step, EXPORT)] = -nodes.weight * sell
        cost[layout.flow(step, UNSERVED)] = nodes.weight * tariff.unserved_eur_per_kwh
        for index in range(layout.strings):
            for segment in range(layout.segments):
                cost[layout.charge(step, index, segment)] = nodes.weight * tariff.wear_eur_per_kwh
                cost[layout.discharge(step, index, segment)] = nodes.weight * tariff.wear_eur_per_kwh
    for index, string in enumerate(problem.plant.strings):
        cost[layout.short(index)] = nodes.weight * tuning.floor_breach_eur_per_kwh
        if layout.by_depth:
            cost[layout.from_deep(index)] = nodes.weight * string.deep_wear_eur_per_kwh
        for scenario, last in enumerate(_last_nodes(layout)):
            cost[layout.energy(index)[last]] -= problem.end_value_eur_per_kwh * problem.scenarios[scenario].weight
    cost[layout.peak()] = [problem.peak_eur_per_kw * scenario.weight for scenario in problem.scenarios]
    return cost


def _last_nodes(layout: Layout) -> list[int]:
    return [layout.node(scenario, layout.slots - 1) for scenario in range(layout.scenarios)]


class Triplets:
    """Collects the entries of a sparse matrix, block by block."""

    def __init__(self) -> None:
        self._blocks: list[tuple[Integers, Integers, Floats]] = []

    def add(self, rows: Integers, columns: Integers, values: Floats | float) -> None:
        """Entries at (rows, columns); one value may stand for all."""
        self._blocks.append((rows, columns, np.broadcast_to(np.asarray(values, dtype=float), rows.shape)))

    def arrays(self) -> tuple[Integers, Integers, Floats]:
        """All entries as rows, columns and values."""
        rows, columns, values = zip(*self._blocks, strict=True)
        return np.concatenate(rows), np.concatenate(columns), np.concatenate(values)


def _matrix(problem: PlanProblem, layout: Layout, nodes: NodeData) -> tuple[Integers, Integers, Floats]:
    entries = Triplets()
    for step in range(SUBSTEPS):
        _balance_entries(problem, layout, step, entries)
        _derating_entries(problem, layout, nodes, step, entries)
        if layout.steered:
            _steering_entries(layout, step, entries)
    _state_entries(problem, layout, entries)
    if layout.by_depth:
        _depth_entries(layout, entries)
    if layout.budgeted:
        _budget_entries(problem, layout, nodes, entries)
    peak_rows = layout.peak_rows()
    hours = np.array(problem.hours())
    for scenario in range(layout.scenarios):
        path = layout.path(scenario)
        for step in range(SUBSTEPS):
            for kind in (IMPORT, OVER_IMPORT):
                entries.add(peak_rows[scenario], layout.flow(step, kind)[path], 1.0)
        entries.add(peak_rows[scenario], np.repeat(layout.peak()[scenario], layout.slots), -hours)
        last = path[-1:]
        for index in range(layout.strings):
            entries.add(layout.end_rows()[scenario : scenario + 1], layout.energy(index)[last], 1.0)
    return entries.arrays()


def _balance_entries(problem: PlanProblem, layout: Layout, step: int, entries: Triplets) -> None:
    balance, assist = layout.balance(step), layout.assist(step)
    entries.add(balance, layout.flow(step, IMPORT), 1.0)
    entries.add(balance, layout.flow(step, OVER_IMPORT), 1.0)
    entries.add(balance, layout.flow(step, EXPORT), -1.0)
    entries.add(balance, layout.flow(step, PV), 1.0)
    entries.add(balance, layout.flow(step, UNSERVED), 1.0 + problem.ev_loss_ratio)
    entries.add(assist, layout.flow(step, UNSERVED), 1.0)
    entries.add(assist, layout.flow(step, EXPORT), -1.0)
    for index in range(layout.strings):
        for segment in range(layout.segments):
            entries.add(balance, layout.charge(step, index, segment), -1.0)
            entries.add(balance, layout.discharge(step, index, segment), 1.0)
            entries.add(assist, layout.discharge(step, index, segment), 1.0)


def _derating_entries(problem: PlanProblem, layout: Layout, nodes: NodeData, step: int, entries: Triplets) -> None:
    later = np.arange(1, layout.nodes)
    before = layout.parents()[1:]
    for index, string in enumerate(problem.plant.strings):
        rows = layout.derating(step, index)
        for segment in range(layout.segments):
            entries.add(rows, layout.discharge(step, index, segment), 1.0)
        slope = -derating_slope_per_h(string) * nodes.step_hours[later, step]
        entries.add(rows[later], layout.energy(index)[before], slope)
        entries.add(rows[later], layout.short(index)[before], slope)


def _state_entries(problem: PlanProblem, layout: Layout, entries: Triplets) -> None:
    later = np.arange(1, layout.nodes)
    before = layout.parents()[1:]
    for index, string in enumerate(problem.plant.strings):
        rows = layout.state(index)
        entries.add(rows, layout.energy(index), 1.0)
        entries.add(rows[later], layout.energy(index)[before], -1.0)
        for step in range(SUBSTEPS):
            # A string with fewer segments than another has columns of no width behind its last.
            for segment in range(layout.segments):
                curve = string.segments()[min(segment, len(string.knees))]
                entries.add(rows, layout.charge(step, index, segment), -curve.charge_efficiency_ratio)
                entries.add(rows, layout.discharge(step, index, segment), 1.0 / curve.discharge_efficiency_ratio)
        entries.add(layout.floor(index), layout.energy(index), 1.0)
        entries.add(layout.floor(index), layout.short(index), 1.0)


def _steering_entries(layout: Layout, step: int, entries: Triplets) -> None:
    rows = layout.steering(step)
    entries.add(rows, layout.flow(step, PV), -1.0)
    for index in range(layout.strings):
        for segment in range(layout.segments):
            entries.add(rows, layout.charge(step, index, segment), 1.0)


def _depth_entries(layout: Layout, entries: Triplets) -> None:
    later = np.arange(1, layout.nodes)
    before = layout.parents()[1:]
    for index in range(layout.strings):
        depth, layers = layout.depth(index), layout.layers(index)
        entries.add(depth, layout.deep(index), 1.0)
        entries.add(depth, layout.from_deep(index), 1.0)
        entries.add(depth[later], layout.deep(index)[before], -1.0)
        entries.add(layers, layout.energy(index), 1.0)
        entries.add(layers, layout.short(index), 1.0)
        entries.add(layers, layout.deep(index), -1.0)


def _budget_entries(problem: PlanProblem, layout: Layout, nodes: NodeData, entries: Triplets) -> None:
    later = np.arange(1, layout.nodes)
    before = layout.parents()[1:]
    rows, given = layout.budget(), layout.given_today()
    same_day = ~np.array(new_days(problem))[nodes.slot]
    entries.add(rows, given, 1.0)
    entries.add(rows[later], given[before], -1.0 * same_day[later])
    for step in range(SUBSTEPS):
        for index in range(layout.strings):
            for segment in range(layout.segments):
                entries.add(rows, layout.discharge(step, index, segment), -1.0)
