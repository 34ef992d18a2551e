"""From the facts of a request to a problem on the slot grid: forecasts drawn, prices completed, energy valued."""

from calendar import monthrange
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TypeAlias

import numpy as np

from services.enexa.market.tariffs import Tariff
from services.enexa.planning.forecast import (
    Floats,
    clear_sky_pv_kw,
    estimate_prices,
    learn_arrivals,
    price_errors,
    sample_ev_kw,
    sky_factors,
)
from services.enexa.planning.layout import Integers
from services.enexa.planning.problem import BatteryString, ImportCap, Outcome, PlanProblem, PlanRequest, Plant, Scenario
from services.enexa.planning.tuning import Tuning
from shared.energy.slots import MARKET_ZONE, SLOT_S, local_day, slot_starts
from shared.errors import InputsStale, OutOfBounds

Columns: TypeAlias = tuple[tuple[float, ...] | None, ...]
POLICY_SAMPLES = 200
OUTCOMES = 6
MAX_HORIZON_H = 72.0


def assemble(request: PlanRequest) -> PlanProblem:
    """The problem of a request; refuses facts that no plan could be made of, naming the field."""
    check(request)
    tuning, plant = request.tuning, request.plant
    starts = slot_starts(request.now, request.now + timedelta(hours=tuning.horizon_h))
    prices, published = estimate_prices(request.prices, starts)
    first_slot_s = max(SLOT_S - (request.now - starts[0]).total_seconds(), 1.0)
    caps_kw = import_caps_kw(request, starts)
    ev_kw = _ev_minutes(request, starts, first_slot_s)
    own_kw = (request.own_consumption_kw,) * len(starts)
    pv_kw = clear_sky_pv_kw(request.pv, starts, SLOT_S) if request.pv else (0.0,) * len(starts)
    shares = substeps(ev_kw, first_slot_s, len(starts), gap_limit_kw(request, caps_kw))
    return PlanProblem(
        site_id=request.site_id,
        version=request.version,
        now=request.now,
        plant=plant,
        tariff=request.tariff,
        tuning=tuning,
        starts=starts,
        slot_s=SLOT_S,
        first_slot_s=first_slot_s,
        price_eur_per_mwh=prices,
        price_published=published,
        own_kw=own_kw,
        ev_loss_ratio=request.ev_loss_ratio,
        pv_kw=pv_kw,
        import_cap_kw=caps_kw,
        scenarios=_scenarios(
            shares,
            max(tuning.scenario_count, 1),
            _pv_by_scenario(request, starts, pv_kw),
            _prices_by_scenario(request, starts, prices, published),
        ),
        outcomes=_outcomes(shares),
        energy_kwh=tuple(s.capacity_kwh * soc / 100 for s, soc in zip(plant.strings, request.soc_pct, strict=True)),
        reserve_need_kwh=_reserve_need_kwh(request, shares, caps_kw, first_slot_s),
        peak_so_far_kw=request.peak_so_far_kw,
        peak_eur_per_kw=peak_eur_per_kw(request),
        end_value_eur_per_kwh=end_value_eur_per_kwh(plant, request.tariff, tuning, prices),
        battery_import_cap_kw=battery_import_cap_kw(request, starts),
        discharged_today_kwh=request.discharged_today_kwh,
    )


def check(request: PlanRequest) -> None:
    """Refuse what cannot be planned with, naming the field."""
    plant = request.plant
    if len(request.soc_pct) != len(plant.strings):
        raise OutOfBounds("soc_pct needs one entry per string", field="soc_pct", given=len(request.soc_pct))
    for string in plant.strings:
        if not 0 <= string.soc_min_pct < string.soc_max_pct <= 100:
            raise OutOfBounds("The SOC window is upside down", field="soc_min_pct", soc_min_pct=string.soc_min_pct)
        _check_curve(string)
    if any(not 0 <= soc <= 100 for soc in request.soc_pct):
        raise OutOfBounds("A state of charge lies outside 0 to 100 %", field="soc_pct")
    if not 0 < request.tuning.horizon_h <= MAX_HORIZON_H:
        raise OutOfBounds("The horizon must be more than 0 and at most 72 h", field="horizon_h",
                          horizon_h=request.tuning.horizon_h)  # fmt: skip
    if request.prices.price_at(request.now) is None:
        raise InputsStale("No price covers the present slot; import today's prices", field="prices")


