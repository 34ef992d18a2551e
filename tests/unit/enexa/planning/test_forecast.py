"""Forecasts start at priors, move to the site's own history, and are calibrated where history is long."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from msgspec.structs import replace

from services.enexa.market.prices import daily_series
from services.enexa.planning.forecast import (
    PRIOR_SESSIONS_PER_DAY,
    alike_kwh,
    clear_sky_pv_kw,
    estimate_prices,
    learn_arrivals,
    sample_ev_kw,
)
from services.enexa.planning.problem import PvArray, SessionRecord
from shared.energy.slots import slots_of_day

MONDAY = datetime(2024, 6, 3, tzinfo=UTC)


def history(days: int, hours: tuple[int, ...], *, energy_kwh: float = 30.0) -> tuple[SessionRecord, ...]:
    return tuple(
        SessionRecord(
            start=MONDAY + timedelta(days=day, hours=hour),
            until=MONDAY + timedelta(days=day, hours=hour, minutes=30),
            energy_kwh=energy_kwh,
            max_power_kw=90.0,
        )
        for day in range(days)
        for hour in hours
    )


def test_without_history_the_prior_speaks() -> None:
    model = learn_arrivals((), ())

    assert model.rate_per_h.sum(axis=1) == pytest.approx([PRIOR_SESSIONS_PER_DAY] * 2)


def test_a_long_history_outweighs_the_prior() -> None:
    sessions = history(84, (6, 8, 10, 12, 14, 16, 18, 20))
    days = tuple(date(2024, 6, 3) + timedelta(days=day) for day in range(84))

    model = learn_arrivals(sessions, days)

    assert model.rate_per_h.sum(axis=1) == pytest.approx([8.0, 8.0], rel=0.1)


def test_observed_days_without_a_car_lower_the_rate() -> None:
    days = tuple(date(2024, 6, 3) + timedelta(days=day) for day in range(60))

    assert learn_arrivals((), days).rate_per_h.sum(axis=1).max() < 1.0


def test_the_drawn_energy_is_what_the_history_had() -> None:
    sessions = history(200, (9, 12, 15), energy_kwh=40.0)
    days = tuple(date(2024, 6, 3) + timedelta(days=day) for day in range(200))
    model = learn_arrivals(sessions, days)

    ev_kw = sample_ev_kw(model, (), MONDAY, 3 * 1440, 200, 300.0, np.random.default_rng(1))

    daily_kwh = ev_kw.sum(axis=1) / 60 / 3
    assert daily_kwh.mean() == pytest.approx(3 * 40.0, rel=0.12)


def test_ninety_percent_of_days_fall_inside_the_ninety_percent_band() -> None:
    rng = np.random.default_rng(5)
    true_model = learn_arrivals((), ())
    power = sample_ev_kw(true_model, (), MONDAY, 1440, 400, 300.0, rng)
    forecast = sample_ev_kw(true_model, (), MONDAY, 1440, 400, 300.0, np.random.default_rng(6))
    low, high = np.quantile(forecast.sum(axis=1), [0.05, 0.95])

    inside = np.mean((power.sum(axis=1) >= low) & (power.sum(axis=1) <= high))

    assert 0.84 < inside < 0.96


def test_the_latest_days_count_most() -> None:
    days = tuple(date(2024, 6, 3) + timedelta(days=day) for day in range(80))
    quiet_then_busy = [each for each in history(80, (9, 12, 15, 18)) if each.start >= MONDAY + timedelta(days=40)]
    busy_then_quiet = [each for each in history(80, (9, 12, 15, 18)) if each.start < MONDAY + timedelta(days=40)]

    grown, shrunk = learn_arrivals(quiet_then_busy, days), learn_arrivals(busy_then_quiet, days)

    assert grown.rate_per_h.sum(axis=1).min() > 2.5
    assert shrunk.rate_per_h.sum(axis=1).max() < 1.5


@pytest.mark.parametrize("plugs", [1, 2])
def test_no_more_cars_draw_at_once_than_there_are_plugs(plugs: int) -> None:
    sessions = history(60, tuple(range(6, 20)) * 2)
    model = learn_arrivals(sessions, tuple(date(2024, 6, 3) + timedelta(days=day) for day in range(60)))
    rng = np.random.default_rng(3)

    ev_kw = sample_ev_kw(replace(model, powers_kw=model.powers_kw * 0 + 400.0), (), MONDAY, 1440, 100, 1e6, rng, plugs)

    assert plugs * 300.0 < ev_kw.max() <= plugs * 400.0 + 1e-6


def test_a_present_car_goes_on_as_cars_of_like_power_did() -> None:
    weak = [replace(each, max_power_kw=50.0, energy_kwh=15.0) for each in history(60, (9,))]
    strong = [replace(each, max_power_kw=150.0, energy_kwh=60.0) for each in history(60, (12,))]
    model = learn_arrivals([*weak, *strong], ())

    assert alike_kwh(model, 55.0, 5.0) == pytest.approx(10.0)
    assert alike_kwh(model, 140.0, 5.0) == pytest.approx(55.0)
    assert len(alike_kwh(model, 55.0, 14.5)) == 0


def test_prices_beyond_the_published_come_from_similar_days() -> None:
    profile = tuple(float(quarter) for quarter in range(96))
    known = daily_series(profile, date(2024, 6, 3), 7)
    starts = slots_of_day(date(2024, 6, 10))

    prices, published = estimate_prices(known, starts)

    assert not any(published)
    assert prices == pytest.approx(profile)


@pytest.mark.timeout(120)  # the first import of pvlib on a busy machine
def test_the_sun_shines_by_day_only() -> None:
    starts = slots_of_day(date(2024, 6, 21))
    kw = clear_sky_pv_kw(PvArray(peak_kw=50.0, recent_ratio=1.0), starts, 900)

    assert kw[0] == kw[95] == 0.0
    assert 30.0 < max(kw) < 50.0
    assert 45 <= kw.index(max(kw)) <= 60
