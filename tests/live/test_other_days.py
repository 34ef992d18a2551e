"""Real prices on the day they were paid, real sessions on the day they happened, and a clock that runs fast."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from shared.contract.operations import GET_SERIES
from shared.contract.reads import Series
from shared.contract.schedule import Zone
from tests.live.stack import Stack, running_stack

pytestmark = [pytest.mark.live, pytest.mark.timeout(300), pytest.mark.xdist_group("live")]

BERLIN = ZoneInfo("Europe/Berlin")
DAY = date(2024, 5, 1)
SPEED = 600
FIRST_NEGATIVE, AFTER_NEGATIVE = time(10), time(18)
"""Local hours of that day between which the auction paid consumers."""


def at(hour: time, day: date = DAY) -> datetime:
    return datetime.combine(day, hour, tzinfo=BERLIN).astimezone(UTC)


@pytest.fixture(scope="module")
def stack(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    prices = real_data / "price_da_delu_2024_60min.csv"
    words = (f"PRICES={prices}", f"DATE={DAY}", f"SPEED={SPEED}")
    with running_stack(tmp_path_factory.mktemp("day") / "stack", *words) as running:
        yield running


def test_the_clock_starts_at_that_local_midnight(stack: Stack) -> None:
    assert stack.record().origin_sim == at(time(0))

    latest = stack.wait_for(stack.latest, "a sample", within_s=30)
    assert at(time(0)) <= latest.sample.timestamp < at(time(0)) + timedelta(days=1)


def test_the_plan_knows_the_negative_prices_of_the_file(stack: Stack) -> None:
    schedule = stack.wait_for(stack.schedule, "a plan", within_s=30)

    paid = {slot.start.astimezone(BERLIN).hour: slot for slot in schedule.slots if slot.start < at(AFTER_NEGATIVE)}
    assert paid[13].price_eur_per_mwh == pytest.approx(-120.0)
    assert paid[13].zone is Zone.NEGATIVE


def test_the_stack_runs_through_the_negative_hours_and_charges_in_them(stack: Stack) -> None:
    stack.wait_for(lambda: stack.latest().sample.timestamp > at(AFTER_NEGATIVE), "evening", within_s=200)

    series = stack.ask(
        GET_SERIES, Series, **{"from": _z(at(FIRST_NEGATIVE)), "to": _z(at(AFTER_NEGATIVE)), "resolution": "15m"}
    )
    charging = [point for point in series.points if point.battery_kw is not None and point.battery_kw < -1.0]
    importing = [point for point in series.points if point.grid_kw is not None and point.grid_kw > 1.0]

    assert len(series.points) >= 30
    assert charging, "the battery was charged while the grid paid for it"
    assert importing
    assert all(point.grid_kw is None or point.grid_kw > -0.5 for point in series.points), "nothing was exported"
    assert [each for each in stack.verified() if at(FIRST_NEGATIVE) <= each.planned_at < at(AFTER_NEGATIVE)]


def test_programs_agree_on_the_date_after_a_restart(stack: Stack) -> None:
    before = stack.latest().sample.timestamp

    stack.kill("amperio")

    after = stack.wait_for(
        lambda: newest if (newest := stack.latest().sample.timestamp) > before + timedelta(minutes=1) else None,
        "samples after the kill",
        within_s=60,
    )
    assert after - before < timedelta(hours=12), "the clock went on, it did not start anew or run away"


def test_down_and_up_with_today_keeps_the_two_kinds_of_data_apart(stack: Stack) -> None:
    stack.down()
    assert any(stack.places.data(simulated=True).rglob("*.db*"))
    assert not any(stack.places.data(simulated=False).rglob("*.db*"))


def test_a_session_of_the_file_happens_at_its_minute(real_data: Path, tmp_path: Path) -> None:
    """On that night a car came at 00:12 local time and took 23 kWh until 00:34."""
    sessions = real_data / "ev_sessions_epfl_ccs175kw_2022-04_2022-12.csv"
    night = date(2022, 11, 13)
    with running_stack(tmp_path / "stack", f"SESSIONS={sessions}", f"DATE={night}", "SPEED=60") as stack:
        charging = stack.wait_for(
            lambda: next((each.sample for each in [stack.latest()] if each.sample.chargers[0].plugged), None),
            "a car at the first outlet",
            within_s=60,
        )

    assert at(time(0, 11), night) <= charging.timestamp <= at(time(0, 20), night)


def _z(instant: datetime) -> str:
    return instant.isoformat().replace("+00:00", "Z")
