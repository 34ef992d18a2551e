"""The exact recursion: one storage with convex stage cost needs no solver, only sorted lists of slopes.

V_t is convex and piecewise linear in the stored energy. A backward step merges its pieces with those of the stage cost
(infimal convolution) and cuts the result to the window. Scenarios share only the first slot, so their value functions
after it are added, weighted, and the first slot is convolved last. The demand charge is a convex search over the peak
outside. Walking forward again, the merged lists say what flows.

The functions that take arrays are plain Python and at the same time the source that numba compiles (`compiled.py`).
A value function on [0, width] is a row of lengths (kWh), a row of rising slopes (EUR/kWh), a count and the value at 0.
"""

import numpy as np

from services.enexa.planning.recursion import (
    BASE_CHARGE,
    BASE_EXPORT,
    BASE_GAP,
    BASE_IMPORT,
    BASE_SUN,
    BASES,
    BOUGHT,
    CHARGE_EFFICIENCY,
    DISCHARGE_EFFICIENCY,
    EV_LOSS,
    FOR_SUN,
    FORCED,
    FORGONE,
    FREE,
    KINDS,
    MAX_PIECES,
    SAVING,
    SOLD,
    Floats,
    Integers,
    substep_pieces,
)

# Columns of a head: how many pieces a function has, and its value at 0.
COUNT, VALUE = range(2)

# Rows of the site's series and of one scenario's series, one entry per slot.
HOURS, OWN, CAP = range(3)
BUY, SELL, SUN, SHARE, HIGH, LOW = range(6)

# What flows in a slot, kWh: per sub-step the first six; then per slot the energy at its end and its worth in EUR/kWh.
FLOW_IMPORT, FLOW_EXPORT, FLOW_SUN, FLOW_UNSERVED, FLOW_CHARGE, FLOW_DISCHARGE = range(6)
FLOWS = 6
ENERGY, WORTH = 2 * FLOWS, 2 * FLOWS + 1
FLOW_ROWS = 2 * FLOWS + 2

NUDGE_KW = 1e-5
SEARCH_STEPS = 60


def stage(
    lengths: Floats,
    slopes: Floats,
    kinds: Integers,
    base: Floats,
    battery: Floats,
    site: Floats,
    series: Floats,
    slot: int,
    peak_kw: float,
) -> tuple[int, float, float]:
    """A slot's cost as pieces, both sub-steps together; import stays under `peak_kw`, too."""
    count, cost, charged_kwh = 0, 0.0, 0.0
    cap_kw = min(site[CAP, slot], peak_kw)
    for step in range(2):
        share = series[SHARE, slot]
        part_h = site[HOURS, slot] * (share if step == 0 else 1.0 - share)
        base[step, :] = 0.0
        if part_h > 0.0:
            ev_kw = series[HIGH, slot] if step == 0 else series[LOW, slot]
            count, step_cost, step_kwh = substep_pieces(
                lengths, slopes, kinds, base[step], count, step * KINDS, battery, part_h, ev_kw, site[OWN, slot],
                series[SUN, slot], cap_kw, cap_kw, series[BUY, slot], series[SELL, slot],
            )  # fmt: skip
            cost += step_cost
            charged_kwh += step_kwh
    return count, cost, charged_kwh


def merge_and_cut(
    after_lengths: Floats,
    after_slopes: Floats,
    after_head: Floats,
    lengths: Floats,
    slopes: Floats,
    count: int,
    cost: float,
    charged_kwh: float,
    width_kwh: float,
    into_lengths: Floats,
    into_slopes: Floats,
    into_head: Floats,
) -> None:
    """into := (C [] after) on [0, width]."""
    total = int(after_head[COUNT])
    value = after_head[VALUE] + cost
    at = -charged_kwh
    one, other, kept = 0, 0, 0
    while (one < total or other < count) and at < width_kwh:
        if other >= count or (one < total and after_slopes[one] <= slopes[other]):
            length, slope = after_lengths[one], after_slopes[one]
            one += 1
        else:
            length, slope = lengths[other], slopes[other]
            other += 1
        end = at + length
        if end <= 0.0:
            value += slope * length
        else:
            if at < 0.0:
                value -= slope * at
                at = 0.0
            length = min(end, width_kwh) - at
            if kept > 0 and into_slopes[kept - 1] == slope:
                into_lengths[kept - 1] += length
            else:
                into_lengths[kept] = length
                into_slopes[kept] = slope
                kept += 1
        at = end
    into_head[COUNT] = kept
    into_head[VALUE] = value


