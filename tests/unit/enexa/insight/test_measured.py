"""The bounds of a measured stretch: the same demand for everybody, and nothing to be had from a gap."""

from datetime import timedelta

import pytest

from services.enexa.insight.bounds import Bounds, Measured
from services.enexa.insight.measured import bounds_of
from services.enexa.market.prices import PriceSeries
from services.enexa.market.tariffs import Tariff
from services.enexa.planning.problem import Plant
from services.enexa.simulation.compiled import fast_run_steps
from shared.contract.reads import Point
from shared.errors import OutOfBounds
from tests.unit.enexa.insight.samples import AT

HOURS = 4
CHEAP, DEAR = 10.0, 300.0


def measured(points: list[Point]) -> Measured:
    """Two cheap hours, two dear ones."""
    count = HOURS * 4
    prices = PriceSeries(
        starts=tuple(AT + timedelta(minutes=15 * index) for index in range(count)),
        interval_s=(900,) * count,
        price_eur_per_mwh=tuple(CHEAP if index < count // 2 else DEAR for index in range(count)),
    )
    return Measured(
        start=AT,
        until=AT + timedelta(hours=HOURS),
        points=tuple(points),
        prices=prices,
        plant=Plant(),
        tariff=Tariff(flat_eur_per_mwh=250.0),
    )


def judged(points: list[Point]) -> Bounds:
    return bounds_of(measured(points), fast_run_steps())


def minute(index: int, *, ev_kw: float, battery_kw: float = 0.0, soc_pct: float = 50.0) -> Point:
    return Point(
        at=AT + timedelta(minutes=index),
        grid_kw=ev_kw + 0.5 - battery_kw,
        battery_kw=battery_kw,
        ev_kw=ev_kw,
        aux_kw=0.5,
        soc_pct=soc_pct,
    )


def lazy_day() -> list[Point]:
    """A car in the dear hours, a battery that does nothing."""
    return [minute(index, ev_kw=40.0 if 150 <= index < 210 else 0.0) for index in range(HOURS * 60)]


@pytest.mark.timeout(120)
def test_nobody_beats_perfect_foresight_and_an_idle_battery_leaves_something_to_gain() -> None:
    bounds = judged(lazy_day())

    assert bounds.perfect_eur <= bounds.actual_eur + 0.01
    assert bounds.perfect_eur <= bounds.reactive_eur + 0.01
    assert bounds.possible_eur > 0.1
    assert bounds.captured_pct is not None
    assert bounds.captured_pct <= 100.1
    assert bounds.perfect_unserved_kwh == pytest.approx(0.0, abs=1e-6)


@pytest.mark.timeout(120)
def test_what_was_paid_is_the_settlements_money_while_the_battery_rests() -> None:
    """40.5 kW for an hour and 0.5 kW for three, at the prices and fees of those hours."""
    bounds = judged(lazy_day())
    tariff = Tariff()
    quiet_eur = 0.5 * (2 * tariff.import_eur_per_kwh(CHEAP) + tariff.import_eur_per_kwh(DEAR))

    assert bounds.actual_eur == pytest.approx(quiet_eur + 40.5 * tariff.import_eur_per_kwh(DEAR), abs=1e-6)


@pytest.mark.timeout(120)
def test_a_gap_holds_nothing_for_anybody() -> None:
    """Without the dear hours' minutes nobody pays for them, and nobody sells into them."""
    kept = [point for point in lazy_day() if point.at < AT + timedelta(hours=2)]
    bounds = judged(kept)

    assert bounds.actual_eur == pytest.approx(2 * 0.5 * Tariff().import_eur_per_kwh(CHEAP), abs=1e-6)
    assert bounds.perfect_eur <= bounds.actual_eur + 0.01


def test_a_stretch_without_a_measurement_has_no_bounds() -> None:
    with pytest.raises(OutOfBounds):
        bounds_of(measured([]), fast_run_steps())
