"""Every story of the library, played by both real cores and the device, judged by its own expectations."""

import pytest

from shared.errors import BadInput
from shared.scenario.load import load_scenario, scenario_names
from shared.scenario.schema import Scenario, TroubleBegins
from tests.simulation.report import Report
from tests.simulation.weather import troubles_of
from tests.simulation.world import play

pytestmark = [pytest.mark.simulation, pytest.mark.timeout(240)]

STORIES = (
    "amperio_killed",
    "certificate_expires",
    "clock_steps",
    "crowded_return",
    "deep_drain_trap",
    "disk_errors",
    "disk_full",
    "dst_autumn",
    "dst_spring",
    "enexa_killed",
    "enexa_outage_90min",
    "evening_peak",
    "frozen_station",
    "grid_operator_dims",
    "half_open_field",
    "locked_on_site",
    "meter_bias",
    "middleware_paused",
    "negative_prices",
    "pack_imbalance",
    "platform_paused",
    "power_cut",
    "second_master",
    "station_reboots",
    "token_theft",
    "tokens_lost",
    "watchdog_trip",
)
LONG = ("outage_24h", "outage_72h")
"""Played by `make soak`."""
SHORT = sorted({*STORIES, *scenario_names()} - {*LONG, "reference_day"})
"""A story that somebody adds to the library is played at once."""


def _held(report: Report) -> None:
    again = f"make sim SCENARIO={report.scenario} SEED={report.seed}"
    assert report.held, "\n".join((again, *report.lines()))


@pytest.mark.parametrize("name", SHORT)
def test_the_story_ends_as_it_should(name: str) -> None:
    report = play(name)

    _held(report)
    assert report.verdicts, "a story without an expectation proves nothing"


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", LONG)
def test_an_outage_of_days_is_told_to_the_last_second(name: str) -> None:
    _held(play(name))


@pytest.mark.parametrize("hours", [0.5, pytest.param(24.0, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])])
def test_the_reference_day_stays_within_every_rule(hours: float) -> None:
    report = play("reference_day", hours=hours)

    _held(report)
    assert report.samples.kept == report.samples.stored == hours * 3600
    assert report.samples.doubles == report.samples.missing == report.samples.declared_gaps == 0
    assert report.commands["verified"] > 25 * hours
    assert report.plans >= 4 * hours
    assert report.mode_s["online"] > hours * 3600 - 100


def test_the_library_has_a_story_for_every_occasion() -> None:
    assert len(scenario_names()) >= 20


@pytest.mark.parametrize("name", scenario_names())
def test_a_story_expects_something(name: str) -> None:
    assert load_scenario(name).expect


def test_a_story_that_names_an_unknown_trouble_is_refused() -> None:
    story = Scenario(name="x", story="x", timeline=(TroubleBegins(at_s=1, kind="meteor", place="enexa"),))

    with pytest.raises(BadInput, match="meteor"):
        troubles_of(story)
