"""The reactive battery rule: looks only at the present, knows no price; baseline of every comparison, and a fallback.

A car draws: sun first, then grid to its limit, then battery (full power above the derating point, linear to 0 at the
floor). What grid and sun have to spare trickles into the battery. Nobody there: recharge to a target, sun first, with
the grid held to a gentle power. Plain floats throughout, so that the same source also runs compiled.
"""


def derated_kw(max_kw: float, energy_kwh: float, derating_floor_kwh: float, derating_kwh: float) -> float:
    """Discharge power that is left at an energy: full above `derating_kwh`, linear to 0 at the derating floor."""
    if energy_kwh >= derating_kwh:
        return max_kw
    if energy_kwh <= derating_floor_kwh:
        return 0.0
    return max_kw * (energy_kwh - derating_floor_kwh) / (derating_kwh - derating_floor_kwh)


def reactive_kw(
    ev_kw: float,
    load_kw: float,
    pv_kw: float,
    import_limit_kw: float,
    idle_import_kw: float,
    max_charge_kw: float,
    max_discharge_kw: float,
    chargeable_kw: float,
    rechargeable_kw: float,
) -> float:
    """The battery power (discharging +) of this instant, kW.

    `load_kw` is all that is drawn behind the meter, cars and their losses included. `max_discharge_kw` already holds
    derating, floor and budget; `chargeable_kw` is the power that reaches the ceiling, `rechargeable_kw` the one that
    reaches the recharge target within this step.
    """
    net_kw = load_kw - pv_kw
    if ev_kw > 0.0:
        gap_kw = net_kw - import_limit_kw
        if gap_kw > 0.0:
            return min(gap_kw, max_discharge_kw)
        return -min(max_charge_kw, max(chargeable_kw, 0.0), -gap_kw)
    room_kw = max(-net_kw, 0.0) + max(idle_import_kw - max(net_kw, 0.0), 0.0)
    return -min(max_charge_kw, max(rechargeable_kw, 0.0), room_kw)
