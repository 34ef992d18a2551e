"""What firmware does every second: share the demand of the cars between grid, batteries and sun.

Automatic mode keeps import under a clearance and, if asked, at a request; manual mode follows each unit's grid target
and lets the batteries take up the rest. All power is kW at the site's AC bus, + into the bus, except `ev_kw`, which
is measured at the DC outlet: own consumption carries the conversion loss. For every result

    grid + battery_1 + battery_2 + pv = ev_1 + ev_2 + own
"""

from math import sqrt

INFINITE_KW = 1e9


class Demand:
    """One second's question, filled in by the station and read by the two modes; reused, never allocated."""

    __slots__ = (
        "base_kw",
        "charge_1_kw",
        "charge_2_kw",
        "clearance_kw",
        "coupled",
        "discharge_1_kw",
        "discharge_2_kw",
        "ev_1_kw",
        "ev_2_kw",
        "export_kw",
        "loss_linear_ratio",
        "loss_quadratic_per_kw",
        "pv_kw",
        "request_kw",
        "soc_1_pct",
        "soc_2_pct",
        "target_1_kw",
        "target_2_kw",
        "unit_kva",
    )

    def __init__(self) -> None:
        self.ev_1_kw = self.ev_2_kw = 0.0
        self.base_kw = self.pv_kw = 0.0
        self.charge_1_kw = self.charge_2_kw = 0.0
        self.discharge_1_kw = self.discharge_2_kw = 0.0
        self.soc_1_pct = self.soc_2_pct = 50.0
        self.clearance_kw = self.export_kw = 0.0
        self.request_kw: float | None = None
        self.target_1_kw = self.target_2_kw = 0.0
        self.coupled = False
        self.unit_kva = 87.0
        self.loss_linear_ratio = self.loss_quadratic_per_kw = 0.0


class Flows:
    """One second's answer."""

    __slots__ = (
        "battery_1_kw",
        "battery_2_kw",
        "clearance_violated",
        "curtailed_kw",
        "ev_1_kw",
        "ev_2_kw",
        "grid_kw",
        "loss_kw",
        "own_kw",
        "pv_kw",
    )

    def __init__(self) -> None:
        self.ev_1_kw = self.ev_2_kw = 0.0
        self.battery_1_kw = self.battery_2_kw = 0.0
        self.grid_kw = self.pv_kw = self.own_kw = self.loss_kw = 0.0
        self.curtailed_kw = 0.0
        self.clearance_violated = False


def ev_loss_kw(demand: Demand, ev_kw: float) -> float:
    """Conversion loss of one outlet; coupled units share its power, and with it the quadratic part."""
    if ev_kw == 0.0:
        return 0.0
    quadratic = demand.loss_quadratic_per_kw
    if demand.coupled:
        quadratic *= 0.5
    return ev_kw * (demand.loss_linear_ratio + quadratic * ev_kw)


def automatic(demand: Demand, flows: Flows) -> None:
    """Import <= clearance; the battery covers the gap or fills up; cars are curtailed last, charging first."""
    ev_1, ev_2 = _within_units(demand)
    loss = ev_loss_kw(demand, ev_1) + ev_loss_kw(demand, ev_2)
    own = demand.base_kw + loss
    # What the station itself draws is imported even above the clearance; the battery never offsets it.
    clearance = max(demand.clearance_kw, demand.base_kw - demand.pv_kw)
    need = ev_1 + ev_2 + own - demand.pv_kw
    if demand.request_kw is None:
        wanted = clearance if need > clearance else INFINITE_KW
    else:
        wanted = min(max(demand.request_kw, own - demand.pv_kw, 0.0), clearance)
    battery = need - min(wanted, clearance)
    battery_1, battery_2 = _split(demand, ev_1, ev_2, battery)
    grid = need - battery_1 - battery_2
    if grid > clearance + 1e-9 and ev_1 + ev_2 > 0.0:
        ev_1, ev_2 = _curtailed(demand, ev_1, ev_2, clearance + battery_1 + battery_2 + demand.pv_kw - demand.base_kw)
    _settle(demand, flows, ev_1, ev_2, battery_1, battery_2)


