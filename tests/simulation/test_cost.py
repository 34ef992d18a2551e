"""What an outage costs: the same day twice, from the same state of charge."""

from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from shared.scenario.load import load_scenario
from tests.simulation.cost import SOC_START_PCT, calm_day, cost_of
from tests.simulation.weather import Kind, Place, Trouble
from tests.simulation.world import Options

pytestmark = [pytest.mark.simulation, pytest.mark.timeout(240)]


def test_without_a_trouble_there_is_no_difference() -> None:
    cost = cost_of(Options(scenario=load_scenario("evening_peak"), hours=0.1), ())

    assert cost.without == cost.with_it
    assert cost.total_eur == cost.import_kwh == cost.stored_kwh == 0.0


def test_a_station_left_alone_buys_at_the_dearest_hour_what_the_plan_would_not() -> None:
    """The middleware is dead for seven minutes; the station's own rule fills the battery, whatever that costs."""
    dear = replace(load_scenario("negative_prices"), starts_at=datetime(2024, 5, 1, 16, 0, tzinfo=UTC), expect=())
    dead = Trouble(kind=Kind.KILL, place=Place.AMPERIO, at_s=120.0, for_s=420.0)

    cost = cost_of(Options(scenario=dear, hours=0.2), (dead,))

    assert cost.with_it.breach_count == 0
    assert cost.import_kwh > 2.0
    assert cost.import_eur > 0.2
    assert -cost.import_kwh < cost.stored_kwh < -0.8 * cost.import_kwh, "what was bought is in the battery, but losses"


def test_both_runs_begin_with_the_same_state_of_charge() -> None:
    anything = replace(load_scenario("reference_day"), soc_start_pct=None)

    assert calm_day(anything).soc_start_pct == SOC_START_PCT
    assert calm_day(load_scenario("evening_peak")).soc_start_pct == 80
