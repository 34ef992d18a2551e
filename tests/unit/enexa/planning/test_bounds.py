"""The reference day's published figures, within half a percent; the day itself is the shipped scenario's."""

import pytest

from services.enexa.planning.bounds import Bound, FlexibleCar, Foresight, perfect_foresight
from services.enexa.simulation.evaluation import wanted_kw
from services.enexa.simulation.kpis import kpis_of
from services.enexa.simulation.site import STEP_S, Stretch, run_reactive
from tests.unit.enexa.planning.reference import MAY_FIRST, reference_day

PER_DAY_EUR_PER_KW = 30 / 365


def bound(given: Stretch, *, peak_eur_per_kw: float = 0.0, flexible: bool = False) -> Bound:
    cars = tuple(
        FlexibleCar(first=int(first), last=int(last), energy_kwh=float(kwh), max_power_kw=float(kw))
        for first, last, kwh, kw in zip(given.car_first, given.car_last, given.car_kwh, given.car_max_kw, strict=True)
    )
    return perfect_foresight(
        Foresight(
            step_s=STEP_S,
            ev_kw=wanted_kw(given),
            own_kw=given.own_kw,
            pv_kw=given.pv_kw,
            buy_eur_per_kwh=given.buy_eur_per_kwh,
            sell_eur_per_kwh=given.sell_eur_per_kwh,
            import_cap_kw=given.import_cap_kw,
            plant=given.plant,
            wear_eur_per_kwh=given.tariff.wear_eur_per_kwh,
            ev_loss_ratio=0.0,
            start_kwh=given.start_kwh,
            end_kwh=given.start_kwh,
            peak_eur_per_kw=peak_eur_per_kw,
            cars=cars if flexible else (),
        )
    )


def test_the_day_asks_for_what_its_table_says() -> None:
    given = reference_day()

    assert given.car_kwh.sum() == pytest.approx(635.9)
    assert given.pv_kw.sum() / 60 == pytest.approx(376.2, abs=0.1)


@pytest.mark.parametrize(("prices", "eur"), [(None, 69.4), (MAY_FIRST, 35.6)])
def test_the_reactive_rule_costs_what_was_published(prices: tuple[float, ...] | None, eur: float) -> None:
    run = run_reactive(reference_day(prices))
    figures = kpis_of(run)

    assert figures.cost_eur == pytest.approx(eur, rel=0.005)
    assert figures.sessions_served_count == 25
    assert figures.end_kwh == pytest.approx(run.given.start_kwh)


@pytest.mark.parametrize(
    ("prices", "peak_priced", "flexible", "eur", "peak_kw"),
    [
        (None, False, False, 51.7, 80.0),
        (None, True, False, 52.2, 47.0),
        (None, False, True, 40.5, 80.0),
        (None, True, True, 41.1, 33.0),
        (MAY_FIRST, False, False, 22.3, None),
    ],
)
def test_perfect_foresight_costs_what_was_published(
    prices: tuple[float, ...] | None, peak_priced: bool, flexible: bool, eur: float, peak_kw: float | None
) -> None:
    best = bound(reference_day(prices), peak_eur_per_kw=PER_DAY_EUR_PER_KW if peak_priced else 0.0, flexible=flexible)

    assert best.cost_eur == pytest.approx(eur, rel=0.005)
    assert best.unserved_kwh == pytest.approx(0.0, abs=1e-6)
    if peak_kw is not None:
        assert best.peak_kw == pytest.approx(peak_kw, abs=0.5)
