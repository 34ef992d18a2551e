"""plan(problem) -> Plan: the schedule, what it costs, what bound it, and why."""

from datetime import timedelta

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from services.enexa.planning.exclusivity import exclusive_pairs
from services.enexa.planning.layout import EXPORT, IMPORT, OVER_IMPORT, PV, SUBSTEPS, UNSERVED, Layout
from services.enexa.planning.plan import Breach, Costs, Plan
from services.enexa.planning.policy import Backward, ValueTable, value_table
from services.enexa.planning.problem import PlanProblem
from services.enexa.planning.program import Floats, NodeData, build, export_eur_per_kwh, spread
from services.enexa.planning.reasons import SlotView, explain, reason_of, zones_of
from services.enexa.planning.recursion import backward
from services.enexa.planning.schedule import Schedule, Slot
from services.enexa.planning.shortcut import EXACTLY, Exactly, solve_exactly
from services.enexa.planning.solver import Solution, Solver
from shared.errors import SolverFailed

SEEN_KWH = 0.01
FEW_SCENARIOS = 3


def plan(problem: PlanProblem, solver: Solver, step_back: Backward = backward, exactly: Exactly = EXACTLY) -> Plan:
    """The best schedule for a problem; never infeasible. `method` says who made it: exact, lp or milp.

    `step_back` and `exactly` may be the same recursions, compiled. Where the time limit passes first, a few scenarios
    must do; SolverFailed only where even those find no plan.
    """
    try:
        return _plan(problem, solver, step_back, exactly)
    except SolverFailed:
        if len(problem.scenarios) <= FEW_SCENARIOS:
            raise
        return _plan(with_few_scenarios(problem), solver, step_back, exactly)


def with_few_scenarios(problem: PlanProblem) -> PlanProblem:
    """The problem with its first scenarios only, of equal weight."""
    few = problem.scenarios[:FEW_SCENARIOS]
    return replace(problem, scenarios=tuple(replace(each, weight=1 / FEW_SCENARIOS) for each in few))


def _plan(problem: PlanProblem, solver: Solver, step_back: Backward, exactly: Exactly) -> Plan:
    program = build(problem)
    pairs = exclusive_pairs(problem, program.layout)
    found = solve_exactly(problem, program, len(pairs), exactly)
    solution = found or solver.solve(program, pairs)
    flows = Expected.read(problem, program.layout, solution)
    gate_kw = flows.gate_kw(problem)
    table = value_table(problem, gate_kw, step_back) if problem.plant.strings else None
    views = _views(problem, flows, gate_kw, table)
    return Plan(
        site_id=problem.site_id,
        schedule=_schedule(problem, flows, views),
        costs=_costs(problem, flows, solution.objective_eur),
        explanations=tuple(explain(view) for view in views),
        price_published=problem.price_published,
        breaches=_breaches(flows),
        gap_eur=solution.gap_eur,
        solve_s=solution.solve_s,
        method="exact" if found else "milp" if pairs else "lp",
        scenario_count=len(problem.scenarios),
    )


