"""Impact: minutes to quarter hours to cents; what is missing is told and never filled."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.enexa.insight.impact import NO_PLAN, ImpactView, by_cause, day_line, impact
from services.enexa.market.emissions import CO2_KG_PER_KWH
from services.enexa.market.prices import PriceSeries
from services.enexa.market.tariffs import Tariff
from shared.contract.reads import Point
from tests.unit.enexa.insight.samples import AT

TARIFF = Tariff(flat_eur_per_mwh=250.0)


def prices(count: int = 8) -> PriceSeries:
    return PriceSeries(
        starts=tuple(AT + timedelta(minutes=15 * index) for index in range(count)),
        interval_s=(900,) * count,
        price_eur_per_mwh=tuple(100.0 + index for index in range(count)),
    )


def minute(index: int, *, grid_kw: float = 40.0, battery_kw: float = 0.0) -> Point:
    return Point(
        at=AT + timedelta(minutes=index), grid_kw=grid_kw, battery_kw=battery_kw, ev_kw=grid_kw + battery_kw, aux_kw=0.0
    )


def settled(points: list[Point], *, until: datetime = AT + timedelta(hours=1), count: int = 8) -> ImpactView:
    return impact(points, prices(count), TARIFF, start=AT, until=until)


def test_an_hour_at_40_kw_costs_what_the_tariffs_say() -> None:
    view = settled([minute(index) for index in range(60)])

    assert view.total("import_kwh") == pytest.approx(40.0)
    assert view.settlement.flat_eur == 10.0
    assert view.settlement.dynamic_eur == pytest.approx(40.0 * (101.5 + 80.0) / 1000, abs=0.005)
    assert view.coverage_pct == 100.0
    assert view.peak_15min_kw == pytest.approx(40.0)


def test_a_hole_lowers_the_coverage_and_adds_no_energy() -> None:
    view = settled([minute(index) for index in range(60) if not 20 <= index < 35])

    assert view.coverage_pct == 75.0
    assert view.total("import_kwh") == pytest.approx(30.0)
    assert len(view.energies) == 4


def test_a_quarter_hour_without_a_price_is_left_out_and_counted() -> None:
    view = settled([minute(index) for index in range(60)], count=3)

    assert view.unpriced_count == 1
    assert view.total("import_kwh") == pytest.approx(30.0)


def test_a_peak_is_the_mean_of_a_whole_quarter_hour_only() -> None:
    assert settled([minute(index, grid_kw=80.0) for index in range(5)]).peak_15min_kw is None


def test_a_period_without_data_is_empty_and_not_zero_percent_of_nothing() -> None:
    view = settled([], until=AT)

    assert (view.energies, view.coverage_pct, view.peak_at) == ((), 0.0, None)


@given(st.lists(st.tuples(st.floats(-60.0, 80.0), st.floats(-110.0, 110.0)), min_size=1, max_size=60))
def test_the_page_equals_its_quarter_hours_to_the_cent(flows: list[tuple[float, float]]) -> None:
    view = settled([Point(at=AT + timedelta(minutes=i), grid_kw=g, battery_kw=b) for i, (g, b) in enumerate(flows)])
    slots = view.settlement.slots

    assert sum(each.net_saving_cents for each in slots) == round(100 * view.settlement.net_saving_eur)
    assert sum(each.wear_cents for each in slots) == round(100 * view.settlement.wear_eur)
    assert view.total("charged_kwh") - view.total("discharged_kwh") == pytest.approx(-sum(b for _, b in flows) / 60)


@given(
    powers=st.lists(st.tuples(st.floats(-80.0, 80.0), st.floats(-60.0, 60.0)), min_size=15, max_size=60),
    reasons=st.lists(st.sampled_from(["cheap_slot", "expensive_slot", "ev_assist"]), max_size=4),
)
def test_the_cents_of_all_causes_add_up_to_the_value_of_timing(
    powers: list[tuple[float, float]], reasons: list[str]
) -> None:
    points = [minute(index, grid_kw=grid, battery_kw=battery) for index, (grid, battery) in enumerate(powers)]
    view = settled(points)
    known = {AT + timedelta(minutes=15 * index): reason for index, reason in enumerate(reasons)}
    causes = by_cause(view, known)

    assert sum(cause.timing_value_cents for cause in causes) == round(view.settlement.timing_value_eur * 100)
    assert sum(cause.slots_count for cause in causes) == len(view.energies)
    assert {cause.reason for cause in causes} <= {*reasons, NO_PLAN}


def test_a_days_line_carries_the_cents_of_its_settlement() -> None:
    view = settled([minute(index, battery_kw=20.0) for index in range(60)])
    line = day_line(view, AT.date(), 3)

    assert line.net_saving_cents == round(view.settlement.net_saving_eur * 100)
    assert line.wear_cents == round(view.settlement.wear_eur * 100)
    assert line.co2_kg == pytest.approx(line.import_kwh * CO2_KG_PER_KWH)
    assert (line.sessions_count, line.coverage_pct) == (3, 100.0)
