"""Scenarios and sessions are read as they are written, and a mistake is named with its line."""

import gzip
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import BadInput
from shared.scenario.days import leaps, moved_to_clock, second_of_day, sessions_on
from shared.scenario.load import load_profile, load_scenario, load_sessions, scenario_names
from shared.scenario.schema import Car, Chapter, DailyProfile, EvArrives, FaultBegins, LinkFails, Session

BERLIN = ZoneInfo("Europe/Berlin")
STORY = """name = "story"
story = "A car comes while a link is cut."
starts_at = 2026-01-15T15:00:00Z

[site]
grid.import_limit_kw = 60
battery.soc_min_pct = 10

[[timeline]]
at_s = 900
event = "ev_arrives"
capacity_kwh = 77
soc_start_pct = 22

[[timeline]]
at_s = 5_400
event = "link_cut"
link = "amperio_enexa"
for_s = 5_400

[[timeline]]
at_s = 60
event = "fault"
fault = "p_ev_stuck_zero"

[[expect]]
that = "grid_import_kw"
never_above = 60
"""


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_the_reference_day_is_the_published_one() -> None:
    day = load_scenario("reference_day")
    energies = [round(session.energy_kwh + 1e-9, 1) for session in day.sessions]

    assert len(day.sessions) == 25
    assert sum(energies) == pytest.approx(635.9, abs=0.3)
    assert day.price_eur_per_mwh is not None
    assert len(day.price_eur_per_mwh.values) == 96
    assert (day.price_eur_per_mwh.at(0.0), day.price_eur_per_mwh.at(86_399.0)) == (46.0, 47.0)
    assert (min(day.price_eur_per_mwh.values), max(day.price_eur_per_mwh.values)) == (10.0, 145.0)
    assert day.pv_ratio is not None
    assert day.pv_ratio.at(13.5 * 3600.0) == pytest.approx(0.85)
    assert day.pv_ratio.at(13.0 * 3600.0) == pytest.approx(0.84)
    assert day.starts_at is None
    assert "reference_day" in scenario_names()


def test_a_story_is_read_whole(tmp_path: Path) -> None:
    story = load_scenario(written(tmp_path / "story.toml", STORY))

    assert [type(event) for event in story.timeline] == [EvArrives, LinkFails, FaultBegins]
    assert story.site["grid"]["import_limit_kw"] == 60
    assert story.expect[0].never_above == 60


MISTAKES = [
    ("soc_start_pct = 22", "soc_start_pct = 220", 13, "<= 100"),
    ("soc_start_pct = 22", "soc_begin_pct = 22", 13, "soc_begin_pct"),
    ("soc_start_pct = 22", "soc_start_pct = 90", 9, "must lie above"),
    ('event = "link_cut"', 'event = "link_broken"', 17, "link_broken"),
    ('link = "amperio_enexa"', "link = 7", 18, "str"),
    ("never_above = 60", 'never_above = "much"', 28, "float"),
    ('story = "A car', 'story = "A "car', 2, "line 2"),
]


@pytest.mark.parametrize(("good", "bad", "line", "word"), MISTAKES)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, good: str, bad: str, line: int, word: str) -> None:
    path = written(tmp_path / "story.toml", STORY.replace(good, bad))

    with pytest.raises(BadInput) as refused:
        load_scenario(path)

    assert f"line {line}" in str(refused.value)
    assert word in str(refused.value)
    assert "story.toml" in str(refused.value)


def test_a_scenario_or_profile_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="reference_day"):
        load_scenario("no_such_story")
    path = written(tmp_path / "story.toml", STORY + '\n[profiles]\nprice = "nowhere.csv"\n')
    with pytest.raises(BadInput, match=r"nowhere\.csv"):
        load_scenario(path)


def test_a_profile_with_a_word_for_a_number_names_the_line(tmp_path: Path) -> None:
    path = written(tmp_path / "price.csv", "local_time,price_eur_per_mwh\n00:00,5\n12:00,five\n")

    with pytest.raises(BadInput, match="line 3"):
        load_profile(path)


@settings(max_examples=60, deadline=None)
@given(values=st.lists(st.floats(-500, 500), min_size=1, max_size=96), second=st.floats(0, 86_399))
def test_a_profile_never_leaves_its_values(values: list[float], second: float) -> None:
    for linear in (False, True):
        profile = DailyProfile(step_s=86_400.0 / len(values), values=tuple(values), linear=linear)
        assert min(values) - 1e-9 <= profile.at(second) <= max(values) + 1e-9


EPFL = """session_id,start_utc,stay_min,energy_ac_kwh,p_requested_max_kw,soc_start_pct,soc_end_pct,capacity_est_kwh
2,2022-04-12T17:45:00Z,17,12.971,75.3,71.99,88.0,77.0
1,2022-04-12T17:27:00Z,12,5.16,96.6,83.0,89.0,81.7
3,2022-04-13T08:00:00Z,30,10.0,,50.0,50.0,80.0
"""