class Expected(Struct, frozen=True):
    """The solution as expectations per slot: energies in kWh, marginal values in EUR/kWh."""

    hours: Floats
    imported_kwh: Floats
    over_kwh: Floats
    exported_kwh: Floats
    pv_kwh: Floats
    unserved_kwh: Floats
    ev_kwh: Floats
    charged_kwh: Floats
    discharged_kwh: Floats
    energy_kwh: Floats
    short_kwh: Floats
    marginal_eur_per_kwh: Floats
    grid_limit_eur_per_kwh: Floats
    peak_kw: float
    energy_eur: float
    export_eur: float
    deep_wear_eur: float

    @classmethod
    def read(cls, problem: PlanProblem, layout: Layout, solution: Solution) -> "Expected":
        """Fold the nodes of a solution back onto slots, each with its weight."""
        nodes = spread(problem, layout)
        fold = _Fold(nodes, layout.slots)
        flow = {
            kind: sum((solution.x[layout.flow(step, kind)] for step in range(SUBSTEPS)), np.zeros(layout.nodes))
            for kind in (IMPORT, OVER_IMPORT, EXPORT, PV, UNSERVED)
        }
        charged, discharged, energy, short, marginal, deep_eur = (np.zeros(layout.nodes) for _ in range(6))
        for string in range(layout.strings):
            for step in range(SUBSTEPS):
                for segment in range(layout.segments):
                    charged += solution.x[layout.charge(step, string, segment)]
                    discharged += solution.x[layout.discharge(step, string, segment)]
            if layout.by_depth:
                price = problem.plant.strings[string].deep_wear_eur_per_kwh
                deep_eur += price * solution.x[layout.from_deep(string)]
            energy += solution.x[layout.energy(string)]
            short += solution.x[layout.short(string)]
            marginal -= solution.row_dual[layout.state(string)] / layout.strings
        limit = np.zeros(layout.nodes)
        for step in range(SUBSTEPS):
            limit = np.maximum(limit, -solution.column_dual[layout.flow(step, IMPORT)])
        weights = np.array([scenario.weight for scenario in problem.scenarios])
        return cls(
            hours=np.array(problem.hours()),
            imported_kwh=fold.mean(flow[IMPORT] + flow[OVER_IMPORT]),
            over_kwh=fold.mean(flow[OVER_IMPORT]),
            exported_kwh=fold.mean(flow[EXPORT]),
            pv_kwh=fold.mean(flow[PV]),
            unserved_kwh=fold.mean(flow[UNSERVED]),
            ev_kwh=fold.mean((nodes.ev_kw * nodes.step_hours).sum(axis=1)),
            charged_kwh=fold.mean(charged),
            discharged_kwh=fold.mean(discharged),
            energy_kwh=fold.mean(energy),
            short_kwh=fold.mean(short),
            marginal_eur_per_kwh=fold.total(marginal),
            grid_limit_eur_per_kwh=fold.total(limit),
            peak_kw=float(solution.x[layout.peak()] @ weights),
            energy_eur=float((nodes.weight * nodes.price_eur_per_mwh) @ (flow[IMPORT] + flow[OVER_IMPORT])) / 1000,
            export_eur=float((nodes.weight * export_eur_per_kwh(problem, nodes)) @ flow[EXPORT]),
            deep_wear_eur=float(nodes.weight @ deep_eur),
        )

    def gate_kw(self, problem: PlanProblem) -> Floats:
        """What the battery may charge up to: the cap, what section 14a leaves it, or the peak the plan will pay for."""
        cap_kw: Floats = np.minimum(np.array(problem.import_cap_kw), problem.plant.import_limit_kw)
        if problem.peak_eur_per_kw > 0:
            peak_kw = max(self.peak_kw, problem.peak_so_far_kw, float(np.max(problem.own_kw)))
            cap_kw = np.minimum(cap_kw, peak_kw)
        if problem.battery_import_cap_kw is not None:
            cap_kw = np.minimum(cap_kw, np.array(problem.battery_import_cap_kw) + np.array(problem.own_kw))
        return cap_kw


class _Fold:
    """Nodes onto slots."""

    def __init__(self, nodes: NodeData, slots: int) -> None:
        self._nodes, self._slots = nodes, slots

    def mean(self, per_node: Floats) -> Floats:
        return self.total(per_node * self._nodes.weight)

    def total(self, per_node: Floats) -> Floats:
        total: Floats = np.zeros(self._slots)
        np.add.at(total, self._nodes.slot, per_node)
        return total


