"""The value of stored energy, slot by slot backwards: what a kWh in the battery is worth while demand is uncertain.

One storage with convex stage cost has a convex value function V of its energy. A backward step is

    V_t(E) = sum over outcomes j of  p_j * min over y of  C_tj(y) + V_t+1(E - y)        y: energy taken out of the cells

and each inner minimum is an infimal convolution of two convex piecewise linear functions: their pieces, sorted by
slope, one after the other, with y held to what the derated battery can give from E. V is kept on a grid of energies;
between grid points it is linear.

The functions below are plain Python on arrays and scalars, and at the same time the source that numba compiles
(`services/enexa/simulation/compiled.py`): so they use no structs and no exceptions.
"""

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
MAX_PIECES = 24

# Columns of the battery's parameters, one array of floats because a compiled function takes no struct.
(
    MAX_CHARGE, MAX_DISCHARGE, CHARGE_EFFICIENCY, DISCHARGE_EFFICIENCY, WEAR, UNSERVED, EXPORT_LIMIT, EV_LOSS, OFFSETS,
    DERATING, DERATING_FLOOR,
) = range(11)  # fmt: skip


# What a piece of a slot's cost stands for: what the battery gives, and what it no longer takes.
FORCED, FOR_SUN, SAVING, SOLD, FREE, FORGONE, BOUGHT = range(7)
KINDS = 7

# What flows in a sub-step (kWh) while the battery takes all it can and gives nothing.
BASE_IMPORT, BASE_EXPORT, BASE_SUN, BASE_GAP, BASE_CHARGE = range(5)
BASES = 5


def add_piece(
    lengths: Floats, slopes: Floats, kinds: Integers, count: int, length_kwh: float, slope: float, kind: int
) -> int:
    """Insert a piece so that slopes stay sorted; returns the new count."""
    if length_kwh <= 0.0:
        return count
    at = count
    while at > 0 and slopes[at - 1] > slope:
        lengths[at] = lengths[at - 1]
        slopes[at] = slopes[at - 1]
        kinds[at] = kinds[at - 1]
        at -= 1
    lengths[at] = length_kwh
    slopes[at] = slope
    kinds[at] = kind
    return count + 1


def substep_pieces(
    lengths: Floats,
    slopes: Floats,
    kinds: Integers,
    base: Floats,
    count: int,
    first_kind: int,
    battery: Floats,
    hours: float,
    ev_kw: float,
    own_kw: float,
    pv_kw: float,
    cap_kw: float,
    gate_kw: float,
    buy: float,
    sell: float,
) -> tuple[int, float, float]:
    """Add one sub-step's pieces: cost against energy taken out of the cells, EUR/kWh of cells.

    Returns the count, the cost when the battery charges all it can and never discharges, and the energy (kWh of
    cells) it takes up then; what else flows then is put into `base`. Kinds count from `first_kind`. `sell` is NaN where
    exporting is worthless.
    """
    charge_eff, discharge_eff, wear = battery[CHARGE_EFFICIENCY], battery[DISCHARGE_EFFICIENCY], battery[WEAR]
    load_kw = (1.0 + battery[EV_LOSS]) * ev_kw + own_kw
    # Where an imported kWh earns money the sun comes last: it only serves what the grid cannot.
    sun_last_kw = pv_kw if buy < 0.0 else 0.0
    used_pv_kw = pv_kw - sun_last_kw
    net_kw = max(load_kw - used_pv_kw, 0.0)
    surplus_kw = max(used_pv_kw - load_kw, 0.0)
    export_room_kw = 0.0 if math.isnan(sell) else battery[EXPORT_LIMIT]
    from_sun_kw = min(max(net_kw - cap_kw, 0.0), sun_last_kw)
    gap_kw = max(net_kw - cap_kw - sun_last_kw, 0.0)
    unserved = max(battery[UNSERVED] / (1.0 + battery[EV_LOSS]), buy)

    exported_kw = min(surplus_kw, export_room_kw)
    curtailed_kw = surplus_kw - exported_kw
    cost = (buy * (net_kw - gap_kw - from_sun_kw) + unserved * gap_kw) * hours
    if exported_kw > 0.0:
        cost -= sell * exported_kw * hours

    assist_kw = min(battery[MAX_DISCHARGE], net_kw if battery[OFFSETS] > 0.0 else min(ev_kw, net_kw))
    forced_kw = min(gap_kw, assist_kw)
    for_sun_kw = min(assist_kw - forced_kw, from_sun_kw)
    saving_kw = assist_kw - forced_kw - for_sun_kw
    out = hours / discharge_eff
    count = add_piece(
        lengths, slopes, kinds, count, forced_kw * out, -(unserved - wear) * discharge_eff, first_kind + FORCED
    )
    count = add_piece(lengths, slopes, kinds, count, for_sun_kw * out, wear * discharge_eff, first_kind + FOR_SUN)
    count = add_piece(
        lengths, slopes, kinds, count, saving_kw * out, -(buy - wear) * discharge_eff, first_kind + SAVING
    )
    if export_room_kw > exported_kw:
        sold_kw = min(battery[MAX_DISCHARGE] - assist_kw, export_room_kw - exported_kw)
        count = add_piece(
            lengths, slopes, kinds, count, sold_kw * out, -(sell - wear) * discharge_eff, first_kind + SOLD
        )

    room_kw = max(min(cap_kw, gate_kw) - net_kw, 0.0) if gap_kw == 0.0 else 0.0
    free_kw = min(battery[MAX_CHARGE], curtailed_kw)
    forgone_kw = min(battery[MAX_CHARGE] - free_kw, exported_kw)
    bought_kw = min(battery[MAX_CHARGE] - free_kw - forgone_kw, room_kw)
    free_kw += min(battery[MAX_CHARGE] - free_kw - forgone_kw - bought_kw, sun_last_kw - from_sun_kw)
    into = hours * charge_eff
    count = add_piece(lengths, slopes, kinds, count, free_kw * into, -wear / charge_eff, first_kind + FREE)
    cost += wear * free_kw * hours
    if forgone_kw > 0.0:
        count = add_piece(
            lengths, slopes, kinds, count, forgone_kw * into, -(sell + wear) / charge_eff, first_kind + FORGONE
        )
        cost += (sell + wear) * forgone_kw * hours
    count = add_piece(lengths, slopes, kinds, count, bought_kw * into, -(buy + wear) / charge_eff, first_kind + BOUGHT)
    cost += (buy + wear) * bought_kw * hours
    base[BASE_IMPORT] = (net_kw - gap_kw - from_sun_kw + bought_kw) * hours
    base[BASE_EXPORT] = (exported_kw - forgone_kw) * hours
    base[BASE_SUN] = (used_pv_kw - curtailed_kw + free_kw + from_sun_kw) * hours
    base[BASE_GAP] = gap_kw * hours
    base[BASE_CHARGE] = (free_kw + forgone_kw + bought_kw) * hours
    return count, cost, (free_kw + forgone_kw + bought_kw) * into


