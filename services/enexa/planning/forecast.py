"""What may come: cars as scenarios drawn from the site's past, sun from a clear-sky model, prices after the published.

Cars arrive as an inhomogeneous Poisson process with a rate per hour of the day for working days and weekends. The
rate starts at a prior (4.5 sessions a day, shaped like public rapid chargers) and moves to the site's own history as
observed days accumulate, the latest counting most. Energy, power and stay are drawn together from past sessions, early
on mixed with a prior. A car that finds every plug taken waits for the first to be free. What a car that is plugged now
still wants is drawn from past sessions of like power that took more than it has taken.
"""

import warnings
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from services.enexa.market.prices import PriceSeries
from services.enexa.planning.problem import Car, PvArray, SessionRecord
from shared.energy.slots import MARKET_ZONE, local_day

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

PRIOR_SESSIONS_PER_DAY = 4.5
PRIOR_DAYS = 1.0
KIND_DAYS = 5.0
"""So many days of a kind's own history weigh as much as all days together."""
HALF_LIFE_DAYS = 20.0
SMOOTHING = ((0, 0.3), (1, 0.2), (-1, 0.2), (2, 0.15), (-2, 0.15))
"""An arrival at one hour speaks for its neighbours too."""
PRIOR_SLACK_H = 0.2
"""How much longer than it needs a car stays, where nobody has watched yet."""
ALIKE_PART, ALIKE_LEAST, FEW_ALIKE = 4, 40, 5
"""A present car is likened to this part of the past sessions, those of nearest power, but to so many at least."""
PRIOR_SESSION_COUNT = 20.0
PRIOR_ENERGY_KWH = 32.0
PRIOR_POWER_KW = 95.0
# Share of a day's arrivals by local hour at public rapid chargers (Perth & Kinross, OGL v3), all days together.
PRIOR_HOURLY_SHARE = (
    0.004, 0.003, 0.002, 0.002, 0.001, 0.002, 0.007, 0.022, 0.046, 0.055, 0.066, 0.069,
    0.084, 0.083, 0.083, 0.091, 0.082, 0.086, 0.081, 0.053, 0.034, 0.022, 0.015, 0.007,
)  # fmt: skip
SIMILAR_DAYS = 5
ERROR_DAYS = 28
"""The error of a price estimate is drawn from so many past days."""
SKY_SHAPE, BRIGHTEST_RATIO = 4.0, 1.3
"""A day's sun over that of late is Gamma distributed with this shape, and never beyond so much of a clear sky."""


class ArrivalModel(Struct, frozen=True):
    """Expected sessions per hour, [working day, weekend] x 24 local hours, and the past that cars are drawn from."""

    rate_per_h: Floats
    energies_kwh: Floats
    powers_kw: Floats
    stays_h: Floats


def learn_arrivals(sessions: Sequence[SessionRecord], observed_days: Sequence[date]) -> ArrivalModel:
    """The model after `observed_days` (local days on which somebody watched, with or without a car).

    A day counts half as much when another `HALF_LIFE_DAYS` days have been observed after it: sites grow.
    """
    days = sorted(observed_days)
    place = {day: index for index, day in enumerate(days)}
    weights = 0.5 ** ((len(days) - 1 - np.arange(len(days))) / HALF_LIFE_DAYS)
    counts = np.zeros((2, 24))
    for session in sessions:
        local = session.start.astimezone(MARKET_ZONE)
        if local.date() in place:
            counts[_day_kind(local.date()), local.hour] += weights[place[local.date()]]
    kinds = np.array([_day_kind(day) for day in days], dtype=int)
    exposure = np.bincount(kinds, weights, 2)[:, None]
    smooth = sum((share * np.roll(counts, hours, axis=1) for hours, share in SMOOTHING), np.zeros((2, 24)))
    prior = np.array(PRIOR_HOURLY_SHARE) / sum(PRIOR_HOURLY_SHARE)
    level = (PRIOR_DAYS * PRIOR_SESSIONS_PER_DAY + counts.sum()) / (PRIOR_DAYS + weights.sum())
    shape = PRIOR_DAYS * prior + smooth.sum(axis=0) / PRIOR_SESSIONS_PER_DAY
    pooled = level * shape / shape.sum()
    rate = (KIND_DAYS * pooled + smooth) / (KIND_DAYS + exposure)
    energies_kwh = np.array([session.energy_kwh for session in sessions])
    powers_kw = np.array([max(session.max_power_kw, 1.0) for session in sessions])
    stays_h = np.array([(session.until - session.start).total_seconds() / 3600 for session in sessions])
    return ArrivalModel(rate, energies_kwh, powers_kw, stays_h)


