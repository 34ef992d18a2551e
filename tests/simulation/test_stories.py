"""Every story of the library, played by both real cores and the device, judged by its own expectations."""

import pytest

from shared.scenario.load import load_scenario, scenario_names
from tests.simulation.report import Report
from tests.simulation.world import play

pytestmark = [pytest.mark.simulation, pytest.mark.timeout(240)]

STORIES = ("enexa_outage_90min", "watchdog_trip", "amperio_killed", "enexa_killed", "station_reboots", "story_outage")


def _held(report: Report) -> None:
    again = f"make sim SCENARIO={report.scenario} SEED={report.seed}"
    assert report.held, "\n".join((again, *report.lines()))


@pytest.mark.parametrize("name", STORIES)
def test_the_story_ends_as_it_should(name: str) -> None:
    report = play(name)

    _held(report)
    assert report.verdicts, "a story without an expectation proves nothing"


def test_two_hours_of_the_reference_day_stay_within_every_rule() -> None:
    report = play("reference_day", hours=2.0)

    _held(report)
    assert report.samples.kept == report.samples.stored == 7200
    assert report.samples.doubles == report.samples.missing == report.samples.declared_gaps == 0
    assert report.commands["verified"] > 50
    assert report.plans >= 8
    assert report.mode_s["online"] > 7100


def test_every_story_of_the_library_is_played_here() -> None:
    assert set(scenario_names()) == {"reference_day", *STORIES}


@pytest.mark.parametrize("name", STORIES)
def test_a_story_expects_something(name: str) -> None:
    assert load_scenario(name).expect