def run_back(
    lengths: Floats,
    slopes: Floats,
    heads: Floats,
    battery: Floats,
    site: Floats,
    series: Floats,
    width_kwh: float,
    end_value: float,
    peak_kw: float,
    first: int,
) -> int:
    """Value functions from the end back to slot `first`; V_t lies in row t modulo the rows there are; returns its row.

    With two rows only the last two functions are kept, with slots + 1 all.
    """
    slots, rows = site.shape[1], lengths.shape[0]
    stage_lengths, stage_slopes = np.empty(MAX_PIECES), np.empty(MAX_PIECES)
    kinds, base = np.empty(MAX_PIECES, dtype=np.int64), np.empty((2, BASES))
    row: int = slots % rows
    lengths[row, 0], slopes[row, 0] = width_kwh, -end_value
    heads[row, COUNT], heads[row, VALUE] = 1.0, 0.0
    for slot in range(slots - 1, first - 1, -1):
        count, cost, charged_kwh = stage(stage_lengths, stage_slopes, kinds, base, battery, site, series, slot, peak_kw)
        row, after = slot % rows, (slot + 1) % rows
        merge_and_cut(
            lengths[after], slopes[after], heads[after], stage_lengths, stage_slopes, count, cost, charged_kwh,
            width_kwh, lengths[row], slopes[row], heads[row],
        )  # fmt: skip
    return row


def evaluate(lengths: Floats, slopes: Floats, head: Floats, energy_kwh: float) -> float:
    """The function at an energy."""
    value, left = head[VALUE], energy_kwh
    for piece in range(int(head[COUNT])):
        part = min(lengths[piece], left)
        value += slopes[piece] * part
        left -= part
        if left <= 0.0:
            break
    return float(value)


def step_forward(
    flows: Floats,
    after_lengths: Floats,
    after_slopes: Floats,
    after_head: Floats,
    battery: Floats,
    site: Floats,
    series: Floats,
    slot: int,
    peak_kw: float,
    energy_kwh: float,
) -> float:
    """Fill column `slot` of `flows` with what is best from `energy_kwh` on; returns the energy at the slot's end."""
    lengths, slopes = np.empty(MAX_PIECES), np.empty(MAX_PIECES)
    kinds, base = np.empty(MAX_PIECES, dtype=np.int64), np.empty((2, BASES))
    taken = np.zeros(2 * KINDS)
    count, _, charged_kwh = stage(lengths, slopes, kinds, base, battery, site, series, slot, peak_kw)
    left, total = energy_kwh + charged_kwh, int(after_head[COUNT])
    one, other, after_kwh = 0, 0, 0.0
    while left > 0.0 and (one < total or other < count):
        if other >= count or (one < total and after_slopes[one] <= slopes[other]):
            part = min(after_lengths[one], left)
            after_kwh += part
            one += 1
        else:
            part = min(lengths[other], left)
            taken[kinds[other]] += part
            other += 1
        left -= part
    charge_eff, discharge_eff = battery[CHARGE_EFFICIENCY], battery[DISCHARGE_EFFICIENCY]
    for step in range(2):
        of, given = step * KINDS, base[step]
        kwh = flows[step * FLOWS : (step + 1) * FLOWS, slot]
        unbought, unfree, unforgone = taken[of + BOUGHT], taken[of + FREE], taken[of + FORGONE]
        kwh[FLOW_IMPORT] = given[BASE_IMPORT] - taken[of + SAVING] * discharge_eff - unbought / charge_eff
        kwh[FLOW_EXPORT] = given[BASE_EXPORT] + taken[of + SOLD] * discharge_eff + unforgone / charge_eff
        kwh[FLOW_SUN] = given[BASE_SUN] - taken[of + FOR_SUN] * discharge_eff - unfree / charge_eff
        kwh[FLOW_UNSERVED] = (given[BASE_GAP] - taken[of + FORCED] * discharge_eff) / (1.0 + battery[EV_LOSS])
        kwh[FLOW_CHARGE] = given[BASE_CHARGE] - (unbought + unfree + unforgone) / charge_eff
        given_kwh = taken[of + FORCED] + taken[of + FOR_SUN] + taken[of + SAVING] + taken[of + SOLD]
        kwh[FLOW_DISCHARGE] = given_kwh * discharge_eff
    flows[ENERGY, slot] = after_kwh
    flows[WORTH, slot] = -after_slopes[min(one, total - 1)]
    return after_kwh


