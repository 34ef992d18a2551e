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

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]

BERLIN = ZoneInfo("Europe/Berlin")
DAY = date(2024, 5, 1)
FIRST_NEGATIVE, AFTER_NEGATIVE = time(10), time(18)
"""Local hours of that day between which the auction paid consumers."""

NIGHT = date(2024, 11, 25)
"""A day whose very first hour is negative, so that a short run is enough."""

PRICE_AT_EIGHT = 77.01

SPEED = 60
SOAK_SPEED = 60


def at(hour: time, day: date = DAY) -> datetime:
    return datetime.combine(day, hour, tzinfo=BERLIN).astimezone(UTC)


@pytest.fixture(scope="module")
def prices(real_data: Path) -> Path:
    return real_data / "price_da_delu_2024_60min.csv"


@pytest.fixture(scope="module")
def stack(prices: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    words = (f"PRICES={prices}", f"DATE={NIGHT}", f"SPEED={SPEED}")
    with running_stack(tmp_path_factory.mktemp("day") / "stack", *words) as running:
        yield running


def test_the_clock_starts_at_that_local_midnight(stack: Stack) -> None:
    assert stack.record().origin_sim == at(time(0), NIGHT)

    latest = stack.wait_for(stack.latest, "a sample")
    assert at(time(0), NIGHT) <= latest.sample.timestamp < at(time(12), NIGHT)


def test_the_plan_is_made_for_the_prices_of_the_file(stack: Stack) -> None:
    schedule = stack.wait_for(stack.schedule, "a plan")

    priced = {slot.start: slot for slot in schedule.slots}
    assert priced[at(time(8), NIGHT)].price_eur_per_mwh == pytest.approx(PRICE_AT_EIGHT)


def test_setpoints_are_verified_while_the_price_is_negative(stack: Stack) -> None:
    verified = stack.wait_for(stack.verified, "a verified setpoint")

    first = verified[-1]
    assert first.planned_at < at(time(1), NIGHT), "the first hour of that day is the negative one"
    assert first.slot_start is not None


@pytest.mark.soak
@pytest.mark.timeout(2400)
def test_a_day_with_eight_negative_hours_is_charged_through(prices: Path, tmp_path: Path) -> None:
    words = (f"PRICES={prices}", f"DATE={DAY}", f"SPEED={SOAK_SPEED}")
    with running_stack(tmp_path / "stack", *words) as day:
        paid = {slot.start: slot for slot in day.wait_for(day.schedule, "a plan").slots}
        assert paid[at(time(13))].price_eur_per_mwh == pytest.approx(-120.0)
        assert paid[at(time(13))].zone is Zone.NEGATIVE

        day.wait_for(lambda: day.latest().sample.timestamp > at(AFTER_NEGATIVE), "evening", within_s=1500)

        asked = {"from": _z(at(FIRST_NEGATIVE)), "to": _z(at(AFTER_NEGATIVE)), "resolution": "15m"}
        series = day.ask(GET_SERIES, Series, **asked)
        commands = [each for each in day.verified() if at(FIRST_NEGATIVE) <= each.planned_at < at(AFTER_NEGATIVE)]

    assert len(series.points) >= 30
    assert any(point.battery_kw is not None and point.battery_kw < -1.0 for point in series.points), "it charged"
    assert all(point.grid_kw is None or point.grid_kw > -0.5 for point in series.points), "nothing was exported"
    assert commands, "setpoints of those hours were verified"


def test_programs_agree_on_the_date_after_a_restart(stack: Stack) -> None:
    before = stack.latest().sample.timestamp

    stack.kill("amperio")

    after = stack.wait_for(
        lambda: newest if (newest := stack.latest().sample.timestamp) > before + timedelta(minutes=1) else None,
        "samples after the kill",
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
    with running_stack(tmp_path / "stack", f"SESSIONS={sessions}", f"DATE={night}", "SPEED=20") as stack:
        stack.wait_for(
            lambda: [arrived for arrived in plugged(stack) if arrived.astimezone(BERLIN).time() >= time(0, 11)],
            "the car of 00:12",
        )
        stack.wait_for(lambda: stack.latest().sample.chargers[0].plugged, "Enexa sees the car")
        late = [arrived for arrived in plugged(stack) if arrived > at(time(0, 11), night)]

    assert at(time(0, 12), night) <= late[0] <= at(time(0, 13), night)


def plugged(stack: Stack) -> list[datetime]:
    """When cars were plugged in, by the emulated machine's own notes."""
    notes = [note for note in stack.notes() if (note["kind"], note["name"]) == ("car", "plugged")]
    return [datetime.fromisoformat(note["at"]) for note in notes]


def _z(instant: datetime) -> str:
    return instant.isoformat().replace("+00:00", "Z")
