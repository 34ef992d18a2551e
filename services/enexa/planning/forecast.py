"""What may come: cars as scenarios drawn from the site's past, sun from a clear-sky model, prices after the published.

Cars arrive as an inhomogeneous Poisson process with a rate per hour of the day for working days and weekends. The
rate starts at a prior (4.5 sessions a day, shaped like public rapid chargers) and moves to the site's own history as
observed days accumulate. Energies and powers are drawn in pairs from past sessions, early on mixed with a prior.
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

PRIOR_SESSIONS_PER_DAY = 4.5
PRIOR_DAYS = 5.0
PRIOR_SESSION_COUNT = 20.0
PRIOR_ENERGY_KWH = 32.0
PRIOR_POWER_KW = 95.0
# Share of a day's arrivals by local hour at public rapid chargers (Perth & Kinross, OGL v3), all days together.
PRIOR_HOURLY_SHARE = (
    0.004, 0.003, 0.002, 0.002, 0.001, 0.002, 0.007, 0.022, 0.046, 0.055, 0.066, 0.069,
    0.084, 0.083, 0.083, 0.091, 0.082, 0.086, 0.081, 0.053, 0.034, 0.022, 0.015, 0.007,
)  # fmt: skip
SIMILAR_DAYS = 5


class ArrivalModel(Struct, frozen=True):
    """Expected sessions per hour, [working day, weekend] x 24 local hours, and the pairs sessions are drawn from."""

    rate_per_h: Floats
    energies_kwh: Floats
    powers_kw: Floats


def learn_arrivals(sessions: Sequence[SessionRecord], observed_days: Sequence[date]) -> ArrivalModel:
    """The model after `observed_days` (local days on which somebody watched, with or without a car)."""
    share = np.array(PRIOR_HOURLY_SHARE)
    prior_rate = PRIOR_SESSIONS_PER_DAY * share / share.sum()
    counts = np.zeros((2, 24))
    for session in sessions:
        local = session.start.astimezone(MARKET_ZONE)
        counts[_day_kind(local.date()), local.hour] += 1
    exposure = np.array([[float(sum(_day_kind(day) == kind for day in observed_days))] for kind in (0, 1)])
    smooth = (np.roll(counts, 1, axis=1) + 2 * counts + np.roll(counts, -1, axis=1)) / 4
    days = float(len(observed_days))
    level = (PRIOR_DAYS * PRIOR_SESSIONS_PER_DAY + len(sessions)) / (PRIOR_DAYS + days)
    pooled_shape = PRIOR_DAYS * prior_rate / PRIOR_SESSIONS_PER_DAY + smooth.sum(axis=0) / PRIOR_SESSIONS_PER_DAY
    pooled = level * pooled_shape / pooled_shape.sum()
    rate = (PRIOR_DAYS * pooled + smooth) / (PRIOR_DAYS + exposure)
    return ArrivalModel(
        rate, np.array([s.energy_kwh for s in sessions]), np.array([max(s.max_power_kw, 1.0) for s in sessions])
    )


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
) -> Floats:
    """EV power at the outlets, [sample, minute] from `start`; cars plugged now go on until their drawn energy is in."""
    power_kw = np.zeros((samples, minutes))
    _add_arrivals(power_kw, model, start, rng)
    for car in cars:
        if car.power_kw > 0:
            _add_present(power_kw, model, car, rng)
    return np.minimum(power_kw, max_total_kw)


def _add_arrivals(power_kw: Floats, model: ArrivalModel, start: datetime, rng: np.random.Generator) -> None:
    samples, minutes = power_kw.shape
    hour_start = 0
    while hour_start < minutes:
        local = (start + timedelta(minutes=hour_start)).astimezone(MARKET_ZONE)
        length = min(60 - local.minute, minutes - hour_start)
        rate = model.rate_per_h[_day_kind(local.date()), local.hour] * length / 60
        counts = rng.poisson(rate, samples)
        sample = np.repeat(np.arange(samples), counts)
        begin = hour_start + rng.integers(0, length, len(sample))
        energies_kwh, powers_kw = _draw_sessions(model, len(sample), rng)
        for row, first, energy_kwh, kw in zip(sample, begin, energies_kwh, powers_kw, strict=True):
            _charge(power_kw[row], int(first), float(energy_kwh), float(kw))
        hour_start += length


def _charge(row: Floats, first: int, energy_kwh: float, kw: float) -> None:
    whole, rest = divmod(energy_kwh * 60 / kw, 1.0)
    last = first + int(whole)
    row[first:last] += kw
    if last < len(row):
        row[last] += kw * rest


def _draw_sessions(model: ArrivalModel, count: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    known = len(model.energies_kwh)
    energies_kwh = rng.gamma(3.0, PRIOR_ENERGY_KWH / 3.0, count)
    powers_kw = np.clip(rng.lognormal(np.log(PRIOR_POWER_KW), 0.4, count), 20.0, 300.0)
    if known:
        own = rng.random(count) < known / (known + PRIOR_SESSION_COUNT)
        index = rng.integers(0, known, count)
        energies_kwh = np.where(own, model.energies_kwh[index], energies_kwh)
        powers_kw = np.where(own, model.powers_kw[index], powers_kw)
    return np.maximum(energies_kwh, 0.1), powers_kw


def _add_present(power_kw: Floats, model: ArrivalModel, car: Car, rng: np.random.Generator) -> None:
    """The rest of a session, from those that took more than this one has taken so far."""
    pool_kwh, _ = _draw_sessions(model, 400, rng)
    longer = pool_kwh[pool_kwh > car.energy_kwh + 1.0]
    rest_kwh = longer - car.energy_kwh if len(longer) else np.array([5.0])
    for row in power_kw:
        _charge(row, 0, float(rng.choice(rest_kwh)), car.power_kw)


def estimate_prices(series: PriceSeries, starts: Sequence[datetime]) -> tuple[tuple[float, ...], tuple[bool, ...]]:
    """The price of each slot and whether it is published; later slots get the mean of the last similar days."""
    known = series.on_grid(starts)
    prices = tuple(
        price if price is not None else _similar(series, start) for price, start in zip(known, starts, strict=True)
    )
    return prices, tuple(price is not None for price in known)


def _similar(series: PriceSeries, start: datetime) -> float:
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
    found = alike or other or list(series.price_eur_per_mwh[-96:])
    return float(np.mean(found)) if found else 0.0


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