def manual(demand: Demand, flows: Flows) -> None:
    """Each unit imports its target, own consumption on top; the battery is the slack, the car yields last."""
    ev_1, ev_2 = _within_units(demand)
    ac_1, ac_2 = _unit_loads(demand, ev_1, ev_2)
    target_1, target_2 = _allowed_targets(demand)
    battery_1 = _held(ac_1 - target_1, demand.charge_1_kw, demand.discharge_1_kw)
    battery_2 = _held(ac_2 - target_2, demand.charge_2_kw, demand.discharge_2_kw)
    allowed = target_1 + target_2
    most = allowed if ev_1 + ev_2 > 0.0 else max(demand.clearance_kw - demand.base_kw + demand.pv_kw, 0.0)
    grid = ac_1 + ac_2 - battery_1 - battery_2
    if grid > most:
        battery_1, battery_2 = _less_charge(battery_1, battery_2, grid - most)
        grid = ac_1 + ac_2 - battery_1 - battery_2
    if grid > allowed + 1e-9 and ev_1 + ev_2 > 0.0:
        ev_1, ev_2 = _curtailed(demand, ev_1, ev_2, allowed + battery_1 + battery_2)
    _settle(demand, flows, ev_1, ev_2, battery_1, battery_2)


def _settle(demand: Demand, flows: Flows, ev_1: float, ev_2: float, battery_1: float, battery_2: float) -> None:
    """Close the balance: the meter carries the rest, exports only what it may, and the sun is curtailed before."""
    loss = ev_loss_kw(demand, ev_1) + ev_loss_kw(demand, ev_2)
    own = demand.base_kw + loss
    pv = demand.pv_kw
    grid = ev_1 + ev_2 + own - battery_1 - battery_2 - pv
    if grid < -demand.export_kw:
        surplus = -demand.export_kw - grid
        shed = min(surplus, pv)
        pv -= shed
        surplus -= shed
        discharge = max(battery_1, 0.0) + max(battery_2, 0.0)
        if surplus > 0.0 and discharge > 0.0:
            keep = max(0.0, 1.0 - surplus / discharge)
            battery_1 = battery_1 * keep if battery_1 > 0.0 else battery_1
            battery_2 = battery_2 * keep if battery_2 > 0.0 else battery_2
        grid = ev_1 + ev_2 + own - battery_1 - battery_2 - pv
        if -1e-9 < grid < 0.0 and demand.export_kw == 0.0:
            own -= grid
            grid = 0.0
    flows.ev_1_kw, flows.ev_2_kw = ev_1, ev_2
    flows.curtailed_kw = demand.ev_1_kw + demand.ev_2_kw - ev_1 - ev_2
    flows.battery_1_kw, flows.battery_2_kw = battery_1, battery_2
    flows.pv_kw, flows.own_kw, flows.loss_kw = pv, own, loss
    flows.grid_kw = grid
    flows.clearance_violated = grid > demand.clearance_kw + 0.05


def _split(demand: Demand, ev_1: float, ev_2: float, battery: float) -> tuple[float, float]:
    """Share battery power so that the strings meet: one-sided from a gap of 20 points on, within every limit."""
    lean = (demand.soc_1_pct - demand.soc_2_pct) / 40.0
    if battery > 0.0:
        ac_1, ac_2 = _unit_loads(demand, ev_1, ev_2)
        # A unit's grid side carries what its battery does not, either way, and no more than its rating.
        most_1 = min(demand.discharge_1_kw, ac_1 + demand.unit_kva)
        most_2 = min(demand.discharge_2_kw, ac_2 + demand.unit_kva)
        if most_1 + most_2 <= battery:
            return most_1, most_2
        share = 0.5 + lean
        first = battery * (1.0 if share > 1.0 else max(0.0, share))
        first = min(max(first, battery - most_2, ac_1 - demand.unit_kva), most_1)
        return first, max(min(battery - first, most_2), 0.0)
    if battery < 0.0:
        low_1, low_2 = demand.charge_1_kw, demand.charge_2_kw
        if low_1 + low_2 <= -battery:
            return -low_1, -low_2
        share = 0.5 - lean
        first = -battery * (1.0 if share > 1.0 else max(0.0, share))
        first = min(max(first, -battery - low_2), low_1)
        return -first, battery + first
    return 0.0, 0.0


