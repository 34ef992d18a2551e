"""The director plays sessions and timelines: who comes when, who waits, who leaves unserved."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from emulator.device.memory import memory_of
from emulator.director import MOST_WAITING, fault_mistake
from emulator.memory import Saved, resumed
from shared.chargepost.registers import CHARGER_1
from shared.errors import BadInput
from shared.moment import Moment
from shared.scenario.load import load_scenario
from shared.scenario.schema import (
    AmbientChanges,
    DrawnFaults,
    EvArrives,
    EvLeaves,
    FaultBegins,
    FaultEnds,
    Scenario,
    Session,
)
from tests.unit.emulator.rig import NOON, Rig, a_car


def story(*timeline: object, **more: object) -> Scenario:
    return Scenario(name="story", story="A test.", timeline=tuple(timeline), **more)  # type: ignore[arg-type]  # msgspec checks


def seen(rig: Rig, kind: str) -> list[str]:
    return [note.name for note in rig.post.truth.notes if note.kind == kind]


def test_the_reference_day_serves_twenty_five_cars() -> None:
    rig = Rig(scenario=load_scenario("reference_day"), at=datetime(2024, 6, 15, 5, 0, tzinfo=UTC))
    rig.run(16 * 3600)

    assert seen(rig, "car").count("plugged") == 25
    assert rig.station.director.turned_away == 0


def test_the_day_repeats_itself_on_the_next_local_day() -> None:
    rig = Rig(scenario=load_scenario("reference_day"), at=datetime(2024, 6, 14, 21, 0, tzinfo=UTC))
    rig.run(8 * 3600 + 12 * 60)

    plugged = [note.at for note in rig.post.truth.notes if note.name == "plugged"]
    assert plugged == [datetime(2024, 6, 15, 5, 10, tzinfo=UTC)]


def test_a_station_started_in_the_middle_of_a_session_finds_its_car() -> None:
    rig = Rig(scenario=load_scenario("reference_day"), at=datetime(2024, 6, 15, 5, 20, tzinfo=UTC)).run(5)

    vehicle = rig.post.outlets[0].vehicle
    assert vehicle is not None
    assert vehicle.leave_s == pytest.approx(15 * 60, abs=5)


def test_a_restart_plays_only_what_came_since() -> None:
    at = datetime(2024, 6, 15, 5, 20, tzinfo=UTC)
    rig = Rig(scenario=load_scenario("reference_day"), at=at, since=datetime(2024, 6, 15, 5, 15, tzinfo=UTC)).run(5)

    assert rig.post.outlets[0].vehicle is None


STORY = story(
    AmbientChanges(at_s=50.0, ambient_c=-10.0),
    EvArrives(at_s=60.0, capacity_kwh=60.0, soc_start_pct=20.0, stay_s=900.0),
    FaultBegins(at_s=100.0, fault="soc_frozen", for_s=500.0),
    FaultBegins(at_s=110.0, fault="counter_reset"),
    FaultBegins(at_s=310.0, fault="p_ev_stuck_zero", for_s=300.0),
    FaultBegins(at_s=320.0, fault="soc_sentinel", for_s=10.0),
    EvArrives(at_s=330.0, capacity_kwh=60.0, soc_start_pct=20.0, stay_s=900.0),
    EvArrives(at_s=340.0, capacity_kwh=60.0, soc_start_pct=20.0, stay_s=20.0),
)


def restarted(first: Rig, *, after_s: float, origin: datetime | None = None) -> Rig:
    """The same station, as a process that was away for a while finds it; another origin is another run."""
    at = first.now.later(after_s).at
    told_s = first.station.director.told_s(first.now)
    saved = Saved(at=first.now.at, memory=memory_of(first.post), story="story", began_at=NOON, told_s=told_s)
    story = resumed(saved, "story", at, origin=origin, told_s=told_s + after_s if origin == NOON else 0.0)
    return Rig(
        scenario=STORY, at=at, memory=story.memory, since=story.since, told_s=story.told_s, known_s=story.known_s
    ).run(5)


@pytest.mark.parametrize("origin", [None, NOON], ids=["alone", "in a stack"])
def test_a_restarted_story_goes_on_where_it_was_and_tells_nothing_twice(origin: datetime | None) -> None:
    first = Rig(scenario=STORY).run(300)
    again = restarted(first, after_s=100.0, origin=origin)

    assert [note.new for note in again.post.truth.notes if note.name == "soc_frozen"] == ["goes on"]
    assert "counter_reset" not in seen(again, "fault")
    assert seen(again, "car").count("plugged") == 1
    assert [outlet.vehicle is not None for outlet in again.post.outlets] == [True, True]
    assert again.post.environment.mean_c == -10.0
    stays = [outlet.vehicle.leave_s - again.now.s for outlet in again.post.outlets if outlet.vehicle]
    assert stays == [pytest.approx(60 + 900 - 405, abs=2), pytest.approx(330 + 900 - 405, abs=2)]
    faults = again.post.faults.active
    assert set(faults) == {"soc_frozen", "p_ev_stuck_zero"}
    assert [(fault.until_s or 0.0) - again.now.s for fault in faults.values()] == [
        pytest.approx(600 - 405, abs=2), pytest.approx(610 - 405, abs=2)
    ]  # fmt: skip


def test_a_story_told_anew_begins_at_its_beginning_on_a_mended_station() -> None:
    first = Rig(scenario=STORY).run(300)
    again = restarted(first, after_s=100.0, origin=NOON + timedelta(seconds=400))

    assert not again.post.faults.active
    again.run(60)
    assert again.post.environment.mean_c == -10.0


def test_the_date_may_leap_while_a_story_is_told() -> None:
    rig = Rig(scenario=STORY).run(90)
    rig.now = Moment(rig.now.s, rig.now.at + timedelta(hours=9))
    assert not rig.run(9).post.faults.active

    assert set(rig.run(2).post.faults.active) == {"soc_frozen"}


def test_faults_by_chance_go_on_after_a_restart_as_if_there_had_been_none() -> None:
    faults = DrawnFaults(per_hour=240.0, mean_s=5.0, faults=("soc_frozen", "null_frames"))
    chance = story(drawn_faults=faults, seed=7)

    def begun(rig: Rig) -> list[tuple[datetime, str]]:
        return [(note.at, note.name) for note in rig.post.truth.notes if note.new == "begins" or "(" in note.new]

    whole, first = Rig(scenario=chance).run(1200), Rig(scenario=chance).run(600)
    second = Rig(scenario=chance, at=first.now.at, since=first.now.at, told_s=600.0, known_s=600.0).run(600)

    assert begun(first) + begun(second) == begun(whole)


def test_a_timeline_may_bring_more_cars_than_the_queue_holds() -> None:
    crowd = [EvArrives(at_s=5.0, capacity_kwh=60.0, soc_start_pct=20.0) for _ in range(MOST_WAITING + 5)]
    rig = Rig(scenario=story(*crowd)).run(10)

    assert rig.station.director.turned_away == 5


def test_cars_queue_for_a_free_outlet_and_give_up_when_their_patience_ends() -> None:
    rig = Rig()
    for _ in range(4):
        rig.station.director.arrive(rig.now, a_car(patience_s=100.0))
    rig.run(50)
    assert [outlet.vehicle is not None for outlet in rig.post.outlets] == [True, True]
    assert rig.station.director.waiting == 2

    rig.post.unplug(2)
    rig.run(1)
    assert (rig.post.outlets[1].vehicle is not None, rig.station.director.waiting) == (True, 1)

    rig.run(60)
    assert (rig.station.director.waiting, rig.station.director.turned_away) == (0, 1)


def test_the_queue_is_bounded() -> None:
    rig = Rig()
    for _ in range(MOST_WAITING):
        rig.station.director.arrive(rig.now, a_car())

    with pytest.raises(BadInput, match="queue"):
        rig.station.director.arrive(rig.now, a_car())


def test_a_timeline_happens_at_its_seconds() -> None:
    rig = Rig(
        scenario=story(
            EvArrives(at_s=10.0, capacity_kwh=60.0, soc_start_pct=20.0),
            FaultBegins(at_s=60.0, fault="p_ev_stuck_zero"),
            FaultEnds(at_s=70.0, fault="p_ev_stuck_zero"),
            AmbientChanges(at_s=80.0, ambient_c=-10.0),
            EvLeaves(at_s=90.0, outlet=1),
        )
    )
    rig.run(9)
    assert rig.post.outlets[0].vehicle is None
    rig.run(52)
    assert rig.read(CHARGER_1).ev_kw == 0.0
    rig.run(10)
    assert (rig.read(CHARGER_1).ev_kw or 0.0) > 50.0
    rig.run(60)
    assert rig.post.environment.ambient_c == -10.0
    assert rig.post.outlets[0].vehicle is None


def test_a_story_with_an_unknown_fault_does_not_start() -> None:
    with pytest.raises(BadInput, match="meteorite"):
        Rig(scenario=story(FaultBegins(at_s=1.0, fault="meteorite")))


MISTAKES = [
    ('fault = "meteorite"', r"line 6: there is no fault 'meteorite'"),
    ('fault = "estop"\noptions = { strength = 2 }', r"line 6: the fault 'estop' takes no options"),
    ('fault = "string_offline"\noptions.unit = 9', r"line 6: the option 'unit' .* from 1 to 2, not 9"),
]


@pytest.mark.parametrize(("words", "sentence"), MISTAKES)
def test_a_fault_that_cannot_be_is_refused_with_the_line_of_its_file(words: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f'name = "mine"\nstory = "A test."\n[[timeline]]\nevent = "fault"\nat_s = 1\n{words}\n')

    with pytest.raises(BadInput, match=rf"mine\.toml, {sentence}"):
        load_scenario(path, check=fault_mistake)


def test_a_file_replaces_the_sessions_of_the_scenario() -> None:
    at = datetime(2024, 6, 15, 5, 0, tzinfo=UTC)
    comes = Session(start_at=datetime(2024, 6, 15, 5, 1, tzinfo=UTC), capacity_kwh=60.0, soc_start_pct=20.0)
    rig = Rig(scenario=load_scenario("reference_day"), at=at, sessions=(comes,)).run(3600)

    assert seen(rig, "car").count("plugged") == 1


def test_faults_drawn_from_a_seed_are_the_same_for_the_same_seed() -> None:
    def drawn(seed: int) -> list[tuple[datetime, str]]:
        faults = DrawnFaults(per_hour=60.0, mean_s=30.0, faults=("p_ev_stuck_zero", "soc_frozen", "null_frames"))
        rig = Rig(scenario=story(drawn_faults=faults, seed=seed)).run(3600)
        return [(note.at, note.name) for note in rig.post.truth.notes if note.kind == "fault" and "begins" in note.new]

    assert drawn(7) == drawn(7)
    assert drawn(7) != drawn(8)
    assert 35 <= len(drawn(7)) <= 90
    assert len({name for _, name in drawn(7)}) == 3


def test_a_car_that_leaves_is_in_the_truth_with_what_it_got() -> None:
    rig = Rig().plug(capacity_kwh=10.0, soc_start_pct=50.0, soc_target_pct=60.0, stay_s=200.0).run(210)

    (left,) = [note for note in rig.post.truth.notes if note.name == "unplugged"]
    assert left.new == "outlet 1, 60.0 %, 1.00 kWh"