def discharge_rate_kw(battery: Floats, ev_kw: float, sell: float) -> float:
    """What the battery may be asked for at most: the cars' power, or all it can where more than cars may have it."""
    if battery[OFFSETS] > 0.0 or (battery[EXPORT_LIMIT] > 0.0 and not math.isnan(sell)):
        return float(battery[MAX_DISCHARGE])
    return min(ev_kw, float(battery[MAX_DISCHARGE]))


def removable_kwh(battery: Floats, energy_kwh: float, rate_kw: float, hours: float) -> float:
    """What a sub-step can take out of the cells at most, kWh: `rate_kw` while the derated power allows, then less.

    Below the derating point the power falls with the energy, so the energy left decays like exp(-t).
    """
    out_kw = rate_kw / battery[DISCHARGE_EFFICIENCY]
    band_kwh = (battery[DERATING] - battery[DERATING_FLOOR]) * rate_kw / battery[MAX_DISCHARGE]
    above_kwh = energy_kwh - battery[DERATING_FLOOR]
    if band_kwh <= 0.0:
        return float(out_kw * hours)
    if above_kwh <= 0.0:
        return 0.0
    full_h = min(max((above_kwh - band_kwh) / out_kw, 0.0), hours)
    taken_kwh = out_kw * full_h
    return float(taken_kwh + (above_kwh - taken_kwh) * (1.0 - math.exp(-out_kw / band_kwh * (hours - full_h))))


