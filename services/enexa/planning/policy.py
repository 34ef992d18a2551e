"""What each stored kWh is worth in every slot, and the two levels of charge that follow from it.

With a convex value of energy the best policy has two thresholds per slot: below the lower one it pays to charge from
the grid now, above the upper one it pays to let the battery serve the cars instead of the grid. Between them the
battery waits, and below the upper one it gives only what the grid cannot. So the reserve is a result: it is the upper
threshold, and its price is the marginal value of energy there.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from msgspec import Struct

from services.enexa.planning.problem import PlanProblem
from services.enexa.planning.recursion import Floats, backward, energy_where, marginal_value

GRID_POINTS = 121
Backward: TypeAlias = Callable[..., None]


class ValueTable(Struct, frozen=True):
    """Value of the energy above the floor, [slot + 1, grid point] in EUR to come; lower is better."""

    values: Floats
    floor_kwh: float
    width_kwh: float

    def marginal_eur_per_kwh(self, slot: int, energy_kwh: float) -> float:
        """What one more kWh in the cells is worth at the start of `slot`."""
        return marginal_value(self.values[slot], self.width_kwh, energy_kwh - self.floor_kwh)

    def energy_where_kwh(self, slot: int, marginal_eur_per_kwh: float) -> float:
        """The total energy up to which a kWh is worth more than that."""
        return self.floor_kwh + energy_where(self.values[slot], self.width_kwh, marginal_eur_per_kwh)


class Thresholds(Struct, frozen=True):
    """Total energy in the cells, kWh: charge from the grid up to the first, serve cars above the second."""

    charge_below_kwh: float
    discharge_above_kwh: float


class RecursionInput(Struct, frozen=True):
    """A problem as the arrays the recursion reads; one storage stands for all strings."""

    battery: Floats
    hours: Floats
    buy: Floats
    sell: Floats
    own_kw: Floats
    pv_kw: Floats
    cap_kw: Floats
    probability: Floats
    high_share: Floats
    high_kw: Floats
    low_kw: Floats
    floor_kwh: float
    ceiling_kwh: float


def battery_parameters(problem: PlanProblem) -> Floats:
    """All strings as one storage, in the places that the recursion reads."""
    strings, tariff, plant = problem.plant.strings, problem.tariff, problem.plant
    capacity_kwh = sum(s.capacity_kwh for s in strings)
    floor_kwh = sum(s.capacity_kwh * s.soc_min_pct / 100 for s in strings)
    return np.array(
        [
            sum(s.max_charge_kw for s in strings),
            sum(s.max_discharge_kw for s in strings),
            strings[0].charge_efficiency_ratio,
            strings[0].discharge_efficiency_ratio,
            tariff.wear_eur_per_kwh,
            tariff.unserved_eur_per_kwh,
            plant.export_cap_kw,
            problem.ev_loss_ratio,
            1.0 if plant.battery_offsets_load else 0.0,
            capacity_kwh * strings[0].derating_below_pct / 100 - floor_kwh,
            capacity_kwh * strings[0].derating_floor_pct / 100 - floor_kwh,
        ]
    )


def recursion_input(problem: PlanProblem) -> RecursionInput:
    """The arrays of a problem with at least one string."""
    strings, tariff, plant = problem.plant.strings, problem.tariff, problem.plant
    floor_kwh = sum(s.capacity_kwh * s.soc_min_pct / 100 for s in strings)
    sells = (tariff.export_eur_per_kwh(price) for price in problem.price_eur_per_mwh)
    return RecursionInput(
        battery=battery_parameters(problem),
        hours=np.array(problem.hours()),
        buy=np.array([tariff.import_eur_per_kwh(price) for price in problem.price_eur_per_mwh]),
        sell=np.array([np.nan if sell is None else sell for sell in sells]),
        own_kw=np.array(problem.own_kw),
        pv_kw=np.array(problem.pv_kw),
        cap_kw=np.minimum(np.array(problem.import_cap_kw), plant.import_limit_kw),
        probability=np.array([outcome.probability for outcome in problem.outcomes]).T.copy(),
        high_share=np.array([outcome.high_share for outcome in problem.outcomes]).T.copy(),
        high_kw=np.array([outcome.high_kw for outcome in problem.outcomes]).T.copy(),
        low_kw=np.array([outcome.low_kw for outcome in problem.outcomes]).T.copy(),
        floor_kwh=floor_kwh,
        ceiling_kwh=sum(s.capacity_kwh * s.soc_max_pct / 100 for s in strings),
    )


def value_table(problem: PlanProblem, gate_kw: Floats, step_back: Backward = backward) -> ValueTable:
    """The value of energy in every slot; `gate_kw` holds import down while charging, slot by slot.

    `step_back` may be the same recursion, compiled (`compiled.py`).
    """
    given = recursion_input(problem)
    width_kwh = (given.ceiling_kwh - given.floor_kwh) / (GRID_POINTS - 1)
    values = np.zeros((len(given.hours) + 1, GRID_POINTS))
    values[-1] = -problem.end_value_eur_per_kwh * width_kwh * np.arange(GRID_POINTS)
    step_back(
        values, width_kwh, given.battery, given.hours, given.buy, given.sell, given.own_kw, given.pv_kw, given.cap_kw,
        gate_kw, given.probability, given.high_share, given.high_kw, given.low_kw,
    )  # fmt: skip
    return ValueTable(values, given.floor_kwh, width_kwh)


def thresholds(problem: PlanProblem, table: ValueTable) -> tuple[Thresholds, ...]:
    """The two levels of every slot, from what energy is worth when the slot ends."""
    string, wear = problem.plant.strings[0], problem.tariff.wear_eur_per_kwh
    levels = []
    for slot, price in enumerate(problem.price_eur_per_mwh):
        buy = problem.tariff.import_eur_per_kwh(price)
        charge = table.energy_where_kwh(slot + 1, (buy + wear) / string.charge_efficiency_ratio)
        discharge = table.energy_where_kwh(slot + 1, (buy - wear) * string.discharge_efficiency_ratio)
        levels.append(Thresholds(charge, max(charge, discharge)))
    return tuple(levels)
