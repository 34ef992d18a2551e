"""Where prices make it pay to do two opposite things at once, and only there, a plan needs binaries.

Charging and discharging together burns energy. That pays only when an imported kWh earns more than the wear of
burning it: all-in price < -wear (1 + eta) / (1 - eta), with wear per kWh of one direction and eta the round trip.
Importing and exporting together pays wherever a kWh costs less than its export brings.
"""

import numpy as np
from msgspec import Struct

from services.enexa.planning.layout import EXPORT, IMPORT, SUBSTEPS, Layout
from services.enexa.planning.problem import PlanProblem
from services.enexa.planning.program import Integers


class Pair(Struct, frozen=True):
    """Two groups of columns of which only one may flow."""

    one: Integers
    other: Integers


def burning_pays(import_eur_per_kwh: float, wear_eur_per_kwh: float, round_trip_ratio: float) -> bool:
    """Whether charging and discharging at once would earn money."""
    if round_trip_ratio >= 1:
        return False
    return import_eur_per_kwh < -wear_eur_per_kwh * (1 + round_trip_ratio) / (1 - round_trip_ratio)


def exclusive_pairs(problem: PlanProblem, layout: Layout) -> tuple[Pair, ...]:
    """The pairs that this problem's prices ask for; usually none."""
    tariff, plant = problem.tariff, problem.plant
    strings = range(layout.strings)
    round_trip = min((s.charge_efficiency_ratio * s.discharge_efficiency_ratio for s in plant.strings), default=1.0)
    pairs: list[Pair] = []
    for slot, price in enumerate(problem.price_eur_per_mwh):
        buy, sell = tariff.import_eur_per_kwh(price), tariff.export_eur_per_kwh(price)
        burning = layout.strings > 0 and burning_pays(buy, tariff.wear_eur_per_kwh, round_trip)
        looping = plant.export_limit_kw > 0 and sell is not None and buy < sell
        if not burning and not looping:
            continue
        nodes = {layout.node(scenario, slot) for scenario in range(layout.scenarios)}
        for node in sorted(nodes):
            for step in range(SUBSTEPS):
                if burning:
                    one = np.array([layout.charge(step, string)[node] for string in strings])
                    other = np.array([layout.discharge(step, string)[node] for string in strings])
                    pairs.append(Pair(one, other))
                if looping:
                    imports, exports = layout.flow(step, IMPORT), layout.flow(step, EXPORT)
                    pairs.append(Pair(imports[node : node + 1], exports[node : node + 1]))
    return tuple(pairs)