def _check_curve(string: BatteryString) -> None:
    """The curve rises in power and falls in efficiency, or the best plan would start at its end."""
    segments = string.segments()
    widths = string.segment_ratios()
    ratios = [(s.charge_efficiency_ratio, s.discharge_efficiency_ratio) for s in segments]
    if min(widths) <= 0 or any(not 0 < ratio <= 1 for pair in ratios for ratio in pair):
        raise OutOfBounds("An efficiency curve needs rising powers and ratios of 0 to 1", field="knees")
    if any(after[way] > before[way] for before, after in pairwise(ratios) for way in (0, 1)):
        raise OutOfBounds("An efficiency curve may only get worse with power", field="knees")
    if string.deep_wear_eur_per_kwh < 0:
        raise OutOfBounds("Wear by depth cannot earn money", field="deep_wear_eur_per_kwh")


def import_caps_kw(request: PlanRequest, starts: tuple[datetime, ...]) -> tuple[float, ...]:
    """The lowest import limit in force in each slot, kW; a cap on what is steerable leaves own consumption free."""
    plant, own_kw = request.plant, request.own_consumption_kw
    limits = [plant.import_limit_kw] * len(starts)
    for cap in request.caps:
        if cap.steerable_only and plant.public_points:
            continue
        free_kw = own_kw if cap.steerable_only else 0.0
        _hold(limits, cap, cap.import_kw + free_kw, starts)
    return tuple(limits)


def battery_import_cap_kw(request: PlanRequest, starts: tuple[datetime, ...]) -> tuple[float, ...] | None:
    """What the battery may charge from the grid in each slot, kW; None where nobody holds it."""
    caps = [cap for cap in request.caps if cap.steerable_only]
    if not any(any(_in_force(cap, starts)) for cap in caps):
        return None
    held = [sum(string.max_charge_kw for string in request.plant.strings)] * len(starts)
    for cap in caps:
        _hold(held, cap, cap.import_kw, starts)
    return tuple(held)


def _hold(limits: list[float], cap: ImportCap, limit_kw: float, starts: tuple[datetime, ...]) -> None:
    for slot, now in enumerate(_in_force(cap, starts)):
        if now:
            limits[slot] = min(limits[slot], limit_kw)


def _in_force(cap: ImportCap, starts: tuple[datetime, ...]) -> tuple[bool, ...]:
    slot = timedelta(seconds=SLOT_S)
    return tuple(cap.start < start + slot and (cap.until is None or cap.until > start) for start in starts)


def gap_limit_kw(request: PlanRequest, caps_kw: tuple[float, ...]) -> tuple[float, ...]:
    """The EV power above which the battery must help, per slot."""
    spare_kw = (max(cap - request.own_consumption_kw, 0.0) for cap in caps_kw)
    return tuple(kw / (1 + request.ev_loss_ratio) for kw in spare_kw)


def end_value_eur_per_kwh(plant: Plant, tariff: Tariff, tuning: Tuning, prices: Sequence[float]) -> float:
    """What a kWh left in the cells is worth: what it costs to charge it in a cheap hour of the last day planned."""
    if not plant.strings:
        return 0.0
    cheap = float(np.quantile(prices[-96:], tuning.end_value_quantile_ratio))
    buy = tariff.import_eur_per_kwh(cheap)
    return max(buy + tariff.wear_eur_per_kwh, 0.0) / plant.strings[0].charge_efficiency_ratio


