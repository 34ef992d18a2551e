"""What happened once is told once: sessions over restarts, faults with details, a stepped clock, an unsafe station."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.contract.events import Event, EventKind, Severity
from shared.moment import Moment
from tests.unit.amperio.bench import Bench, a_config
from tests.unit.emulator.rig import NOON, Rig

CAR_KW = 120.0


def of_kind(bench: Bench, *kinds: EventKind) -> list[Event]:
    return [event for event in bench.events if event.kind in kinds]


def restarted(bench: Bench) -> Bench:
    """The same station, and a middleware that knows what it kept; everything else is gone."""
    kept = next((each.keepsake for each in reversed(bench.settled) if each.keepsake is not None), None)
    again = Bench(bench.rig, config=bench.config, keepsake=kept)
    again.enexa, again.schedule = bench.enexa, bench.schedule
    return again


def charged_kwh(rig: Rig) -> float:
    return rig.post.outlets[0].session_kwh


# ---- sessions --------------------------------------------------------------------------------------------------------


def test_a_session_has_one_start_and_one_end_with_its_energy_and_its_peak() -> None:
    bench = Bench().online()
    bench.rig.plug(max_kw=CAR_KW)
    bench.seconds(300)
    energy_kwh = charged_kwh(bench.rig)
    bench.rig.post.unplug(1)
    bench.seconds(5)

    started, ended = of_kind(bench, EventKind.SESSION_STARTED, EventKind.SESSION_ENDED)
    assert started.facts["session_id"] == ended.facts["session_id"]
    assert ended.facts["energy_kwh"] == pytest.approx(energy_kwh, abs=0.1)
    assert ended.facts["peak_kw"] == pytest.approx(120.0, abs=5.0)
    assert ended.facts["duration_s"] == pytest.approx(300.0, abs=5.0)


def test_a_session_goes_on_over_a_restart_with_the_energy_of_the_time_in_between() -> None:
    bench = Bench().online()
    bench.rig.plug(max_kw=CAR_KW)
    bench.seconds(200)
    first = of_kind(bench, EventKind.SESSION_STARTED)[0]
    bench.rig.run(120)  # nobody looks

    again = restarted(bench).seconds(60)
    sample = again.last.chargers[0]
    assert sample.session_id == first.facts["session_id"]
    assert sample.session_kwh == pytest.approx(charged_kwh(again.rig), abs=0.15)
    energy_kwh = charged_kwh(again.rig)
    again.rig.post.unplug(1)
    again.seconds(3)

    assert not of_kind(again, EventKind.SESSION_STARTED)
    (ended,) = of_kind(again, EventKind.SESSION_ENDED)
    assert ended.facts["session_id"] == first.facts["session_id"]
    assert ended.facts["energy_kwh"] == pytest.approx(energy_kwh, abs=0.15)


def test_a_car_that_left_while_nobody_looked_is_told_once() -> None:
    bench = Bench().online()
    bench.rig.plug(max_kw=CAR_KW)
    bench.seconds(200)
    bench.rig.post.unplug(1)
    bench.rig.run(30)

    again = restarted(bench).seconds(30)

    (ended,) = of_kind(again, EventKind.SESSION_ENDED)
    assert ended.facts["session_id"] == of_kind(bench, EventKind.SESSION_STARTED)[0].facts["session_id"]
    assert not of_kind(restarted(again).seconds(10), EventKind.SESSION_ENDED)


def test_another_car_over_a_restart_is_another_session() -> None:
    bench = Bench().online()
    bench.rig.plug(max_kw=CAR_KW)
    bench.seconds(400)
    bench.rig.post.unplug(1)
    bench.rig.run(10)
    bench.rig.plug(max_kw=50.0)
    bench.rig.run(60)

    again = restarted(bench).seconds(10)

    kinds = [event.kind for event in of_kind(again, EventKind.SESSION_STARTED, EventKind.SESSION_ENDED)]
    assert kinds == [EventKind.SESSION_ENDED, EventKind.SESSION_STARTED]
    assert again.last.chargers[0].session_kwh == pytest.approx(charged_kwh(again.rig), abs=0.1)


def test_without_what_was_kept_the_same_car_would_be_two_sessions() -> None:
    """The control: it is the keepsake that holds the session together."""
    bench = Bench().online()
    bench.rig.plug(max_kw=CAR_KW)
    bench.seconds(100)

    forgetful = Bench(bench.rig).seconds(10)

    assert len(of_kind(forgetful, EventKind.SESSION_STARTED)) == 1


def test_a_session_is_kept_rarely_enough_for_the_disk() -> None:
    bench = Bench().online()
    bench.seconds(5)
    bench.rig.plug(max_kw=60.0)
    before = len([each for each in bench.settled if each.keepsake is not None])
    bench.seconds(300)

    kept = len([each for each in bench.settled if each.keepsake is not None]) - before
    assert 1 <= kept <= 8, "once at the start, and once for each kWh"


def test_a_counter_that_resets_at_random_loses_no_energy_and_tells_no_negative_one() -> None:
    bench = Bench().online()
    bench.rig.plug(max_kw=CAR_KW)
    bench.seconds(120)
    before = bench.last.chargers[0].session_kwh
    assert before is not None
    bench.rig.post.begin_fault("counter_reset")
    bench.seconds(120)

    after = bench.last.chargers[0].session_kwh
    assert after is not None
    assert before < after < before + 120.0 * 130.0 / 3600.0


# ---- faults ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["thermal_alarm", "contactor_stuck", "string_offline", "ups_failure", "phase_loss"])
def test_a_fault_is_told_with_how_the_station_stood_and_cleared_once(fault: str) -> None:
    bench = Bench().online()
    bench.rig.plug(max_kw=CAR_KW)
    bench.seconds(60)

    bench.rig.post.begin_fault(fault)
    bench.seconds(30)
    bench.rig.post.end_fault(fault)
    bench.seconds(900)

    raised = of_kind(bench, EventKind.FAULT_RAISED)
    cleared = of_kind(bench, EventKind.FAULT_CLEARED)
    assert [event.facts["fault"] for event in raised] == [event.facts["fault"] for event in cleared]
    assert raised
    assert {"state", "grid_kw", "battery_1_soc_pct", "battery_2_max_c", "ev_1_kw"} <= set(raised[0].facts)
    assert raised[0].severity is Severity.CRITICAL


# ---- the clock -------------------------------------------------------------------------------------------------------


FAR = [(datetime(year, 1, 1, tzinfo=UTC) - NOON).total_seconds() for year in (1970, 2038, 2100)]


@pytest.mark.parametrize("step_s", [1, -1, 61, -61, 3600, -3600, 86_400, -86_400, *FAR])
def test_goal_e1_a_stepped_clock_is_told_once_and_moves_nothing_else(step_s: float) -> None:
    bench = Bench().online(-30.0, -30.0)
    modes = len(of_kind(bench, EventKind.MODE_CHANGED))

    bench.enexa = None  # silence is a duration, and counted as such
    bench.rig.now = Moment(bench.now.s, bench.now.at + timedelta(seconds=step_s))
    bench.seconds(10)
    bench.enexa = True
    bench.seconds(20)

    told = of_kind(bench, EventKind.CLOCK_STEP)
    assert [event.facts["step_s"] for event in told] == [pytest.approx(step_s, abs=0.01)]
    assert not of_kind(bench, EventKind.WATCHDOG_TRIPPED, EventKind.CONTROL_LOST)
    assert len(of_kind(bench, EventKind.MODE_CHANGED)) == modes


def test_goal_e1_a_clock_that_only_runs_is_not_called_stepped() -> None:
    assert not of_kind(Bench().online().seconds(120), EventKind.CLOCK_STEP)


# ---- the station's own fallback --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("station", "safety", "alarms"),
    [("chargepost", {}, 0), ("reference_day", {}, 1), ("reference_day", {"fallback_import_kw": 80.0}, 0)],
)
def test_a_station_that_would_import_too_much_without_us_raises_an_alarm_at_every_start(
    station: str, safety: dict[str, Any], alarms: int
) -> None:
    bench = Bench(Rig(station, soc_pct=60.0), config=a_config(safety=safety)).online()
    again = restarted(bench).seconds(20)

    for each in (bench, again):
        told = of_kind(each, EventKind.ALERT_RAISED)
        assert len(told) == alarms
        assert all(event.facts["fallback_clearance_kw"] == 80.0 for event in told)