def _within_units(demand: Demand) -> tuple[float, float]:
    """The demand that the units can carry: a grid-side converter and a battery each, or both for a coupled outlet."""
    ev_1, ev_2 = demand.ev_1_kw, demand.ev_2_kw
    most_1 = demand.unit_kva + demand.discharge_1_kw
    most_2 = demand.unit_kva + demand.discharge_2_kw
    if demand.coupled:
        if ev_1 + ev_2 + ev_loss_kw(demand, ev_1) + ev_loss_kw(demand, ev_2) > most_1 + most_2:
            return _curtailed(demand, ev_1, ev_2, most_1 + most_2)
        return ev_1, ev_2
    if ev_1 > 0.0 and ev_1 + ev_loss_kw(demand, ev_1) > most_1:
        ev_1, _ = _curtailed(demand, ev_1, 0.0, most_1)
    if ev_2 > 0.0 and ev_2 + ev_loss_kw(demand, ev_2) > most_2:
        _, ev_2 = _curtailed(demand, 0.0, ev_2, most_2)
    return ev_1, ev_2


def _unit_loads(demand: Demand, ev_1: float, ev_2: float) -> tuple[float, float]:
    """What the cars draw from each unit at AC; coupled units carry half each."""
    load_1, load_2 = ev_1 + ev_loss_kw(demand, ev_1), ev_2 + ev_loss_kw(demand, ev_2)
    if demand.coupled:
        half = 0.5 * (load_1 + load_2)
        return half, half
    return load_1, load_2


def _allowed_targets(demand: Demand) -> tuple[float, float]:
    """The targets as they may act: together within what the site may export and what own consumption leaves."""
    target_1, target_2 = demand.target_1_kw, demand.target_2_kw
    total = target_1 + target_2
    most = max(demand.clearance_kw - demand.base_kw + demand.pv_kw, 0.0)
    least = -demand.export_kw
    if total > most:
        keep = 1.0 - (total - most) / (max(target_1, 0.0) + max(target_2, 0.0))
        return (target_1 * keep if target_1 > 0.0 else target_1), (target_2 * keep if target_2 > 0.0 else target_2)
    if total < least:
        keep = 1.0 - (least - total) / -(min(target_1, 0.0) + min(target_2, 0.0))
        return (target_1 * keep if target_1 < 0.0 else target_1), (target_2 * keep if target_2 < 0.0 else target_2)
    return target_1, target_2


def _less_charge(battery_1: float, battery_2: float, excess_kw: float) -> tuple[float, float]:
    """Charging gives way, in proportion, until the excess or the charging is gone."""
    charge = -min(battery_1, 0.0) - min(battery_2, 0.0)
    if charge <= 0.0:
        return battery_1, battery_2
    keep = max(0.0, 1.0 - excess_kw / charge)
    return (
        battery_1 * keep if battery_1 < 0.0 else battery_1,
        battery_2 * keep if battery_2 < 0.0 else battery_2,
    )


def _held(wanted: float, charge_kw: float, discharge_kw: float) -> float:
    return min(max(wanted, -charge_kw), discharge_kw)


def _curtailed(demand: Demand, ev_1: float, ev_2: float, available_kw: float) -> tuple[float, float]:
    """Both cars scaled by one factor so that they and their losses take exactly `available_kw`."""
    if available_kw <= 0.0:
        return 0.0, 0.0
    quadratic = demand.loss_quadratic_per_kw * (0.5 if demand.coupled else 1.0) * (ev_1 * ev_1 + ev_2 * ev_2)
    linear = (1.0 + demand.loss_linear_ratio) * (ev_1 + ev_2)
    if quadratic > 0.0:
        factor = (-linear + sqrt(linear * linear + 4.0 * quadratic * available_kw)) / (2.0 * quadratic)
    else:
        factor = available_kw / linear
    factor = min(factor, 1.0)
    return factor * ev_1, factor * ev_2