def add_up(
    lengths: Floats,
    slopes: Floats,
    heads: Floats,
    weights: Floats,
    into_lengths: Floats,
    into_slopes: Floats,
    into_head: Floats,
) -> None:
    """The weighted sum of convex functions [scenario, piece] on one window: its breakpoints are all of theirs."""
    total = int(heads[:, COUNT].sum())
    places, changes = np.empty(total), np.empty(total)
    found, slope = 0, 0.0
    into_head[VALUE] = 0.0
    for scenario in range(len(weights)):
        at, weight = 0.0, weights[scenario]
        into_head[VALUE] += weight * heads[scenario, VALUE]
        slope += weight * slopes[scenario, 0]
        for piece in range(int(heads[scenario, COUNT])):
            at += lengths[scenario, piece]
            last = piece + 1 >= heads[scenario, COUNT]
            places[found] = at
            changes[found] = 0.0 if last else weight * (slopes[scenario, piece + 1] - slopes[scenario, piece])
            found += 1
    order = np.argsort(places)
    at, kept = 0.0, 0
    for place in order:
        if places[place] > at:
            into_lengths[kept], into_slopes[kept] = places[place] - at, slope
            kept += 1
            at = places[place]
        slope += changes[place]
    into_head[COUNT] = kept


def two_stage(
    flows: Floats,
    battery: Floats,
    site: Floats,
    series: Floats,
    weights: Floats,
    width_kwh: float,
    end_value: float,
    energy_kwh: float,
    whole: bool,
) -> float:
    """The optimal expected cost of scenarios that share their first slot.

    `series` is [scenario, row, slot], `flows` [scenario, row, slot]; without `whole` only its slot 0 is filled.
    """
    scenarios, slots = len(weights), site.shape[1]
    room = slots * MAX_PIECES + 1
    rows = slots + 1 if whole else 2
    lengths, slopes, heads = np.empty((rows, room)), np.empty((rows, room)), np.empty((rows, 2))
    after_lengths, after_slopes = np.empty((scenarios, room)), np.empty((scenarios, room))
    after_heads = np.empty((scenarios, 2))
    for scenario in range(scenarios):
        row = run_back(lengths, slopes, heads, battery, site, series[scenario], width_kwh, end_value, np.inf, 1)
        count = int(heads[row, COUNT])
        after_lengths[scenario, :count] = lengths[row, :count]
        after_slopes[scenario, :count] = slopes[row, :count]
        after_heads[scenario] = heads[row]
    many = int(after_heads[:, COUNT].sum()) + 1
    sum_lengths, sum_slopes, sum_head = np.empty(many), np.empty(many), np.empty(2)
    add_up(after_lengths, after_slopes, after_heads, weights, sum_lengths, sum_slopes, sum_head)
    then_kwh = step_forward(
        flows[0], sum_lengths, sum_slopes, sum_head, battery, site, series[0], 0, np.inf, energy_kwh
    )
    stage_lengths, stage_slopes = np.empty(MAX_PIECES), np.empty(MAX_PIECES)
    kinds, base = np.empty(MAX_PIECES, dtype=np.int64), np.empty((2, BASES))
    count, cost, charged_kwh = stage(stage_lengths, stage_slopes, kinds, base, battery, site, series[0], 0, np.inf)
    into_lengths, into_slopes, into_head = np.empty(many + MAX_PIECES), np.empty(many + MAX_PIECES), np.empty(2)
    merge_and_cut(
        sum_lengths, sum_slopes, sum_head, stage_lengths, stage_slopes, count, cost, charged_kwh, width_kwh,
        into_lengths, into_slopes, into_head,
    )  # fmt: skip
    if whole:
        for scenario in range(scenarios):
            flows[scenario, :, 0] = flows[0, :, 0]
            at_kwh = then_kwh
            if scenarios > 1:
                run_back(lengths, slopes, heads, battery, site, series[scenario], width_kwh, end_value, np.inf, 1)
            for slot in range(1, slots):
                at_kwh = step_forward(
                    flows[scenario], lengths[slot + 1], slopes[slot + 1], heads[slot + 1], battery, site,
                    series[scenario], slot, np.inf, at_kwh,
                )  # fmt: skip
    return evaluate(into_lengths, into_slopes, into_head, energy_kwh)


def cost_under(
    lengths: Floats,
    slopes: Floats,
    heads: Floats,
    battery: Floats,
    site: Floats,
    series: Floats,
    width_kwh: float,
    end_value: float,
    energy_kwh: float,
    peak_kw: float,
    peak_price: float,
) -> float:
    """What it costs to stay under a peak, the peak's price included."""
    row = run_back(lengths, slopes, heads, battery, site, series, width_kwh, end_value, peak_kw, 0)
    return evaluate(lengths[row], slopes[row], heads[row], energy_kwh) + peak_price * peak_kw


