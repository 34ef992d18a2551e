"""The plan as an optimisation model, written to be read: every constraint has a name and its inequality.

The running planner does not use this file: it hands the same problem to HiGHS as arrays (`program.py`), which is an
order of magnitude faster. This is the statement of what the arrays must mean, and the oracle of the equivalence test.

Variables per scenario w, slot t and sub-step k (energies in kWh; sub-step 0 is when the cars need more than the grid):

    import, over (import beyond the cap), export, sun, unserved >= 0
    charge[i,g], discharge[i,g] >= 0   per string i and segment g of its efficiency curve; without g their sum
    energy[i] at the end of each slot,  short[i] >= 0 of the floor,     peak (kW) once per scenario
    deep[i], from_deep[i] >= 0  the layer that only deep cycles reach,  given >= 0 of the day's discharge budget

When limits collide they give way in this order, by price: EV service (`unserved_eur_per_kwh`), the grid limit where own
consumption alone is above it (`grid_breach_eur_per_kwh`; never for a battery or a car), the floor of a battery that
starts below it (`floor_breach_eur_per_kwh`). So a plan always exists.
"""

import cvxpy as cp
import numpy as np
from msgspec import Struct

from services.enexa.planning.problem import PlanProblem, Scenario
from services.enexa.planning.program import derating_slope_per_h, first_deep_kwh, new_days

STEPS = (0, 1)


class ModelAnswer(Struct, frozen=True):
    """The optimum of the readable model."""

    objective_eur: float
    status: str


