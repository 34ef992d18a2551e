"""The coarse plant closes its books, serves cars by rule, and is the same function compiled."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from services.enexa.market.prices import daily_series
from services.enexa.market.tariffs import Tariff
from services.enexa.planning.compiled import fast_backward
from services.enexa.planning.problem import Plant
from services.enexa.simulation.compiled import fast_run_steps
from services.enexa.simulation.kpis import Kpis, kpis_of
from services.enexa.simulation.plant import CHARGE, DISCHARGE, ENERGY, EV, EXPORT, IMPORT, OWN, PV_USED, WISH, WISHES
from services.enexa.simulation.scenarios import CHARGEPOST, OLD_PLANT
from services.enexa.simulation.site import Losses, Run, Stretch, Visit, run_reactive, stretch
from services.enexa.simulation.smartems import History, Knows, SmartEms

START = datetime(2024, 6, 15, 4, 0, tzinfo=UTC)
PROFILE = tuple(40.0 + 60.0 * (quarter % 8) for quarter in range(96))


def day(seed: int, plant: Plant, cars: int = 8, pv_kw: float = 0.0) -> Stretch:
    rng = np.random.default_rng(seed)
    begins = np.sort(rng.integers(0, 600, cars))
    visits = [
        Visit(
            start=START + timedelta(minutes=int(begin)),
            until=START + timedelta(minutes=int(begin) + int(rng.integers(10, 60))),
            energy_kwh=float(rng.uniform(5, 60)),
            max_power_kw=float(rng.uniform(40, 200)),
        )
        for begin in begins
    ]
    return stretch(
        start=START,
        minutes=720,
        plant=plant,
        tariff=Tariff(),
        prices=daily_series(PROFILE, START.date() - timedelta(days=20), 23),
        visits=visits,
        start_soc_pct=60.0,
        ev_loss_ratio=0.05,
        own_kw=0.4,
        pv_kw=pv_kw * rng.uniform(0, 1, 720),
    )


def check(run: Run) -> Kpis:
    stretch_of, record = run.given, run.record
    into = record[IMPORT] - record[EXPORT] + record[PV_USED] + record[DISCHARGE] - record[CHARGE]
    assert np.abs(into - record[EV] - record[OWN]).max() < 1e-9
    if stretch_of.losses is None:
        assert np.abs(record[OWN] - stretch_of.ev_loss_ratio * record[EV] - stretch_of.own_kw).max() < 1e-9
    assert record[IMPORT].max() <= stretch_of.plant.import_limit_kw + 1e-9
    assert record[EXPORT].max() <= stretch_of.plant.export_limit_kw + 1e-9
    assert (record[PV_USED] <= stretch_of.pv_kw + 1e-9).all()
    assert np.minimum(record[CHARGE], record[DISCHARGE]).max() == 0.0
    capacity = sum(s.capacity_kwh for s in stretch_of.plant.strings)
    floor = stretch_of.plant.strings[0].soc_min_pct / 100 * capacity
    assert record[ENERGY].min() >= floor - 1e-6
    assert record[ENERGY].max() <= capacity * 0.9 + 1e-6
    served = stretch_of.car_kwh.sum() - run.rest_kwh.sum()
    assert served == pytest.approx(record[EV].sum() / 60, abs=1e-6)
    return kpis_of(run)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(min_value=0, max_value=10_000), st.sampled_from([CHARGEPOST, OLD_PLANT]), st.sampled_from([0.0, 90.0])
)
def test_the_reactive_books_close_on_any_day(seed: int, plant: Plant, pv_kw: float) -> None:
    check(run_reactive(day(seed, plant, pv_kw=pv_kw)))


@pytest.mark.timeout(180)  # compiles on a busy machine
@pytest.mark.parametrize("knows", list(Knows))
@pytest.mark.parametrize(("plant", "pv_kw"), [(CHARGEPOST, 0.0), (OLD_PLANT, 90.0)])
def test_smartems_keeps_the_same_limits(knows: Knows, plant: Plant, pv_kw: float) -> None:
    series = daily_series(PROFILE, START.date() - timedelta(days=20), 23)
    given_day = day(3, plant, cars=4, pv_kw=pv_kw)
    check(
        SmartEms(
            given_day, series, History(), knows, recursion=fast_backward(), step_function=fast_run_steps()
        ).complete()
    )


@pytest.mark.timeout(180)  # compiles on a busy machine
@pytest.mark.parametrize("losses", [None, Losses()])
def test_the_compiled_plant_is_the_same_plant(losses: Losses | None) -> None:
    given_day = replace(day(5, OLD_PLANT, pv_kw=60.0), losses=losses)

    plain, fast = run_reactive(given_day), run_reactive(given_day, fast_run_steps())

    assert np.allclose(plain.record, fast.record, rtol=0, atol=1e-9)
    assert np.allclose(plain.rest_kwh, fast.rest_kwh, rtol=0, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(min_value=0, max_value=10_000), st.sampled_from([CHARGEPOST, OLD_PLANT]), st.sampled_from([0.0, 90.0])
)
def test_the_books_close_whatever_is_wished_and_whatever_is_lost(seed: int, plant: Plant, pv_kw: float) -> None:
    given_day = replace(day(seed, plant, pv_kw=pv_kw), losses=Losses())
    wishes = np.zeros((6, 48))
    wishes[WISH] = np.random.default_rng(seed).uniform(-200, 200, 48)
    run = Run(given_day, fast_run_steps())
    run.go(0, given_day.steps, WISHES, wishes)

    check(run)


def test_what_is_lost_costs_more_where_power_is_high_and_the_house_breathes_with_the_load() -> None:
    plain, lossy = (run_reactive(replace(day(4, CHARGEPOST), losses=losses)) for losses in (None, Losses()))

    assert lossy.record[OWN].sum() > plain.record[OWN].sum()
    assert kpis_of(lossy).own_kwh == pytest.approx(float(lossy.record[OWN].sum() / 60))
    busy = lossy.record[OWN] - lossy.given.own_kw - lossy.given.ev_loss_ratio * lossy.record[EV]
    assert busy.max() <= 2.8 + 1.333e-4 * 200**2 + 1e-9


def test_an_empty_day_costs_only_its_own_consumption() -> None:
    figures = check(run_reactive(day(1, CHARGEPOST, cars=0)))

    assert figures.ev_kwh == 0.0
    assert figures.sessions_count == 0
    assert figures.import_kwh >= figures.own_kwh


def test_a_site_without_battery_is_simulated_under_both_controllers() -> None:
    bare = Plant(strings=())
    series = daily_series(PROFILE, START.date() - timedelta(days=20), 23)
    given_day = day(2, bare, cars=5)

    reactive = run_reactive(given_day)
    smart = SmartEms(given_day, series, History(), Knows.FORECAST).complete()

    assert np.array_equal(reactive.record[IMPORT], smart.record[IMPORT])
    assert reactive.record[DISCHARGE].max() == 0.0