def _day_kind(day: date) -> int:
    return 1 if day.weekday() >= 5 else 0


def sample_ev_kw(
    model: ArrivalModel,
    cars: Sequence[Car],
    start: datetime,
    minutes: int,
    samples: int,
    max_total_kw: float,
    rng: np.random.Generator,
    plugs: int = 2,
) -> Floats:
    """EV power at the outlets, [sample, minute] from `start`; cars plugged now go on until their drawn energy is in."""
    power_kw = _arrivals_kw(model, start, minutes, samples, plugs, rng)
    for car in cars:
        if car.power_kw > 0:
            _add_present(power_kw, model, car, rng)
    return np.minimum(power_kw, max_total_kw)


def _arrivals_kw(
    model: ArrivalModel, start: datetime, minutes: int, samples: int, plugs: int, rng: np.random.Generator
) -> Floats:
    sample, arrived = _arrivals(model, start, minutes, samples, rng)
    energies_kwh, powers_kw, stays_h = _draw_sessions(model, len(sample), rng)
    begun = _queue(sample, arrived, stays_h * 60, samples, plugs)
    # Each session is two steps up and two down in a running sum: whole minutes, then what is left in the last one.
    whole, rest = np.divmod(energies_kwh * 60 / powers_kw, 1.0)
    first = np.minimum(begun.astype(int), minutes)
    last = np.minimum(first + whole.astype(int), minutes)
    row = sample * (minutes + 1)
    at = np.concatenate([row + first, row + last, np.minimum(row + last + 1, row + minutes)])
    change = np.concatenate([powers_kw, powers_kw * (rest - 1), -powers_kw * rest])
    steps = np.bincount(at, change, samples * (minutes + 1)).reshape(samples, minutes + 1)
    power_kw = np.cumsum(steps[:, :-1], axis=1)
    return np.where(power_kw < 1e-6, 0.0, power_kw)


def _arrivals(
    model: ArrivalModel, start: datetime, minutes: int, samples: int, rng: np.random.Generator
) -> tuple[Integers, Floats]:
    """Sample and minute of each arrival, in order of time within each sample."""
    edges, rates = [0], []
    while edges[-1] < minutes:
        local = (start + timedelta(minutes=edges[-1])).astimezone(MARKET_ZONE)
        length = min(60 - local.minute, minutes - edges[-1])
        rates.append(model.rate_per_h[_day_kind(local.date()), local.hour] * length / 60)
        edges.append(edges[-1] + length)
    counts = rng.poisson(np.array(rates), (samples, len(rates)))
    sample = np.repeat(np.arange(samples), counts.sum(axis=1))
    hour = np.repeat(np.tile(np.arange(len(rates)), samples), counts.ravel())
    arrived = np.array(edges)[hour] + rng.random(len(hour)) * np.diff(edges)[hour]
    order = np.lexsort((arrived, sample))
    return sample, arrived[order]


