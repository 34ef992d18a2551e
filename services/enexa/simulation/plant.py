"""The coarse plant: one site in steps of a minute, as one function that runs as plain Python and compiled.

It is written apart from the emulator's physics on purpose (one aggregated storage, minutes, no ramps): each checks the
other. Efficiencies are constant, or curves where the stretch has `Losses`; then air conditioning follows the load, too.
Numbers travel in arrays because a compiled function takes no struct; `site.py` gives them names.
"""

import math

import numpy as np
from numpy.typing import NDArray

from shared.energy.reactive import derated_kw, reactive_kw

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Places in the array of plant parameters.
(
    MAX_CHARGE, MAX_DISCHARGE, CHARGE_EFFICIENCY, DISCHARGE_EFFICIENCY, FLOOR, CEILING, DERATING_FLOOR, DERATING,
    IDLE_IMPORT, RECHARGE, BUDGET, MAX_CHARGER, EV_LOSS, OFFSETS, EXPORT_LIMIT, EV_LOSS_PER_KW,
    CURVED, LOSS_FIXED, LOSS_LINEAR, LOSS_PER_KW, HVAC_KW_PER_KW, HVAC_MAX, HVAC_LAG_H,
) = range(23)  # fmt: skip
PLANT_PARAMETERS = 23

# Rows of the record: mean power of each step in kW, and the energy at its end in kWh.
IMPORT, EXPORT, PV_USED, CHARGE, DISCHARGE, EV, ENERGY, OWN = range(8)
RECORD_ROWS = 8

# Places in the state that lives on from call to call.
ENERGY_NOW, DISCHARGED_TODAY, HVAC_NOW, THROUGH_NOW = range(4)
STATE_PLACES = 4

# Rows of what steers SmartEMS, per slot: levels of energy in kWh, the import gate, and a wished battery power in kW.
CHARGE_BELOW, DISCHARGE_ABOVE, ABSORB_BELOW, EXPORT_ABOVE, GATE, WISH = range(6)
LEVEL_ROWS = 6

WORST_EFFICIENCY = 0.85
"""One way, of a curve at a power of a kilowatt."""

REACTIVE, LEVELS, WISHES = range(3)
"""Who decides: the reactive rule, the levels of a value table, or a dispatcher's wish that the middleware clamps."""


def levels_kw(
    net_kw: float,
    assist_kw: float,
    max_charge_kw: float,
    max_discharge_kw: float,
    energy_kwh: float,
    import_cap_kw: float,
    export_room_kw: float,
    charge_efficiency_ratio: float,
    discharge_efficiency_ratio: float,
    step_h: float,
    levels: Floats,
) -> float:
    """Battery power (discharging +) by the levels of a slot; a gap above the import cap is always covered."""
    above_kw = (energy_kwh - levels[DISCHARGE_ABOVE]) * discharge_efficiency_ratio / step_h
    below_kw = (levels[CHARGE_BELOW] - energy_kwh) / charge_efficiency_ratio / step_h
    gap_kw = net_kw - import_cap_kw
    if net_kw > 0.0:
        wanted_kw = max(gap_kw, 0.0)
        if above_kw > 0.0:
            wanted_kw = max(wanted_kw, min(above_kw, net_kw))
        if wanted_kw > 0.0:
            return float(min(wanted_kw, assist_kw))
        room_kw = max(min(import_cap_kw, levels[GATE]) - net_kw, 0.0)
        return -float(min(max(below_kw, 0.0), room_kw, max_charge_kw))
    surplus_kw = -net_kw
    absorb_kw = min(max((levels[ABSORB_BELOW] - energy_kwh) / charge_efficiency_ratio / step_h, 0.0), surplus_kw)
    bought_kw = min(max(below_kw, 0.0), surplus_kw + min(import_cap_kw, levels[GATE]))
    charge_kw = min(max(absorb_kw, bought_kw), max_charge_kw)
    if charge_kw > 0.0:
        return -float(charge_kw)
    sold_kw = (energy_kwh - levels[EXPORT_ABOVE]) * discharge_efficiency_ratio / step_h
    return float(max(min(sold_kw, max_discharge_kw, export_room_kw - surplus_kw), 0.0))


