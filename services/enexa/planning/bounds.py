"""Perfect foresight: the cheapest a site could have been, minute by minute, with everything known beforehand.

The floor under every comparison. It is written apart from the planner's program on purpose: minutes instead of
sub-steps, one aggregated storage, and cars either as a given power or free within their stay, so that each checks the
other. Same physics and money as the simulated plant:

    import - export + sun used + discharge - charge  =  EV (1 + loss) + own consumption        each minute
    energy' = energy + eta_c charge - discharge / eta_d,   floor <= energy <= ceiling
    discharge <= derated power;  discharge <= EV where the battery may not offset own consumption
    mean import of each quarter hour <= peak (priced), discharge of the day <= budget, end energy as given or valued
"""

import highspy
import numpy as np
from msgspec import Struct

from services.enexa.planning.layout import Integers
from services.enexa.planning.problem import BatteryString, Plant
from services.enexa.planning.program import Floats, Triplets, derating_slope_per_h
from services.enexa.planning.solver import require, run_highs, set_matrix


class FlexibleCar(Struct, frozen=True, kw_only=True):
    """A car whose power is free within its stay: minutes [first, last) of the horizon."""

    first: int
    last: int
    energy_kwh: float
    max_power_kw: float


class Foresight(Struct, frozen=True, kw_only=True):
    """All that happens, on a grid of equal steps; EUR/kWh all-in for import, NaN where exporting is worthless."""

    step_s: float
    ev_kw: Floats
    own_kw: Floats
    pv_kw: Floats
    buy_eur_per_kwh: Floats
    sell_eur_per_kwh: Floats
    import_cap_kw: Floats
    plant: Plant
    wear_eur_per_kwh: float
    ev_loss_ratio: float
    start_kwh: float
    end_kwh: float | None = None
    end_value_eur_per_kwh: float = 0.0
    peak_eur_per_kw: float = 0.0
    peak_so_far_kw: float = 0.0
    unserved_eur_per_kwh: float = 2.0
    cars: tuple[FlexibleCar, ...] = ()


class Bound(Struct, frozen=True, kw_only=True):
    """The optimum: money without the demand charge, and the flows that reach it (kWh per step)."""

    cost_eur: float
    objective_eur: float
    peak_kw: float
    import_kwh: Floats
    export_kwh: Floats
    charge_kwh: Floats
    discharge_kwh: Floats
    pv_kwh: Floats
    energy_kwh: Floats
    unserved_by_step_kwh: Floats
    unserved_kwh: float
    end_kwh: float


IMPORT, EXPORT, PV, CHARGE, DISCHARGE, UNSERVED, ENERGY, SHORT = range(8)
KINDS = 8
SHORT_EUR_PER_KWH = 50.0


def perfect_foresight(given: Foresight) -> Bound:
    """The bound; `cost_eur` = energy, fees and wear minus export, plus unserved energy at its price."""
    steps = len(given.ev_kw)
    program = _Rows(steps, given)
    highs = highspy.Highs()
    require(highs.setOptionValue("output_flag", False), "HiGHS refused its option output_flag")
    require(highs.passModel(program.model()), "HiGHS refused the bound's model")
    solution = run_highs(highs)
    x = solution.x
    flow = {kind: x[kind * steps : (kind + 1) * steps] for kind in range(KINDS)}
    peak_kw = float(x[KINDS * steps])
    end_kwh = float(flow[ENERGY][-1])
    demand_eur = given.peak_eur_per_kw * peak_kw
    end_eur = given.end_value_eur_per_kwh * end_kwh
    return Bound(
        cost_eur=solution.objective_eur - demand_eur + end_eur,
        objective_eur=solution.objective_eur,
        peak_kw=_highest_mean_kw(flow[IMPORT], given.step_s),
        import_kwh=flow[IMPORT],
        export_kwh=flow[EXPORT],
        charge_kwh=flow[CHARGE],
        discharge_kwh=flow[DISCHARGE],
        pv_kwh=flow[PV],
        energy_kwh=flow[ENERGY],
        unserved_by_step_kwh=flow[UNSERVED],
        unserved_kwh=float(flow[UNSERVED].sum()),
        end_kwh=end_kwh,
    )