def best_peak(
    lengths: Floats,
    slopes: Floats,
    heads: Floats,
    battery: Floats,
    site: Floats,
    series: Floats,
    width_kwh: float,
    end_value: float,
    energy_kwh: float,
    paid_kw: float,
    peak_price: float,
    guess_kw: float,
) -> tuple[float, float]:
    """The cheapest peak of at least `paid_kw`, and its cost: a convex function's lowest point, between tangents."""
    low, high = paid_kw, max(site[CAP].max(), paid_kw)
    low_cost, low_slope, high_cost, high_slope = np.nan, np.nan, np.nan, np.nan
    at = min(max(guess_kw, low), high)
    best, best_cost = at, np.inf
    for _ in range(SEARCH_STEPS):
        cost = cost_under(
            lengths, slopes, heads, battery, site, series, width_kwh, end_value, energy_kwh, at, peak_price
        )
        if cost < best_cost:
            best, best_cost = at, cost
        if not (np.isnan(low_slope) or np.isnan(high_slope)):
            bound = low_cost + low_slope * (at - low)
            if cost <= bound + 1e-9 * max(abs(cost), 1.0):
                break
        if at + NUDGE_KW <= high:
            right = cost_under(
                lengths, slopes, heads, battery, site, series, width_kwh, end_value, energy_kwh, at + NUDGE_KW,
                peak_price,
            )  # fmt: skip
            if right < cost:
                low, low_cost, low_slope = at, cost, (right - cost) / NUDGE_KW
                if np.isnan(high_slope):
                    at = high
                    continue
        if low != at or np.isnan(low_slope):
            if at - NUDGE_KW < paid_kw:
                break
            left = cost_under(
                lengths, slopes, heads, battery, site, series, width_kwh, end_value, energy_kwh, at - NUDGE_KW,
                peak_price,
            )  # fmt: skip
            if left >= cost:
                break
            high, high_cost, high_slope = at, cost, (cost - left) / NUDGE_KW
            if np.isnan(low_slope):
                at = low
                continue
        if high - low <= 2 * NUDGE_KW or low_slope >= high_slope:
            break
        at = (high_cost - low_cost + low_slope * low - high_slope * high) / (low_slope - high_slope)
        at = min(max(at, low), high)
    return best, best_cost


def one_stage(
    flows: Floats,
    battery: Floats,
    site: Floats,
    series: Floats,
    width_kwh: float,
    end_value: float,
    energy_kwh: float,
    paid_kw: float,
    peak_price: float,
    guess_kw: float,
    whole: bool,
) -> tuple[float, float]:
    """Cost and peak of one scenario with a demand charge; without `whole` only slot 0 of `flows` is filled."""
    slots = site.shape[1]
    room = slots * MAX_PIECES + 1
    rows = slots + 1 if whole else 2
    lengths, slopes, heads = np.empty((rows, room)), np.empty((rows, room)), np.empty((rows, 2))
    peak_kw, cost = best_peak(
        lengths, slopes, heads, battery, site, series, width_kwh, end_value, energy_kwh, paid_kw, peak_price, guess_kw
    )
    run_back(lengths, slopes, heads, battery, site, series, width_kwh, end_value, peak_kw, 1)
    at_kwh = energy_kwh
    for slot in range(slots if whole else 1):
        after = (slot + 1) % rows
        at_kwh = step_forward(
            flows, lengths[after], slopes[after], heads[after], battery, site, series, slot, peak_kw, at_kwh
        )
    return cost, peak_kw


def many_sites(
    answers: Floats,
    battery: Floats,
    site: Floats,
    series: Floats,
    width_kwh: Floats,
    end_value: Floats,
    energy_kwh: Floats,
    paid_kw: Floats,
    peak_price: Floats,
    guess_kw: Floats,
) -> None:
    """One scenario for each of many sites: fills [site] with cost (EUR), peak (kW) and energy after slot 0 (kWh)."""
    flows = np.empty((FLOW_ROWS, site.shape[2]))
    for which in range(len(energy_kwh)):
        cost, peak_kw = one_stage(
            flows, battery[which], site[which], series[which], width_kwh[which], end_value[which], energy_kwh[which],
            paid_kw[which], peak_price[which], guess_kw[which], False,
        )  # fmt: skip
        answers[which, 0], answers[which, 1], answers[which, 2] = cost, peak_kw, flows[ENERGY, 0]