def _queue(sample: Integers, arrived: Floats, stays_min: Floats, samples: int, plugs: int) -> Floats:
    """When each car gets a plug: at once, or when the first of the `plugs` cars before it leaves."""
    counts = np.bincount(sample, minlength=samples)
    place = np.arange(len(sample)) - np.repeat(np.cumsum(counts) - counts, counts)
    begun = arrived.copy()
    free = np.zeros((samples, plugs))
    for turn in range(int(counts.max(initial=0))):
        cars = np.flatnonzero(place == turn)
        rows = sample[cars]
        plug = free[rows].argmin(axis=1)
        begun[cars] = np.maximum(arrived[cars], free[rows, plug])
        free[rows, plug] = begun[cars] + stays_min[cars]
    return begun


def _draw_sessions(model: ArrivalModel, count: int, rng: np.random.Generator) -> tuple[Floats, Floats, Floats]:
    known = len(model.energies_kwh)
    energies_kwh = rng.gamma(3.0, PRIOR_ENERGY_KWH / 3.0, count)
    powers_kw = np.clip(rng.lognormal(np.log(PRIOR_POWER_KW), 0.4, count), 20.0, 300.0)
    stays_h = energies_kwh / powers_kw + PRIOR_SLACK_H
    if known:
        own = rng.random(count) < known / (known + PRIOR_SESSION_COUNT)
        index = rng.integers(0, known, count)
        energies_kwh = np.where(own, model.energies_kwh[index], energies_kwh)
        powers_kw = np.where(own, model.powers_kw[index], powers_kw)
        stays_h = np.where(own, model.stays_h[index], stays_h)
    energies_kwh = np.maximum(energies_kwh, 0.1)
    return energies_kwh, powers_kw, np.maximum(stays_h, energies_kwh / powers_kw)