def wished_kw(
    wish_kw: float,
    net_kw: float,
    assist_kw: float,
    max_charge_kw: float,
    max_discharge_kw: float,
    import_cap_kw: float,
    export_room_kw: float,
) -> float:
    """Battery power (discharging +) for a wish, as the middleware holds it: a gap above the cap is always covered."""
    upper_kw = assist_kw
    if export_room_kw > 0.0:
        upper_kw = min(max_discharge_kw, max(net_kw, 0.0) + export_room_kw)
    lower_kw = max(net_kw - import_cap_kw, -max_charge_kw)
    return float(min(max(wish_kw, lower_kw), max(upper_kw, 0.0)))


def cell_kw(battery_kw: float, parameters: Floats) -> float:
    """What the cells give (+) or take for a power at the AC side."""
    if parameters[CURVED] > 0.0:
        size_kw = abs(battery_kw)
        fixed_kw = parameters[LOSS_FIXED] * size_kw / (size_kw + 1.0)
        return float(battery_kw + fixed_kw + size_kw * (parameters[LOSS_LINEAR] + parameters[LOSS_PER_KW] * size_kw))
    if battery_kw > 0.0:
        return float(battery_kw / parameters[DISCHARGE_EFFICIENCY])
    return float(battery_kw * parameters[CHARGE_EFFICIENCY])