def peak_eur_per_kw(request: PlanRequest) -> float:
    """What one more kW of this month's peak costs now.

    A month's charge is paid for its highest quarter hour. Early in the month a higher one will probably come anyway, so
    a kW costs only the share of the month seen by the end of the horizon; on the last day it costs the whole month.
    """
    local = request.now.astimezone(MARKET_ZONE)
    month_days = monthrange(local.year, local.month)[1]
    seen_days = min(local.day - 1 + request.tuning.horizon_h / 24, float(month_days))
    return request.tariff.peak_eur_per_kw(365 / 12) * seen_days / month_days


def _reserve_need_kwh(
    request: PlanRequest, shares: Floats, caps_kw: tuple[float, ...], first_slot_s: float
) -> tuple[float, ...]:
    """The energy in the cells that suffices at each slot's start in all but `reserve_risk_ratio` of the samples."""
    if not request.plant.strings:
        return (0.0,) * len(caps_kw)
    string, loss = request.plant.strings[0], 1 + request.ev_loss_ratio
    spare_kw = np.maximum(np.array(caps_kw) - request.own_consumption_kw, 0.0)
    hours = np.full(len(caps_kw), SLOT_S / 3600)
    hours[0] = first_slot_s / 3600
    share, high_kw, low_kw = shares
    taken = share * np.maximum(high_kw * loss - spare_kw, 0.0) * hours / string.discharge_efficiency_ratio
    given = (1 - share) * np.maximum(spare_kw - low_kw * loss, 0.0) * hours * string.charge_efficiency_ratio
    need = np.zeros((len(caps_kw) + 1, shares.shape[1]))
    for slot in range(len(caps_kw) - 1, -1, -1):
        need[slot] = np.maximum(need[slot + 1] - given[:, slot], 0.0) + taken[:, slot]
    return tuple(np.quantile(need[:-1], 1 - request.tuning.reserve_risk_ratio, axis=1).tolist())


def _ev_minutes(request: PlanRequest, starts: tuple[datetime, ...], first_slot_s: float) -> Floats:
    """EV power [sample, minute] from now on; the first slot is alike in all samples, for it is what is known."""
    days = request.observed_days or tuple(sorted({local_day(session.start) for session in request.sessions}))
    model = learn_arrivals(request.sessions, days)
    minutes = round(first_slot_s / 60) + (len(starts) - 1) * SLOT_S // 60
    rng = np.random.default_rng(request.tuning.seed)
    plant = request.plant
    ev_kw = sample_ev_kw(
        model, request.cars, request.now, minutes, POLICY_SAMPLES, plant.max_charger_kw, rng, plugs=plant.charger_count
    )
    first = round(first_slot_s / 60)
    present_kw = min(sum(car.power_kw for car in request.cars), plant.max_charger_kw)
    ev_kw[:, :first] = present_kw
    return ev_kw