def alike_kwh(model: ArrivalModel, power_kw: float, taken_kwh: float) -> Floats:
    """What cars of like power took beyond `taken_kwh`, where they took more: the rest that a present car may want."""
    count = max(len(model.powers_kw) // ALIKE_PART, ALIKE_LEAST)
    alike = model.energies_kwh[np.argsort(np.abs(model.powers_kw - power_kw), kind="stable")[:count]]
    return np.asarray(alike[alike > taken_kwh + 1.0] - taken_kwh)


def _add_present(power_kw: Floats, model: ArrivalModel, car: Car, rng: np.random.Generator) -> None:
    """The rest of a session, from those of like power that took more than this one has taken so far."""
    rest_kwh = alike_kwh(model, car.power_kw, car.energy_kwh)
    if len(rest_kwh) < FEW_ALIKE:
        pool_kwh, _, _ = _draw_sessions(model, 400, rng)
        rest_kwh = pool_kwh[pool_kwh > car.energy_kwh + 1.0] - car.energy_kwh
    drawn_kwh = rng.choice(rest_kwh, len(power_kw)) if len(rest_kwh) else np.full(len(power_kw), 5.0)
    minutes = np.arange(power_kw.shape[1])
    power_kw += np.clip(drawn_kwh[:, None] * 60 - car.power_kw * minutes, 0.0, car.power_kw)


def estimate_prices(series: PriceSeries, starts: Sequence[datetime]) -> tuple[tuple[float, ...], tuple[bool, ...]]:
    """The price of each slot and whether it is published; later slots get the mean of the last similar days."""
    known = series.on_grid(starts)
    prices = tuple(
        price if price is not None else _similar(series, start) for price, start in zip(known, starts, strict=True)
    )
    return prices, tuple(price is not None for price in known)


def _similar(series: PriceSeries, start: datetime) -> float:
    found = _similar_before(series, start) or list(series.price_eur_per_mwh[-96:])
    return float(np.mean(found)) if found else 0.0


def _similar_before(series: PriceSeries, start: datetime) -> list[float]:
    """The prices at this local time on the last days of the same kind, or else of the other."""
    kind = _day_kind(local_day(start))
    alike: list[float] = []
    other: list[float] = []
    for days in range(1, 22):
        earlier = _days_before(start, days, MARKET_ZONE)
        price = series.price_at(earlier)
        if price is not None:
            (alike if _day_kind(local_day(earlier)) == kind else other).append(price)
        if len(alike) == SIMILAR_DAYS:
            break
    return alike or other


def price_errors(
    series: PriceSeries, starts: Sequence[datetime], published: Sequence[bool], samples: int, rng: np.random.Generator
) -> Floats:
    """[sample, slot] what to add to the estimated prices, EUR/MWh: 0 where published.

    Each local day of each sample takes the errors of one past day, hour by hour: what that day's prices were beyond
    what the days before it let expect. So an error has the shape and the size that errors have here.
    """
    errors = np.zeros((samples, len(starts)))
    first = published.index(False) if False in published else len(starts)
    hours = [start.replace(minute=0) for start in starts]
    days = sorted({local_day(start) for start in starts[first:]})
    found: dict[datetime, float | None] = {}
    for day in days:
        drawn = rng.permutation(np.resize(np.arange(1, ERROR_DAYS + 1), max(samples, ERROR_DAYS)))[:samples]
        for slot in (slot for slot, start in enumerate(starts) if not published[slot] and local_day(start) == day):
            for sample, back in enumerate(drawn):
                # From as many days before the first day without prices, whose errors are known today.
                earlier = _days_before(hours[slot], int(back) + (day - days[0]).days, MARKET_ZONE)
                if earlier not in found:
                    found[earlier] = _estimate_error(series, earlier)
                errors[sample, slot] = found[earlier] or 0.0
    return errors


def _estimate_error(series: PriceSeries, at: datetime) -> float | None:
    """The price at `at` beyond its estimate from the days before; None where either is unknown."""
    price = series.price_at(at)
    alike = _similar_before(series, at)
    return None if price is None or not alike else price - float(np.mean(alike))


def sky_factors(recent_ratio: float, starts: Sequence[datetime], samples: int, rng: np.random.Generator) -> Floats:
    """[sample, slot] the sun of each local day over that of late, one draw for each day."""
    days = sorted({local_day(start) for start in starts})
    drawn = rng.gamma(SKY_SHAPE, 1 / SKY_SHAPE, (samples, len(days)))
    brightest = BRIGHTEST_RATIO / max(recent_ratio, 0.01)
    return np.asarray(np.minimum(drawn, brightest)[:, [days.index(local_day(start)) for start in starts]])


def _days_before(start: datetime, days: int, zone: ZoneInfo) -> datetime:
    """The same local time some days earlier."""
    local = start.astimezone(zone).replace(tzinfo=None) - timedelta(days=days)
    return local.replace(tzinfo=zone).astimezone(UTC)


def clear_sky_pv_kw(pv: PvArray, starts: Sequence[datetime], slot_s: int) -> tuple[float, ...]:
    """Clear-sky power at the middle of each slot times the recent ratio, kW; imports pvlib, so only in a worker."""
    import pandas as pd  # noqa: PLC0415  heavy, and only sites with PV need it
    from pvlib.irradiance import get_total_irradiance  # noqa: PLC0415  as above
    from pvlib.location import Location  # noqa: PLC0415  as above

    times = pd.DatetimeIndex([start + timedelta(seconds=slot_s / 2) for start in starts])
    place = Location(pv.latitude_deg, pv.longitude_deg)
    with warnings.catch_warnings():
        # pvlib 0.16 still asks pandas for an attribute that pandas 4 will drop; nothing we could do differently.
        warnings.simplefilter("ignore", DeprecationWarning)
        sky = place.get_clearsky(times, model="haurwitz")
        sun = place.get_solarposition(times)
    plane = get_total_irradiance(
        pv.tilt_deg, pv.azimuth_deg, sun["apparent_zenith"], sun["azimuth"],
        dni=0.0 * sky["ghi"], ghi=sky["ghi"], dhi=sky["ghi"],
    )  # fmt: skip
    watts = np.nan_to_num(np.asarray(plane["poa_global"], dtype=float))
    kw = pv.peak_kw * (1 - pv.loss_ratio) * np.maximum(watts, 0.0) / 1000 * pv.recent_ratio
    return tuple(float(value) for value in kw)