def _views(
    problem: PlanProblem,
    flows: Expected,
    gate_kw: Floats,
    table: ValueTable | None,
) -> tuple[SlotView, ...]:
    capacity = sum(s.capacity_kwh for s in problem.plant.strings) or 1.0
    ceiling_pct = max((s.soc_max_pct for s in problem.plant.strings), default=0.0)
    zones = zones_of(problem)
    before_kwh = np.concatenate([[sum(problem.energy_kwh)], flows.energy_kwh[:-1]])
    floor_kwh = sum(s.capacity_kwh * s.soc_min_pct / 100 for s in problem.plant.strings)
    views = []
    for slot in range(len(problem.starts)):
        battery_kw = (flows.discharged_kwh[slot] - flows.charged_kwh[slot]) / flows.hours[slot]
        reserve_pct = (floor_kwh + problem.reserve_need_kwh[slot]) / capacity * 100
        views.append(
            SlotView(
                setpoint_kw=float(battery_kw),
                soc_before_pct=float(before_kwh[slot] / capacity * 100),
                soc_target_pct=float(min(max(flows.energy_kwh[slot] / capacity * 100, 0.0), 100.0)),
                soc_max_pct=ceiling_pct,
                reserve_pct=float(min(reserve_pct, ceiling_pct)),
                gate_kw=float(gate_kw[slot]),
                zone=zones[slot],
                price_eur_per_mwh=problem.price_eur_per_mwh[slot],
                published=problem.price_published[slot],
                marginal_eur_per_kwh=table.marginal_eur_per_kwh(slot + 1, float(flows.energy_kwh[slot]))
                if table
                else 0.0,
                grid_limit_eur_per_kwh=float(flows.grid_limit_eur_per_kwh[slot]),
                capped=problem.import_cap_kw[slot] < problem.plant.import_limit_kw - 0.5,
                gap_kwh=_gap_kwh(problem, slot),
                pv_kwh=float(flows.pv_kwh[slot]),
                charged_kwh=float(flows.charged_kwh[slot]),
                discharged_kwh=float(flows.discharged_kwh[slot]),
                peak_binds=float(gate_kw[slot]) < problem.import_cap_kw[slot] - 0.5,
            )
        )
    return tuple(views)


def _gap_kwh(problem: PlanProblem, slot: int) -> float:
    """Expected energy of the cars that the grid cannot give in a slot."""
    hours = problem.hours()[slot]
    spare_kw = max(problem.import_cap_kw[slot] - problem.own_kw[slot], 0.0)
    return sum(
        s.weight * s.high_share[slot] * hours * max(s.high_kw[slot] * (1 + problem.ev_loss_ratio) - spare_kw, 0.0)
        for s in problem.scenarios
    )


def _schedule(problem: PlanProblem, flows: Expected, views: tuple[SlotView, ...]) -> Schedule:
    slots = tuple(
        Slot(
            start=start,
            setpoint_kw=round(view.setpoint_kw, 3),
            soc_target_pct=round(view.soc_target_pct, 2),
            reserve_pct=round(view.reserve_pct, 2),
            import_gate_kw=round(view.gate_kw, 3),
            price_eur_per_mwh=view.price_eur_per_mwh,
            zone=view.zone,
            reason=reason_of(view),
            marginal_eur_per_kwh=round(view.marginal_eur_per_kwh, 5),
            ev_kw=round(float(flows.ev_kwh[slot] / flows.hours[slot]), 3),
            import_kw=round(float(flows.imported_kwh[slot] / flows.hours[slot]), 3),
        )
        for slot, (start, view) in enumerate(zip(problem.starts, views, strict=True))
    )
    return Schedule(
        version=problem.version,
        valid_from=problem.starts[0],
        valid_until=problem.starts[-1] + timedelta(seconds=problem.slot_s),
        slots=slots,
    )


def _costs(problem: PlanProblem, flows: Expected, objective_eur: float) -> Costs:
    tariff = problem.tariff
    moved_kwh = float((flows.charged_kwh + flows.discharged_kwh).sum())
    return Costs(
        energy_eur=flows.energy_eur,
        fees_eur=float(tariff.fees_eur_per_mwh / 1000 * flows.imported_kwh.sum()),
        export_eur=flows.export_eur,
        wear_eur=tariff.wear_eur_per_kwh * moved_kwh + flows.deep_wear_eur,
        demand_charge_eur=problem.peak_eur_per_kw * (flows.peak_kw - problem.peak_so_far_kw),
        unserved_eur=float(tariff.unserved_eur_per_kwh * flows.unserved_kwh.sum()),
        end_value_eur=problem.end_value_eur_per_kwh * float(flows.energy_kwh[-1]),
        total_eur=objective_eur - problem.peak_eur_per_kw * problem.peak_so_far_kw,
    )


def _breaches(flows: Expected) -> tuple[Breach, ...]:
    """What gave way, in the order in which limits give way: EV service, grid limit, SOC floor."""
    given = (("ev_service", flows.unserved_kwh), ("grid_limit", flows.over_kwh), ("soc_floor", flows.short_kwh))
    return tuple(
        Breach(limit=limit, first_slot=int(np.argmax(amount > SEEN_KWH)), amount_kwh=float(amount.sum()))
        for limit, amount in given
        if float(amount.max()) > SEEN_KWH
    )