def run_steps(  # noqa: PLR0912, PLR0915  one loop body: a compiled function pays for every call with arrays
    first: int,
    last: int,
    mode: int,
    step_h: float,
    steps_per_slot: int,
    parameters: Floats,
    buy_eur_per_kwh: Floats,
    sell_eur_per_kwh: Floats,
    pv_kw: Floats,
    own_kw: Floats,
    import_cap_kw: Floats,
    car_first: Integers,
    car_last: Integers,
    car_max_kw: Floats,
    car_rest_kwh: Floats,
    levels: Floats,
    state: Floats,
    record: Floats,
) -> None:
    """Run steps [first, last); `car_rest_kwh`, `state` and `record` are changed in place. Cars are sorted by start."""
    charge_eff, discharge_eff = parameters[CHARGE_EFFICIENCY], parameters[DISCHARGE_EFFICIENCY]
    if parameters[CURVED] > 0.0:
        # How far it is to ceiling and floor is judged by efficiencies that no power can pass.
        charge_eff, discharge_eff = 1.0, WORST_EFFICIENCY
    head = 0
    for step in range(first, last):
        while head < len(car_first) and (car_last[head] <= step or car_rest_kwh[head] <= 0.0):
            head += 1
        wanted_kw = 0.0
        squares = 0.0
        for car in range(head, len(car_first)):
            if car_first[car] > step:
                break
            if step < car_last[car]:
                car_kw = min(car_max_kw[car], car_rest_kwh[car] / step_h)
                wanted_kw += car_kw
                squares += car_kw * car_kw
        ev_kw = min(wanted_kw, parameters[MAX_CHARGER])
        loss = 1.0 + parameters[EV_LOSS]
        if wanted_kw > 0.0:
            loss += parameters[EV_LOSS_PER_KW] * squares / wanted_kw
        # Air conditioning follows what went through the station, with a lag: this minute's by the minutes before.
        if parameters[HVAC_KW_PER_KW] > 0.0:
            hvac_kw = min(parameters[HVAC_KW_PER_KW] * state[THROUGH_NOW], parameters[HVAC_MAX])
            state[HVAC_NOW] += (hvac_kw - state[HVAC_NOW]) * (1.0 - math.exp(-step_h / parameters[HVAC_LAG_H]))
        house_kw = own_kw[step] + state[HVAC_NOW]
        load_kw = loss * ev_kw + house_kw
        # Where an imported kWh earns money, a planned site takes the sun last; the reactive rule knows no price.
        sun_last = mode != REACTIVE and buy_eur_per_kwh[step] < 0.0
        sun_kw = 0.0 if sun_last else pv_kw[step]
        spare_sun_kw = pv_kw[step] - sun_kw
        net_kw = load_kw - sun_kw
        cap_kw = import_cap_kw[step]
        energy_kwh = state[ENERGY_NOW]
        discharge_kw = derated_kw(
            parameters[MAX_DISCHARGE], energy_kwh, parameters[DERATING_FLOOR], parameters[DERATING]
        )
        discharge_kw = min(discharge_kw, (energy_kwh - parameters[FLOOR]) * discharge_eff / step_h)
        discharge_kw = max(min(discharge_kw, (parameters[BUDGET] - state[DISCHARGED_TODAY]) / step_h), 0.0)
        charge_kw = max(min(parameters[MAX_CHARGE], (parameters[CEILING] - energy_kwh) / charge_eff / step_h), 0.0)
        assist_kw = min(discharge_kw, net_kw if parameters[OFFSETS] > 0.0 else ev_kw)
        export_room_kw = 0.0 if math.isnan(sell_eur_per_kwh[step]) else parameters[EXPORT_LIMIT]
        if mode == REACTIVE:
            battery_kw = reactive_kw(
                ev_kw=ev_kw,
                load_kw=load_kw,
                pv_kw=sun_kw,
                import_limit_kw=cap_kw,
                idle_import_kw=min(parameters[IDLE_IMPORT], cap_kw),
                max_charge_kw=charge_kw,
                max_discharge_kw=max(assist_kw, 0.0),
                chargeable_kw=charge_kw,
                rechargeable_kw=(parameters[RECHARGE] - energy_kwh) / charge_eff / step_h,
            )
        elif mode == WISHES:
            battery_kw = wished_kw(
                levels[WISH, step // steps_per_slot], net_kw, assist_kw, charge_kw, discharge_kw,
                cap_kw + spare_sun_kw, export_room_kw,
            )  # fmt: skip
        else:
            battery_kw = levels_kw(
                net_kw, assist_kw, charge_kw, discharge_kw, energy_kwh, cap_kw + spare_sun_kw, export_room_kw,
                charge_eff, discharge_eff, step_h, levels[:, step // steps_per_slot],
            )  # fmt: skip
        grid_kw = net_kw - battery_kw
        if sun_last:
            sun_kw = min(max(grid_kw - cap_kw, 0.0), spare_sun_kw)
            grid_kw -= sun_kw
        served_kw = ev_kw
        if grid_kw > cap_kw:
            served_kw = max(ev_kw - (grid_kw - cap_kw) / loss, 0.0)
            grid_kw = loss * served_kw + house_kw - sun_kw - battery_kw
        exported_kw = min(max(-grid_kw, 0.0), export_room_kw)
        record[IMPORT, step] = max(grid_kw, 0.0)
        record[EXPORT, step] = exported_kw
        record[PV_USED, step] = sun_kw - (max(-grid_kw, 0.0) - exported_kw)
        record[CHARGE, step] = max(-battery_kw, 0.0)
        record[DISCHARGE, step] = max(battery_kw, 0.0)
        record[EV, step] = served_kw
        record[OWN, step] = house_kw + (loss - 1.0) * served_kw
        energy_kwh -= cell_kw(battery_kw, parameters) * step_h
        state[THROUGH_NOW] = abs(battery_kw) + served_kw
        record[ENERGY, step] = energy_kwh
        state[ENERGY_NOW] = energy_kwh
        state[DISCHARGED_TODAY] += record[DISCHARGE, step] * step_h
        share = served_kw / wanted_kw if wanted_kw > 0.0 else 0.0
        for car in range(head, len(car_first)):
            if car_first[car] > step:
                break
            if step < car_last[car]:
                taken_kwh = min(car_max_kw[car], car_rest_kwh[car] / step_h) * share * step_h
                car_rest_kwh[car] = max(car_rest_kwh[car] - taken_kwh, 0.0)
                if car_rest_kwh[car] < 1e-9:
                    car_rest_kwh[car] = 0.0