def whole_battery(plant: Plant) -> BatteryString | None:
    """All strings as one; the efficiencies and the window are those of the first."""
    if not plant.strings:
        return None
    first = plant.strings[0]
    return BatteryString(
        capacity_kwh=sum(s.capacity_kwh for s in plant.strings),
        max_charge_kw=sum(s.max_charge_kw for s in plant.strings),
        max_discharge_kw=sum(s.max_discharge_kw for s in plant.strings),
        charge_efficiency_ratio=first.charge_efficiency_ratio,
        discharge_efficiency_ratio=first.discharge_efficiency_ratio,
        soc_min_pct=first.soc_min_pct,
        soc_max_pct=first.soc_max_pct,
        derating_below_pct=first.derating_below_pct,
        derating_floor_pct=first.derating_floor_pct,
    )


def _highest_mean_kw(import_kwh: Floats, step_s: float) -> float:
    per_quarter = max(round(900 / step_s), 1)
    padded = np.append(import_kwh, np.zeros(-len(import_kwh) % per_quarter))
    return float(padded.reshape(-1, per_quarter).sum(axis=1).max() * 4)


class _Rows:
    """Collects columns and rows of the bound's program."""

    def __init__(self, steps: int, given: Foresight) -> None:
        self._steps, self._given = steps, given
        self._hours = given.step_s / 3600
        self._battery = whole_battery(given.plant)
        self._car_first = KINDS * steps + 1
        self._car_columns = sum(car.last - car.first for car in given.cars)
        self._entries = Triplets()
        self._low: list[Floats] = []
        self._high: list[Floats] = []
        self._count = 0

    def model(self) -> "highspy.HighsLp":
        self._balance()
        self._assist()
        self._battery_rows()
        self._peak()
        self._cars()
        cost, low, high = self._column_data()
        lp = highspy.HighsLp()
        lp.num_col_ = len(cost)
        lp.num_row_ = self._count
        lp.col_cost_, lp.col_lower_, lp.col_upper_ = cost, low, high
        lp.row_lower_, lp.row_upper_ = np.concatenate(self._low), np.concatenate(self._high)
        set_matrix(lp, *self._entries.arrays())
        return lp

    def _block(self, low: Floats, high: Floats) -> Integers:
        rows = self._count + np.arange(len(low))
        self._low.append(np.asarray(low, dtype=float))
        self._high.append(np.asarray(high, dtype=float))
        self._count += len(low)
        return rows

    def _flow(self, kind: int) -> Integers:
        return kind * self._steps + np.arange(self._steps)

    def _balance(self) -> None:
        given, hours = self._given, self._hours
        fixed = ((0.0 if given.cars else 1.0 + given.ev_loss_ratio) * given.ev_kw + given.own_kw) * hours
        rows = self._block(fixed, fixed)
        signs = ((IMPORT, 1.0), (EXPORT, -1.0), (PV, 1.0), (DISCHARGE, 1.0), (CHARGE, -1.0))
        for kind, sign in signs:
            self._entries.add(rows, self._flow(kind), sign)
        self._entries.add(rows, self._flow(UNSERVED), 1.0 + given.ev_loss_ratio)
        self._balance_rows = rows

    def _assist(self) -> None:
        given = self._given
        free = given.plant.battery_offsets_load
        limit = np.full(self._steps, np.inf) if free else (0.0 if given.cars else 1.0) * given.ev_kw * self._hours
        rows = self._block(np.full(self._steps, -np.inf), limit)
        for kind, sign in ((DISCHARGE, 1.0), (EXPORT, -1.0), (UNSERVED, 1.0)):
            self._entries.add(rows, self._flow(kind), sign)
        self._assist_rows = rows

    def _battery_rows(self) -> None:
        if self._battery is None:
            return
        battery, given = self._battery, self._given
        energy, before = self._flow(ENERGY), self._flow(ENERGY)[:-1]
        right = np.zeros(self._steps)
        right[0] = given.start_kwh
        rows = self._block(right, right)
        self._entries.add(rows, energy, 1.0)
        self._entries.add(rows[1:], before, -1.0)
        self._entries.add(rows, self._flow(CHARGE), -battery.charge_efficiency_ratio)
        self._entries.add(rows, self._flow(DISCHARGE), 1.0 / battery.discharge_efficiency_ratio)
        floor_kwh = battery.capacity_kwh * battery.soc_min_pct / 100
        rows = self._block(np.full(self._steps, floor_kwh), np.full(self._steps, np.inf))
        self._entries.add(rows, energy, 1.0)
        self._entries.add(rows, self._flow(SHORT), 1.0)
        if slope := derating_slope_per_h(battery) * self._hours:
            base_kwh = battery.capacity_kwh * battery.derating_floor_pct / 100
            limit = np.full(self._steps, -slope * base_kwh)
            limit[0] = slope * max(given.start_kwh - base_kwh, 0.0)
            rows = self._block(np.full(self._steps, -np.inf), limit)
            self._entries.add(rows, self._flow(DISCHARGE), 1.0)
            self._entries.add(rows[1:], before, -slope)
            self._entries.add(rows[1:], self._flow(SHORT)[:-1], -slope)
        if given.plant.daily_discharge_budget_kwh is not None:
            rows = self._block(np.array([-np.inf]), np.array([given.plant.daily_discharge_budget_kwh]))
            self._entries.add(np.repeat(rows, self._steps), self._flow(DISCHARGE), 1.0)
        if given.end_kwh is not None:
            rows = self._block(np.array([given.end_kwh]), np.array([given.end_kwh]))
            self._entries.add(rows, energy[-1:], 1.0)

    def _peak(self) -> None:
        quarter = (np.arange(self._steps) * self._given.step_s // 900).astype(np.int64)
        count = int(quarter[-1]) + 1
        rows = self._block(np.full(count, -np.inf), np.zeros(count))
        self._entries.add(rows[quarter], self._flow(IMPORT), 1.0)
        self._entries.add(rows, np.full(count, KINDS * self._steps), -0.25)

    def _cars(self) -> None:
        column = self._car_first
        loss = 1.0 + self._given.ev_loss_ratio
        for car in self._given.cars:
            minutes = np.arange(car.first, car.last)
            columns = column + np.arange(len(minutes))
            column += len(minutes)
            self._entries.add(self._balance_rows[minutes], columns, -loss)
            self._entries.add(self._assist_rows[minutes], columns, -1.0)
            rows = self._block(np.array([car.energy_kwh]), np.array([car.energy_kwh]))
            self._entries.add(np.repeat(rows, len(minutes)), columns, 1.0)

    def _column_data(self) -> tuple[Floats, Floats, Floats]:
        given, hours, steps = self._given, self._hours, self._steps
        columns = KINDS * steps + 1 + self._car_columns
        cost, low, high = np.zeros(columns), np.zeros(columns), np.full(columns, np.inf)
        worthless = np.isnan(given.sell_eur_per_kwh)
        battery = self._battery or BatteryString(capacity_kwh=0.0, max_charge_kw=0.0, max_discharge_kw=0.0)
        cost[self._flow(IMPORT)] = given.buy_eur_per_kwh
        cost[self._flow(EXPORT)] = -np.where(worthless, 0.0, given.sell_eur_per_kwh)
        cost[self._flow(CHARGE)] = cost[self._flow(DISCHARGE)] = given.wear_eur_per_kwh
        cost[self._flow(UNSERVED)] = given.unserved_eur_per_kwh
        cost[self._flow(SHORT)] = SHORT_EUR_PER_KWH
        cost[self._flow(ENERGY)[-1]] = -given.end_value_eur_per_kwh
        cost[KINDS * steps] = given.peak_eur_per_kw
        high[self._flow(IMPORT)] = np.minimum(given.import_cap_kw, given.plant.import_limit_kw) * hours
        high[self._flow(EXPORT)] = np.where(worthless, 0.0, given.plant.export_cap_kw) * hours
        high[self._flow(PV)] = given.pv_kw * hours
        high[self._flow(CHARGE)] = battery.max_charge_kw * hours
        high[self._flow(DISCHARGE)] = battery.max_discharge_kw * hours
        high[self._flow(UNSERVED)] = (0.0 if given.cars else 1.0) * given.ev_kw * hours
        ceiling_kwh = battery.capacity_kwh * battery.soc_max_pct / 100
        high[self._flow(ENERGY)] = max(ceiling_kwh, given.start_kwh)
        low[KINDS * steps] = given.peak_so_far_kw
        column = self._car_first
        for car in given.cars:
            high[column : column + car.last - car.first] = car.max_power_kw * hours
            column += car.last - car.first
        return cost, low, high
