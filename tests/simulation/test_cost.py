"""What an outage costs: the same day twice, from the same state of charge."""

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


def test_an_hour_of_negative_prices_is_missed_by_a_middleware_that_is_dead() -> None:
    """The market pays for charging, and for seven minutes nobody tells the station to."""
    dead = Trouble(kind=Kind.KILL, place=Place.AMPERIO, at_s=120.0, for_s=420.0)

    cost = cost_of(Options(scenario=load_scenario("negative_prices"), hours=0.2), (dead,))

    assert cost.with_it.breach_count == 0
    assert cost.import_kwh == pytest.approx(cost.with_it.energy.import_kwh - cost.without.energy.import_kwh)
    assert cost.import_kwh < -1.0, "less was bought"
    assert cost.stored_kwh == pytest.approx(-cost.import_kwh, rel=0.2), "what was not bought is not in the battery"


def test_both_runs_begin_with_the_same_state_of_charge() -> None:
    anything = replace(load_scenario("reference_day"), soc_start_pct=None)

    assert calm_day(anything).soc_start_pct == SOC_START_PCT
    assert calm_day(load_scenario("evening_peak")).soc_start_pct == 80
