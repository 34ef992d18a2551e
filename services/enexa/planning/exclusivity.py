"""Where prices make it pay to do two opposite things at once, and only there, a plan needs binaries.

Charging and discharging together burns energy. That pays only when an imported kWh earns more than the wear of
burning it: all-in price < -wear (1 + eta) / (1 - eta), with wear per kWh of one direction and eta the round trip.
Importing and exporting together pays wherever a kWh costs less than its export brings. And where importing earns more
than wear, a bent efficiency curve would be climbed from its bad end, so each segment has to be full before the next.
"""

import numpy as np
from msgspec import Struct

from services.enexa.market.tariffs import Tariff
from services.enexa.planning.layout import EXPORT, IMPORT, SUBSTEPS, Integers, Layout
from services.enexa.planning.problem import BatteryString, PlanProblem


class Pair(Struct, frozen=True):
    """Two groups of columns of which only one may flow; or, `in_order`, the other only where the one is full."""

    one: Integers
    other: Integers
    in_order: bool = False


def burning_pays(import_eur_per_kwh: float, wear_eur_per_kwh: float, round_trip_ratio: float) -> bool:
    """Whether charging and discharging at once would earn money."""
    if round_trip_ratio >= 1:
        return False
    return import_eur_per_kwh < -wear_eur_per_kwh * (1 + round_trip_ratio) / (1 - round_trip_ratio)


def exclusive_pairs(problem: PlanProblem, layout: Layout) -> tuple[Pair, ...]:
    """The pairs that this problem's prices ask for; usually none."""
    tariff, plant = problem.tariff, problem.plant
    round_trip = min((_worst_round_trip(string) for string in plant.strings), default=1.0)
    columns = [problem.price_eur_per_mwh, *(s.price_eur_per_mwh for s in problem.scenarios if s.price_eur_per_mwh)]
    cheapest_buy = tariff.import_eur_per_kwh(min(min(prices) for prices in columns))
    bent = layout.segments > 1 and cheapest_buy < -tariff.wear_eur_per_kwh
    pairs: list[Pair] = []
    for slot, prices in enumerate(zip(*columns, strict=True)):
        buy = tariff.import_eur_per_kwh(min(prices))
        burning = layout.strings > 0 and burning_pays(buy, tariff.wear_eur_per_kwh, round_trip)
        looping = plant.export_limit_kw > 0 and any(_looping_pays(tariff, price) for price in prices)
        if not (burning or looping or bent):
            continue
        nodes = {layout.node(scenario, slot) for scenario in range(layout.scenarios)}
        for node in sorted(nodes):
            for step in range(SUBSTEPS):
                if burning:
                    pairs.append(_charge_or_discharge(layout, node, step))
                if looping:
                    imports, exports = layout.flow(step, IMPORT), layout.flow(step, EXPORT)
                    pairs.append(Pair(imports[node : node + 1], exports[node : node + 1]))
                if bent:
                    pairs.extend(_curve_in_order(layout, node, step))
    return tuple(pairs)


def _looping_pays(tariff: Tariff, price_eur_per_mwh: float) -> bool:
    sell = tariff.export_eur_per_kwh(price_eur_per_mwh)
    return sell is not None and tariff.import_eur_per_kwh(price_eur_per_mwh) < sell


def _worst_round_trip(string: BatteryString) -> float:
    last = string.segments()[-1]
    return last.charge_efficiency_ratio * last.discharge_efficiency_ratio


def _charge_or_discharge(layout: Layout, node: int, step: int) -> Pair:
    every = [(string, segment) for string in range(layout.strings) for segment in range(layout.segments)]
    one = np.array([layout.charge(step, *which)[node] for which in every])
    return Pair(one, np.array([layout.discharge(step, *which)[node] for which in every]))


def _curve_in_order(layout: Layout, node: int, step: int) -> list[Pair]:
    pairs = []
    for string in range(layout.strings):
        for segment in range(layout.segments - 1):
            for way in (layout.charge, layout.discharge):
                one, other = way(step, string, segment), way(step, string, segment + 1)
                pairs.append(Pair(one[node : node + 1], other[node : node + 1], in_order=True))
    return pairs