class ScenarioModel:
    """One scenario's variables and constraints; `constraints` maps each name to its inequalities."""

    def __init__(self, problem: PlanProblem, scenario: Scenario) -> None:
        self.problem, self.scenario = problem, scenario
        self.count = len(problem.starts)
        share, whole = np.array(scenario.high_share), np.array(problem.hours())
        self.hours = (whole * share, whole * (1 - share))
        self.whole_hours = whole
        self.ev_kw = (np.array(scenario.high_kw), np.array(scenario.low_kw))
        strings = problem.plant.strings
        self.imports, self.over, self.exports, self.sun, self.unserved = (self._pair() for _ in range(5))
        self.pv_kw = np.array(problem.pv_kw if scenario.pv_kw is None else scenario.pv_kw)
        self.price = scenario.price_eur_per_mwh or problem.price_eur_per_mwh
        self.charge_parts = [[self._pair() for _ in string.segments()] for string in strings]
        self.discharge_parts = [[self._pair() for _ in string.segments()] for string in strings]
        self.charge = [[sum(part[k] for part in parts) for k in STEPS] for parts in self.charge_parts]
        self.discharge = [[sum(part[k] for part in parts) for k in STEPS] for parts in self.discharge_parts]
        self.energy = [cp.Variable(self.count) for _ in strings]
        self.short = [cp.Variable(self.count, nonneg=True) for _ in strings]
        self.deep, self.from_deep = ([cp.Variable(self.count, nonneg=True) for _ in strings] for _ in STEPS)
        self.given = cp.Variable(self.count, nonneg=True)
        self.peak = cp.Variable()
        self.constraints: dict[str, list[cp.Constraint]] = {
            "balance": self.balance(),
            "import_cap": self.import_cap(),
            "export_limit": self.export_limit(),
            "sun_available": self.sun_available(),
            "ev_service": self.ev_service(),
            "assist": self.assist(),
            "power": self.power(),
            "state": self.state(),
            "window": self.window(),
            "derating": self.derating(),
            "depth": self.depth(),
            "layers": self.layers(),
            "budget": self.budget(),
            "steering": self.steering(),
            "peak": self.peak_mean(),
            "end": self.end(),
        }

    def _pair(self) -> list[cp.Variable]:
        return [cp.Variable(self.count, nonneg=True) for _ in STEPS]

    def balance(self) -> list[cp.Constraint]:
        """import + over - export + sun + sum discharge - sum charge + (1+loss) unserved = ((1+loss) ev + own) h"""
        loss, own_kw = 1 + self.problem.ev_loss_ratio, np.array(self.problem.own_kw)
        return [
            self.imports[k] + self.over[k] - self.exports[k] + self.sun[k] + self._battery(k) + loss * self.unserved[k]
            == cp.multiply(loss * self.ev_kw[k] + own_kw, self.hours[k])
            for k in STEPS
        ]  # fmt: skip

    def import_cap(self) -> list[cp.Constraint]:
        """import <= min(contract, kVA x power factor, grid operator's cap) h;  over <= (own consumption - cap) h"""
        cap_kw = np.maximum(np.minimum(self.problem.import_cap_kw, self.problem.plant.import_limit_kw), 0.0)
        beyond_kw = np.maximum(np.array(self.problem.own_kw) - cap_kw, 0.0)
        caps = [self.imports[k] <= cap_kw * self.hours[k] for k in STEPS]
        return caps + [self.over[k] <= beyond_kw * self.hours[k] for k in STEPS]

    def export_limit(self) -> list[cp.Constraint]:
        """export <= min(contract, kVA x power factor) h, and 0 where exporting is worthless"""
        worth = np.array([self.problem.tariff.export_eur_per_kwh(p) is not None for p in self.price])
        return [self.exports[k] <= self.problem.plant.export_cap_kw * worth * self.hours[k] for k in STEPS]

    def sun_available(self) -> list[cp.Constraint]:
        """sun <= pv h; the rest is curtailed"""
        return [self.sun[k] <= self.pv_kw * self.hours[k] for k in STEPS]

    def ev_service(self) -> list[cp.Constraint]:
        """unserved <= ev h"""
        return [self.unserved[k] <= self.ev_kw[k] * self.hours[k] for k in STEPS]

    def assist(self) -> list[cp.Constraint]:
        """sum discharge <= ev h - unserved + export, where the battery may not offset own consumption"""
        if self.problem.plant.battery_offsets_load:
            return []
        totals = [sum((d[k] for d in self.discharge), cp.Constant(np.zeros(self.count))) for k in STEPS]
        return [totals[k] <= self.ev_kw[k] * self.hours[k] - self.unserved[k] + self.exports[k] for k in STEPS]

    def power(self) -> list[cp.Constraint]:
        """charge[i,g] <= width[i,g] max_charge[i] h,  discharge[i,g] <= width[i,g] max_discharge[i] h"""
        return [
            limit
            for i, string in enumerate(self.problem.plant.strings)
            for g, width in enumerate(string.segment_ratios())
            for k in STEPS
            for limit in (
                self.charge_parts[i][g][k] <= width * string.max_charge_kw * self.hours[k],
                self.discharge_parts[i][g][k] <= width * string.max_discharge_kw * self.hours[k],
            )
        ]

    def state(self) -> list[cp.Constraint]:
        """energy[i](t) = energy[i](t-1) + sum_g eta_c[g] sum_k charge[i,g] - sum_g sum_k discharge[i,g] / eta_d[g]"""
        rows = []
        for i, string in enumerate(self.problem.plant.strings):
            given, taken = cp.Constant(np.zeros(self.count)), cp.Constant(np.zeros(self.count))
            for g, segment in enumerate(string.segments()):
                given += sum(self.charge_parts[i][g]) * segment.charge_efficiency_ratio
                taken += sum(self.discharge_parts[i][g]) / segment.discharge_efficiency_ratio
            rows.append(self.energy[i] == self._before(i) + given - taken)
        return rows

    def window(self) -> list[cp.Constraint]:
        """floor[i] <= energy[i] + short[i],  energy[i] <= ceiling[i]"""
        rows = []
        for i, string in enumerate(self.problem.plant.strings):
            ceiling = max(string.capacity_kwh * string.soc_max_pct / 100, self.problem.energy_kwh[i])
            rows += [
                self.energy[i] + self.short[i] >= string.capacity_kwh * string.soc_min_pct / 100,
                self.energy[i] >= 0,
                self.energy[i] <= ceiling,
            ]
        return rows

    def derating(self) -> list[cp.Constraint]:
        """discharge[i] <= max_discharge[i] h (energy[i](t-1) + short[i](t-1) - derating floor) / derating width"""
        rows = []
        for i, string in enumerate(self.problem.plant.strings):
            slope = derating_slope_per_h(string)
            if not slope:
                continue
            base_kwh = string.capacity_kwh * string.derating_floor_pct / 100
            first_kwh = max(self.problem.energy_kwh[i] - base_kwh, 0.0)
            for k in STEPS:
                rows.append(self.discharge[i][k][0] <= slope * self.hours[k][0] * first_kwh)
                if self.count > 1:
                    above = self.energy[i][:-1] + self.short[i][:-1] - base_kwh
                    rows.append(self.discharge[i][k][1:] <= cp.multiply(slope * self.hours[k][1:], above))
        return rows

    def depth(self) -> list[cp.Constraint]:
        """from_deep[i](t) >= deep[i](t-1) - deep[i](t),  deep[i] <= window[i] - shallow depth[i]"""
        rows = []
        for i, string in enumerate(self.problem.plant.strings):
            first = cp.Constant(np.array([first_deep_kwh(string, self.problem.energy_kwh[i])]))
            before = cp.hstack([first, self.deep[i][:-1]]) if self.count > 1 else first
            rows += [self.from_deep[i] >= before - self.deep[i], self.deep[i] <= string.deep_kwh]
        return rows

    def layers(self) -> list[cp.Constraint]:
        """0 <= energy[i] + short[i] - floor[i] - deep[i] <= shallow depth[i]: charging fills the shallow layer, too"""
        rows = []
        for i, string in enumerate(self.problem.plant.strings):
            floor_kwh = string.capacity_kwh * string.soc_min_pct / 100
            ceiling_kwh = max(string.capacity_kwh * string.soc_max_pct / 100, self.problem.energy_kwh[i])
            shallow = self.energy[i] + self.short[i] - self.deep[i]
            rows += [shallow >= floor_kwh, shallow <= ceiling_kwh - string.deep_kwh]
        return rows if any(string.deep_wear_eur_per_kwh > 0 for string in self.problem.plant.strings) else []

    def budget(self) -> list[cp.Constraint]:
        """given(t) = (given(t-1), or 0 where a day begins) + sum discharge;  given <= the day's budget"""
        budget_kwh = self.problem.plant.daily_discharge_budget_kwh
        if budget_kwh is None:
            return []
        spent_kwh, begins = self.problem.discharged_today_kwh, np.array(new_days(self.problem))
        limit_kwh = np.where(np.cumsum(begins) == 0, max(budget_kwh, spent_kwh), budget_kwh)
        first = cp.Constant(np.array([spent_kwh]))
        before = cp.hstack([first, self.given[:-1]]) if self.count > 1 else first
        total = sum((d[k] for d in self.discharge for k in STEPS), cp.Constant(np.zeros(self.count)))
        return [self.given == cp.multiply(before, 1.0 - begins) + total, self.given <= limit_kwh]

    def steering(self) -> list[cp.Constraint]:
        """sum charge <= sun + section 14a's limit for the battery h"""
        if self.problem.battery_import_cap_kw is None:
            return []
        held_kw = np.array(self.problem.battery_import_cap_kw)
        totals = [sum((c[k] for c in self.charge), cp.Constant(np.zeros(self.count))) for k in STEPS]
        return [totals[k] <= self.sun[k] + held_kw * self.hours[k] for k in STEPS]

    def peak_mean(self) -> list[cp.Constraint]:
        """sum_k (import + over) <= peak x slot length;  peak >= the month's peak so far"""
        total = sum(self.imports) + sum(self.over)
        return [total <= self.peak * self.whole_hours, self.peak >= self.problem.peak_so_far_kw]

    def end(self) -> list[cp.Constraint]:
        """sum of energies at the end = target, where one is given"""
        if self.problem.end_energy_kwh is None or not self.energy:
            return []
        return [sum(energy[self.count - 1] for energy in self.energy) == self.problem.end_energy_kwh]

    def cost(self) -> cp.Expression:
        """energy + fees - export + wear + priced breaches + demand charge - value of the energy left"""
        problem, tariff, tuning = self.problem, self.problem.tariff, self.problem.tuning
        buy = np.array([tariff.import_eur_per_kwh(p) for p in self.price])
        sell = np.array([tariff.export_eur_per_kwh(p) or 0.0 for p in self.price])
        moved = sum((cp.sum(f[k]) for f in (*self.charge, *self.discharge) for k in STEPS), cp.Constant(0.0))
        deep = sum(
            (s.deep_wear_eur_per_kwh * cp.sum(d) for s, d in zip(problem.plant.strings, self.from_deep, strict=True)),
            cp.Constant(0.0),
        )
        left = sum((energy[self.count - 1] for energy in self.energy), cp.Constant(0.0))
        short = sum((cp.sum(each) for each in self.short), cp.Constant(0.0))
        flows = sum(
            buy @ self.imports[k]
            + (np.maximum(buy, 0.0) + tuning.grid_breach_eur_per_kwh) @ self.over[k]
            - sell @ self.exports[k]
            + tariff.unserved_eur_per_kwh * cp.sum(self.unserved[k])
            for k in STEPS
        )
        return (
            flows
            + tariff.wear_eur_per_kwh * moved
            + deep
            + tuning.floor_breach_eur_per_kwh * short
            + problem.peak_eur_per_kw * self.peak
            - problem.end_value_eur_per_kwh * left
        )

    def first_slot(self) -> list[cp.Expression]:
        """What is done now: the same in every scenario."""
        parts = [part for string in (*self.charge_parts, *self.discharge_parts) for part in string]
        flows = [self.imports, self.over, self.exports, self.sun, self.unserved, *parts]
        states = (*self.energy, *self.short, *self.deep, *self.from_deep, self.given)
        return [flow[k][0] for flow in flows for k in STEPS] + [each[0] for each in states]

    def _battery(self, step: int) -> cp.Expression:
        given = sum((d[step] for d in self.discharge), cp.Constant(np.zeros(self.count)))
        return given - sum((c[step] for c in self.charge), cp.Constant(np.zeros(self.count)))

    def _before(self, string: int) -> cp.Expression:
        start = cp.Constant(np.array([self.problem.energy_kwh[string]]))
        return cp.hstack([start, self.energy[string][:-1]]) if self.count > 1 else start


def solve(problem: PlanProblem) -> ModelAnswer:
    """The expected cost of the best plan, by the readable model."""
    models = [ScenarioModel(problem, scenario) for scenario in problem.scenarios]
    constraints = [row for model in models for rows in model.constraints.values() for row in rows]
    for other in models[1:]:
        constraints += [a == b for a, b in zip(models[0].first_slot(), other.first_slot(), strict=True)]
    cost = sum(model.scenario.weight * model.cost() for model in models)
    program = cp.Problem(cp.Minimize(cost), constraints)
    program.solve(solver=cp.HIGHS, warm_start=False)
    return ModelAnswer(float(program.value), str(program.status))
