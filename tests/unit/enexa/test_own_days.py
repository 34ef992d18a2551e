"""Days of one's own: what was typed is checked and kept, and the file plays like a shipped one."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from services.enexa.own_days import SHIPPED, OwnDays, hourly, to_toml, with_sun
from services.enexa.web.days import COLUMNS, read_sessions, read_sun
from services.enexa.web.formats import Format
from shared.errors import BadInput, NotFound
from shared.scenario.load import load_scenario
from shared.scenario.schema import DailySession, Scenario

GOOD = dict(zip((name for name, _, _ in COLUMNS), ("07:30", "25", "60", "20", "80", "150"), strict=True))
SESSIONS = st.builds(
    DailySession,
    local_time=st.times().map(lambda at: at.strftime("%H:%M")),
    stay_s=st.floats(60.0, 86_400.0),
    capacity_kwh=st.floats(1.0, 200.0),
    soc_start_pct=st.floats(0.0, 50.0),
    soc_target_pct=st.floats(50.5, 100.0),
    max_kw=st.floats(1.0, 400.0),
)


def base() -> Scenario:
    return load_scenario(SHIPPED)


@given(
    sessions=st.lists(SESSIONS, max_size=5),
    sun=st.lists(st.floats(0.0, 1.2), min_size=24, max_size=24),
    story=st.text(),
)
def test_a_saved_day_is_read_again_as_it_was(
    sessions: list[DailySession], sun: list[float], story: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    made = with_sun(replace(base(), name="mine", sessions=tuple(sessions), story="told"), tuple(sun))
    days = OwnDays(tmp_path_factory.mktemp("days"))
    days.save(replace(made, story=story))
    again = days.load("mine")

    assert again.sessions == made.sessions
    assert again.pv_ratio == made.pv_ratio
    assert again.price_eur_per_mwh == made.price_eur_per_mwh
    assert days.names() == (SHIPPED, "mine")


@pytest.mark.parametrize("name", ["", "Has Capitals", "../up", "a" * 41, SHIPPED, "enexa_killed"])
def test_a_name_that_cannot_be_used_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput):
        OwnDays(tmp_path).save(replace(base(), name=name))
    assert list(tmp_path.iterdir()) == []


def test_a_day_that_nobody_made_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        OwnDays(tmp_path).load("../../etc/passwd")


@pytest.mark.parametrize(
    ("field", "text", "said"),
    [
        ("local_time", "25:00", "07:30"),
        ("stay_min", "soon", "not a number"),
        ("stay_min", "-5", "at least 0"),
        ("capacity_kwh", "0", "more than 0"),
        ("capacity_kwh", "", "missing"),
        ("soc_start_pct", "101", "at most 100"),
        ("soc_target_pct", "10", "above the charge at arrival"),
        ("max_kw", "1e999", "not a number"),
    ],
)
def test_a_car_that_cannot_be_is_refused_by_its_field(field: str, text: str, said: str) -> None:
    made, problems = read_sessions(base(), [GOOD, {**GOOD, field: text}], Format.ENGLISH)

    assert made is None
    assert list(problems) == [f"{field}1"]
    assert said in problems[f"{field}1"]


def test_cars_are_kept_in_the_order_of_their_arrival() -> None:
    made, problems = read_sessions(base(), [GOOD, {**GOOD, "local_time": "06:00", "stay_min": "7,5"}], Format.GERMAN)

    assert problems == {}
    assert made is not None
    assert [each.local_time for each in made.sessions] == ["06:00", "07:30"]
    assert made.sessions[0].stay_s == 450.0


def test_the_sun_is_a_share_for_each_hour() -> None:
    good = ["0.5"] * 24
    made, _ = read_sun(base(), good, Format.ENGLISH)
    _, problems = read_sun(base(), [*good[:23], "1.3"], Format.ENGLISH)

    assert made is not None
    assert hourly(made.pv_ratio) == (0.5,) * 24
    assert list(problems) == ["hour23"]
    assert "pv_ratio" in to_toml(made)