def substeps(ev_kw: Floats, first_slot_s: float, slots: int, limit_kw: tuple[float, ...]) -> Floats:
    """Each slot's minutes as two sub-steps: [high share, high kW, low kW] x sample x slot."""
    first = round(first_slot_s / 60)
    lengths = np.full(slots, SLOT_S // 60)
    lengths[0] = first
    minutes = ev_kw[:, : lengths.sum()]
    above = minutes > np.repeat(np.array(limit_kw), lengths)
    result = np.zeros((3, ev_kw.shape[0], slots))
    # A first slot of no whole minute has no minutes to sum; its demand is nothing.
    whole = slice(0 if first else 1, None)
    edges = (np.cumsum(lengths) - lengths)[whole]
    count = np.add.reduceat(above, edges, axis=1, dtype=int)
    high = np.add.reduceat(np.where(above, minutes, 0.0), edges, axis=1)
    low = np.add.reduceat(np.where(above, 0.0, minutes), edges, axis=1)
    rest = lengths[whole] - count
    result[0, :, whole] = count / lengths[whole]
    result[1, :, whole] = np.divide(high, count, out=np.zeros_like(high), where=count > 0)
    result[2, :, whole] = np.divide(low, rest, out=np.zeros_like(low), where=rest > 0)
    return result


def _scenarios(shares: Floats, count: int, pv_kw: Columns, prices: Columns) -> tuple[Scenario, ...]:
    picked = shares[:, :count, :]
    return tuple(
        Scenario(
            weight=1 / picked.shape[1],
            high_share=tuple(picked[0, sample].tolist()),
            high_kw=tuple(picked[1, sample].tolist()),
            low_kw=tuple(picked[2, sample].tolist()),
            pv_kw=pv_kw[sample],
            price_eur_per_mwh=prices[sample],
        )
        for sample in range(picked.shape[1])
    )


def _pv_by_scenario(request: PlanRequest, starts: tuple[datetime, ...], pv_kw: tuple[float, ...]) -> Columns:
    """The sun of each scenario: each local day as bright as chance has it; the present slot is as it is."""
    count = max(min(request.tuning.scenario_count, POLICY_SAMPLES), 1)
    if request.pv is None or count == 1 or not any(pv_kw[1:]):
        return (None,) * count
    rng = np.random.default_rng([request.tuning.seed, 1])
    bright = sky_factors(request.pv.recent_ratio, starts, count, rng)
    bright[:, 0] = 1.0
    return tuple(tuple(column.tolist()) for column in np.array(pv_kw) * bright)


def _prices_by_scenario(
    request: PlanRequest, starts: tuple[datetime, ...], prices: tuple[float, ...], published: tuple[bool, ...]
) -> Columns:
    """The prices of each scenario: the published ones, and behind them the estimate with the error of some past day."""
    count = max(min(request.tuning.scenario_count, POLICY_SAMPLES), 1)
    if count == 1 or all(published):
        return (None,) * count
    rng = np.random.default_rng([request.tuning.seed, 2])
    errors = price_errors(request.prices, starts, published, count, rng)
    return tuple(tuple(column.tolist()) for column in np.array(prices) + errors)


def _outcomes(shares: Floats) -> tuple[Outcome, ...]:
    table = outcome_table(shares)
    return tuple(
        Outcome(
            probability=tuple(table[0, index].tolist()),
            high_share=tuple(table[1, index].tolist()),
            high_kw=tuple(table[2, index].tolist()),
            low_kw=tuple(table[3, index].tolist()),
        )
        for index in range(OUTCOMES)
    )


def outcome_table(shares: Floats) -> Floats:
    """[probability, high share, high kW, low kW] x outcome x slot: nobody there, the rest by energy in equal groups."""
    _, samples, slots = shares.shape
    share, high_kw, low_kw = shares
    group = _energy_group(share * high_kw + (1 - share) * low_kw) + OUTCOMES * np.arange(slots)

    def total(weights: Floats) -> Floats:
        sums = np.bincount(group.ravel(), weights.ravel(), OUTCOMES * slots).astype(float)
        return sums.reshape(slots, OUTCOMES).T

    count, shares_sum = total(np.ones_like(share)), total(share)
    rest_sum = total(1 - share)
    table = np.zeros((4, OUTCOMES, slots))
    table[0] = count / samples
    np.divide(shares_sum, count, out=table[1], where=count > 0)
    np.divide(total(share * high_kw), shares_sum, out=table[2], where=shares_sum > 0)
    np.divide(total((1 - share) * low_kw), rest_sum, out=table[3], where=rest_sum > 0)
    return table


def _energy_group(energy: Floats) -> Integers:
    """The group of each sample and slot: 0 where nobody is there, else 1 to OUTCOMES - 1, of equal size, by energy."""
    samples, slots = energy.shape
    groups = OUTCOMES - 1
    busy = (energy > 0).sum(axis=0)
    rank = np.empty((samples, slots), dtype=int)
    np.put_along_axis(rank, energy.argsort(axis=0, kind="stable"), np.arange(samples)[:, None], axis=0)
    rank -= samples - busy
    size, larger = np.divmod(busy, groups)
    in_larger = rank // (size + 1)
    in_others = larger + (rank - larger * (size + 1)) // np.maximum(size, 1)
    return np.where(rank < 0, 0, 1 + np.where(rank < larger * (size + 1), in_larger, in_others))