@pytest.mark.parametrize("packed", [False, True])
def test_epfl_sessions_are_read_in_order_of_arrival(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / ("sessions.csv.gz" if packed else "sessions.csv")
    path.write_bytes(gzip.compress(EPFL.encode()) if packed else EPFL.encode())

    first, second = load_sessions(path)

    assert (first.start_at, first.stay_s) == (datetime(2022, 4, 12, 17, 27, tzinfo=UTC), 720.0)
    assert (first.capacity_kwh, first.soc_start_pct, first.soc_target_pct, first.max_kw) == (81.7, 83.0, 89.0, 96.6)
    assert second.energy_kwh == pytest.approx(12.971 * 0.95, rel=0.01)


def test_a_file_that_knows_only_energies_is_read_too(tmp_path: Path) -> None:
    path = written(tmp_path / "s.csv", "start_utc,end_utc,energy_kwh\n2024-05-01T10:00:00Z,2024-05-01T10:30:00Z,12\n")

    (session,) = load_sessions(path)

    assert session.energy_kwh == pytest.approx(12.0)
    assert session.stay_s == 1800.0


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("start_utc,stay_min,energy_kwh\nyesterday,10,5\n", "line 2"),
        ("start_utc,stay_min,energy_kwh\n2024-05-01T10:00:00Z,10,much\n", "line 2"),
        ("start_utc,stay_min\n2024-05-01T10:00:00Z,10\n", "neither an energy nor a capacity"),
        ("start_utc,stay_min,energy_kwh\n", "no session"),
        ("a,b\n1,2\n", "start_at"),
    ],
)
def test_an_unreadable_session_file_is_refused_with_the_reason(tmp_path: Path, text: str, word: str) -> None:
    with pytest.raises(BadInput, match=word):
        load_sessions(written(tmp_path / "sessions.csv", text))


def test_a_packed_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot read"):
        load_sessions(written(tmp_path / "sessions.csv.gz", "no gzip"))


@pytest.mark.parametrize("day", [date(2024, 3, 31), date(2024, 6, 15), date(2024, 10, 27), date(2024, 12, 24)])
def test_daily_sessions_come_at_their_local_time_also_when_clocks_change(day: date) -> None:
    daily = load_scenario("reference_day").sessions

    sessions = list(sessions_on(day, daily, BERLIN))

    assert [second_of_day(s.start_at, BERLIN) for s in sessions] == [
        3600.0 * int(d.local_time[:2]) + 60.0 * int(d.local_time[3:]) for d in daily
    ]
    assert {session.start_at.tzinfo for session in sessions} == {UTC}


def visits(*starts: str) -> tuple[Session, ...]:
    return tuple(Session(start_at=datetime.fromisoformat(at), capacity_kwh=60.0, soc_start_pct=20.0) for at in starts)


def test_sessions_of_another_year_keep_weekday_season_and_local_time() -> None:
    file = visits("2022-04-12T17:27:00Z", "2022-05-04T08:00:00Z", "2022-12-01T08:00:00Z")
    now = datetime(2024, 5, 1, 6, 0, tzinfo=UTC)

    moved = moved_to_clock(file, now, BERLIN)

    assert [session.start_at.astimezone(BERLIN).weekday() for session in moved] == [1, 2, 3]
    assert moved[1].start_at == datetime(2024, 5, 1, 8, 0, tzinfo=UTC)
    assert [s.start_at.astimezone(BERLIN).hour for s in moved] == [s.start_at.astimezone(BERLIN).hour for s in file]


def test_a_day_without_a_log_is_passed_over_for_the_nearest_of_its_weekday_that_has_one() -> None:
    file = visits("2022-04-13T08:00:00Z", "2022-05-18T08:00:00Z", "2022-12-01T08:00:00Z")

    moved = moved_to_clock(file, datetime(2024, 5, 1, 6, 0, tzinfo=UTC), BERLIN)

    assert datetime(2024, 5, 1, 8, 0, tzinfo=UTC) in [session.start_at for session in moved]
    assert moved[1].start_at == datetime(2024, 5, 1, 8, 0, tzinfo=UTC)


def test_sessions_whose_dates_the_clock_shows_stay_where_they_are() -> None:
    file = visits("2022-04-12T17:27:00Z", "2022-12-01T08:00:00Z")

    assert moved_to_clock(file, datetime(2022, 6, 1, tzinfo=UTC), BERLIN) == file


@settings(max_examples=60, deadline=None)
@given(days=st.integers(-4000, 4000), length=st.integers(0, 400))
def test_wherever_the_clock_stands_it_stands_inside_the_moved_file(days: int, length: int) -> None:
    first = datetime(2022, 4, 12, 12, 0, tzinfo=UTC)
    last = first + timedelta(days=max(length, 6))
    file = tuple(Session(start_at=at, capacity_kwh=60.0, soc_start_pct=20.0) for at in (first, last))
    now = first + timedelta(days=days)

    moved = moved_to_clock(file, now, BERLIN)

    assert moved[0].start_at.astimezone(BERLIN).date() <= now.astimezone(BERLIN).date()
    assert now.astimezone(BERLIN).date() <= moved[1].start_at.astimezone(BERLIN).date()
    assert (moved[0].start_at.astimezone(BERLIN).date() - first.date()).days % 7 == 0


def test_a_car_that_wants_nothing_is_no_car() -> None:
    with pytest.raises(ValueError, match="must lie above"):
        Car(capacity_kwh=60.0, soc_start_pct=80.0, soc_target_pct=80.0)


def test_a_chapter_leaps_ahead_to_its_time_of_day_and_never_back() -> None:
    zone = ZoneInfo("Europe/Berlin")
    start = datetime(2024, 6, 15, 0, 0, tzinfo=UTC)  # 02:00 in Berlin
    chapters = tuple(
        Chapter(at_s=at_s, title="a chapter", caption="", local_time=wall)
        for at_s, wall in ((0.0, "02:00"), (900.0, "12:00"), (1800.0, None), (2700.0, "01:00"))
    )

    assert leaps(chapters, start, zone) == ((0.0, 0.0), (900.0, 9.75 * 3600.0), (2700.0, 12.5 * 3600.0))