def convolve_into(
    result: Floats,
    probability: float,
    after: Floats,
    width_kwh: float,
    lengths: Floats,
    slopes: Floats,
    count: int,
    cost: float,
    charged_kwh: float,
    battery: Floats,
    rate_kw: float,
    hours: float,
) -> None:
    """Add probability * (C [] V)(grid) to `result`: walk the pieces of both in the order of their slopes.

    Where the walk takes more out of the cells than the derated power gives, the point stays at that limit.
    """
    points = len(after)
    energy = -charged_kwh
    value = after[0] + cost
    piece, interval, target = 0, 0, 0
    left_piece = lengths[0] if count > 0 else 0.0
    left_interval = width_kwh
    taken = -charged_kwh
    derates = rate_kw > 0.0 and battery[DERATING] > battery[DERATING_FLOOR]
    while target < points:
        if piece < count and (
            interval >= points - 1 or slopes[piece] * width_kwh <= after[interval + 1] - after[interval]
        ):
            slope, length = slopes[piece], left_piece
            from_piece = True
        elif interval < points - 1:
            slope, length = (after[interval + 1] - after[interval]) / width_kwh, left_interval
            from_piece = False
        else:
            slope, length = 0.0, math.inf
            from_piece = True
        while target < points and target * width_kwh <= energy + length + 1e-12:
            part = target * width_kwh - energy
            here = value + slope * part
            if derates:
                most = removable_kwh(battery, target * width_kwh, rate_kw, hours)
                if taken + (part if from_piece else 0.0) > most + 1e-9:
                    here = value_at(after, width_kwh, target * width_kwh - most) + cost_at(
                        lengths, slopes, count, cost, most + charged_kwh
                    )
                elif most >= rate_kw / battery[DISCHARGE_EFFICIENCY] * hours:
                    derates = False
            result[target] += probability * here
            target += 1
        if target >= points:
            break
        energy += length
        value += slope * length
        if from_piece:
            taken += length
            piece += 1
            left_piece = lengths[piece] if piece < count else 0.0
        else:
            interval += 1


def value_at(values: Floats, width_kwh: float, energy_kwh: float) -> float:
    """The function on the grid, linear between its points."""
    place = max(energy_kwh / width_kwh, 0.0)
    interval = min(int(place), len(values) - 2)
    return float(values[interval] + (values[interval + 1] - values[interval]) * (place - interval))


def cost_at(lengths: Floats, slopes: Floats, count: int, cost: float, length_kwh: float) -> float:
    """The stage cost after `length_kwh` of its pieces."""
    for piece in range(count):
        part = min(lengths[piece], length_kwh)
        cost += slopes[piece] * part
        length_kwh -= part
    return cost


def backward(
    values: Floats,
    width_kwh: float,
    battery: Floats,
    hours: Floats,
    buy: Floats,
    sell: Floats,
    own_kw: Floats,
    pv_kw: Floats,
    cap_kw: Floats,
    gate_kw: Floats,
    probability: Floats,
    high_share: Floats,
    high_kw: Floats,
    low_kw: Floats,
) -> None:
    """Fill values[t, grid point] for t = T-1 .. 0 from values[T]; demand outcomes are [slot, outcome].

    The sub-steps of a slot follow one another: first the one in which the grid suffices, then the one in which the cars
    need more, whose discharge is held to what the derated battery can give.
    """
    lengths = np.zeros(MAX_PIECES)
    slopes = np.zeros(MAX_PIECES)
    kinds = np.zeros(MAX_PIECES, dtype=np.int64)
    base = np.zeros(BASES)
    between = np.zeros(values.shape[1])
    for slot in range(len(hours) - 1, -1, -1):
        values[slot, :] = 0.0
        for outcome in range(probability.shape[1]):
            if probability[slot, outcome] <= 0.0:
                continue
            after = values[slot + 1]
            for step in range(2):
                share = high_share[slot, outcome]
                part_h = hours[slot] * (share if step == 0 else 1.0 - share)
                if part_h <= 0.0:
                    continue
                ev_kw = high_kw[slot, outcome] if step == 0 else low_kw[slot, outcome]
                count, cost, charged_kwh = substep_pieces(
                    lengths, slopes, kinds, base, 0, 0, battery, part_h, ev_kw, own_kw[slot], pv_kw[slot], cap_kw[slot],
                    gate_kw[slot], buy[slot], sell[slot],
                )  # fmt: skip
                last = step == 1 or share >= 1.0
                into, weight = (values[slot], probability[slot, outcome]) if last else (between, 1.0)
                if not last:
                    between[:] = 0.0
                convolve_into(
                    into, weight, after, width_kwh, lengths, slopes, count, cost, charged_kwh, battery,
                    discharge_rate_kw(battery, ev_kw, sell[slot]), part_h,
                )  # fmt: skip
                after = between


def energy_where(values: Floats, width_kwh: float, marginal: float) -> float:
    """The energy (above the grid's first point) up to which a stored kWh is worth more than `marginal`, kWh."""
    points = len(values)
    for interval in range(points - 1):
        if (values[interval] - values[interval + 1]) / width_kwh <= marginal:
            return interval * width_kwh
    return (points - 1) * width_kwh


def marginal_value(values: Floats, width_kwh: float, energy_kwh: float) -> float:
    """What one more stored kWh is worth at `energy_kwh` above the grid's first point, EUR/kWh of cells."""
    last = len(values) - 2
    interval = min(max(int(energy_kwh / width_kwh), 0), last)
    return float((values[interval] - values[interval + 1]) / width_kwh)
