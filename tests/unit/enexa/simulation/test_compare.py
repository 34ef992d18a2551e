"""SmartEMS between the reactive rule and perfect foresight, on the reference day."""

from datetime import date, timedelta

import pytest

from services.enexa.market.prices import daily_series
from services.enexa.market.tariffs import Tariff
from services.enexa.planning.compiled import fast_backward
from services.enexa.planning.problem import SessionRecord
from services.enexa.simulation.compare import compare
from services.enexa.simulation.compiled import fast_run_steps
from services.enexa.simulation.days import scenario_day, scenario_prices
from services.enexa.simulation.evaluation import DayResult, observed_runs, summarise
from services.enexa.simulation.scenarios import OLD_PLANT
from services.enexa.simulation.smartems import Knows
from shared.scenario.load import load_scenario
from tests.unit.enexa.planning.reference import MAY_FIRST, reference_day
from tests.unit.enexa.planning.requests import NOW


@pytest.mark.timeout(120)
def test_on_the_reference_day_knowing_all_is_as_good_as_the_bound() -> None:
    scenario = load_scenario("reference_day")
    prices = scenario_prices(scenario)
    given = scenario_day(scenario, plant=OLD_PLANT, tariff=Tariff(), prices=prices)

    found = compare(given, prices, knows=Knows.ALL, recursion=fast_backward(), step_function=fast_run_steps())

    assert found.captured_ratio is not None
    assert found.captured_ratio > 0.98
    assert found.track("smart").kpis.sessions_served_count == 25
    assert found.tracks[-1].kpis.net_eur <= found.track("smart").kpis.net_eur + 1e-6


@pytest.mark.timeout(120)
def test_with_negative_prices_and_unknown_cars_three_quarters_are_captured() -> None:
    quarters = tuple(price for price in MAY_FIRST for _ in range(4))
    series = daily_series(quarters, date(2024, 5, 25), 24)

    found = compare(reference_day(MAY_FIRST), series, recursion=fast_backward(), step_function=fast_run_steps())

    assert found.captured_ratio is not None
    assert found.captured_ratio >= 0.75
    assert found.track("smart").kpis.unserved_kwh == pytest.approx(0.0, abs=0.05)


def test_runs_are_days_in_a_row() -> None:
    sessions = [
        SessionRecord(
            start=NOW + timedelta(days=day), until=NOW + timedelta(days=day, hours=1), energy_kwh=1, max_power_kw=9
        )
        for day in (0, 1, 2, 5, 6, 9)
    ]

    assert [len(run) for run in observed_runs(sessions)] == [3, 2, 1]
    assert [len(run) for run in observed_runs(sessions, skip=1)] == [2, 2, 1]
    assert observed_runs([]) == ()


def test_the_figures_are_ratios_of_sums_and_the_regret_adds_up() -> None:
    days = [
        DayResult(
            day=date(2024, 5, 1) + timedelta(days=index), sessions_count=1, requested_kwh=30.0, reactive_eur=100.0,
            forecast_eur=60.0 + index, arrivals_eur=58.0, all_eur=52.0, perfect_eur=50.0, reactive_unserved_kwh=0.0,
            forecast_unserved_kwh=0.0,
        )
        for index in range(14)
    ]  # fmt: skip

    found = summarise(days, (), 0)

    assert found.captured_of_perfect_ratio == pytest.approx((1400 - 14 * 60 - 91) / 700)
    assert found.regret_demand_eur + found.regret_price_eur + found.regret_control_eur == pytest.approx(
        sum(day.forecast_eur - day.perfect_eur for day in days)
    )
    low, high = found.captured_of_perfect_interval
    assert low <= found.captured_of_perfect_ratio <= high
