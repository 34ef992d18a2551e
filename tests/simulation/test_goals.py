"""Goals that only the whole shows: alerts, reconnection in order, nothing old after an outage, a full disk."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Self

import pytest

from services.enexa.dispatching.alarms import Alarm
from services.enexa.dispatching.reconcile import ORDER, ReconcileStep
from shared.scenario.load import load_scenario
from tests.simulation.weather import Kind, Place, Trouble
from tests.simulation.world import Options, World

pytestmark = [pytest.mark.simulation, pytest.mark.timeout(120)]

OUT_S = 101.0
"""Enexa asks for Amperio's health in this second, so the first failure is here."""
DOWN_S = 120.0
UP_S = 100.0 + DOWN_S
ACTED = frozenset({"acknowledged", "applied", "verified"})


def cut(at_s: float, for_s: float) -> Trouble:
    return Trouble(kind=Kind.CUT, place=Place.AMPERIO_ENEXA, at_s=at_s, for_s=for_s)


class Watched:
    """A world, and what Enexa said to people and to the middleware, by second."""

    def __init__(self, *troubles: Trouble, seed: int = 1) -> None:
        self.world = World(Options(scenario=load_scenario("reference_day"), hours=1.0, troubles=troubles, seed=seed))
        self.told: list[tuple[float, str]] = []
        self.states: list[tuple[float, str, str]] = []
        tell = self.world.enexa._tell

        def telling(name: str) -> None:
            self.told.append((self.world.clock.now().s, name))
            tell(name)

        self.world.enexa._tell = telling  # type: ignore[method-assign]  # listens in
        self.world.enexa.commands.append(lambda now, name, status: self.states.append((now.s, name, status)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.world.amperio.close()

    def play(self, until_s: float) -> "Watched":
        while self.world.clock.now().s < until_s:
            self.world.tick()
        return self

    def alerts(self) -> list[float]:
        return [at_s for at_s, name in self.told if name == "alert_raise"]


OUTAGES = [
    ("shorter than a minute", (cut(OUT_S, 55.0),), 55.0, 0),
    ("a minute", (cut(OUT_S, 61.0),), 61.0, 1),
    ("five minutes", (cut(OUT_S, 300.0),), 300.0, 1),
    ("flapping", tuple(cut(OUT_S + 20.0 * number, 10.0) for number in range(6)), 120.0, 1),
]


@pytest.mark.parametrize(("what", "troubles", "length_s", "count"), OUTAGES, ids=[row[0] for row in OUTAGES])
def test_b7_people_are_told_once_and_a_minute_after_the_first_failure(
    what: str, troubles: tuple[Trouble, ...], length_s: float, count: int
) -> None:
    with Watched(*troubles) as watched:
        watched.play(OUT_S + length_s + 30.0)

    alerts = watched.alerts()
    assert len(alerts) == count
    assert all(60.0 <= at_s - OUT_S <= 65.0 for at_s in alerts)
    assert len([name for _, name in watched.told if name == "alert_clear"]) == count


def test_b7_the_control_without_a_fresh_look_a_short_outage_alarms_people(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Alarm, "due_s", float("inf"))

    with Watched(cut(OUT_S, 55.0)) as watched:
        watched.play(OUT_S + 70.0)

    assert watched.alerts()


def check_order(watched: Watched) -> None:
    done = list(watched.world.enexa.archive.reconciliations.values())
    assert done, "a reconnection is recorded"
    for view in done:
        check_steps(view.steps)


def check_steps(steps: Sequence[ReconcileStep]) -> None:
    assert [step.name for step in steps] == [name.value for name in ORDER]
    ended = [step.at for step in steps if step.at is not None]
    assert len(ended) == len(ORDER)
    assert ended == sorted(ended)


def test_b14_the_control_steps_that_ended_in_another_order_are_found() -> None:
    at = datetime(2024, 1, 15, tzinfo=UTC)
    steps = [ReconcileStep(name=name.value, at=at - timedelta(seconds=n)) for n, name in enumerate(ORDER)]

    with pytest.raises(AssertionError):
        check_steps(steps)


def check_nothing_old(watched: Watched, ended_s: float) -> None:
    """No command made before the reconnection takes effect after it."""
    archive = watched.world.enexa.archive
    start = watched.world.clock.now()
    ended_at = start.at - timedelta(seconds=start.s - ended_s)
    old = {name for name, record in archive.commands.items() if record.planned_at < ended_at}
    late = [
        row for row in watched.states if row[0] > ended_s and row[1] in old and row[2] in ("applied", "acknowledged")
    ]
    setpoints = [row for row in late if archive.commands[row[1]].command == "set_battery_power"]
    assert not setpoints
    fresh = [row for row in watched.states if row[0] > ended_s and row[2] in ("acknowledged", "applied", "verified")]
    assert fresh, "afterwards it dispatches again"


@pytest.mark.parametrize("for_s", [70.0, 150.0])
def test_b14_after_an_outage_come_state_plan_dispatch_and_history_in_this_order(for_s: float) -> None:
    with Watched(cut(OUT_S, for_s)) as watched:
        watched.play(OUT_S + for_s + 60.0)

    check_order(watched)
    check_nothing_old(watched, OUT_S + for_s)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_b14_two_hundred_reconnections() -> None:
    for seed in range(200):
        for_s = 65.0 + seed % 40
        with Watched(cut(OUT_S + seed, for_s), seed=seed) as watched:
            watched.play(OUT_S + seed + for_s + 90.0)

        check_order(watched)
        check_nothing_old(watched, OUT_S + seed + for_s)


def test_b5_setpoints_made_while_the_middleware_was_down_never_act() -> None:
    with Watched(Trouble(kind=Kind.KILL, place=Place.AMPERIO, at_s=100.0, for_s=DOWN_S)) as watched:
        watched.play(UP_S + 60.0)
        entries = watched.world.amperio.agent.ledger._entries.values()
        limits = [entry.command_id for entry in entries if entry.record.command == "set_grid_limit"]

    check_nothing_old(watched, UP_S)
    assert len(set(limits)) == len(limits), "what has to be true anyway is sent once"


def test_b5_the_control_an_old_setpoint_that_acted_is_found() -> None:
    with Watched(Trouble(kind=Kind.KILL, place=Place.AMPERIO, at_s=100.0, for_s=DOWN_S)) as watched:
        watched.play(UP_S + 60.0)
    commands = watched.world.enexa.archive.commands.values()
    old = min((each for each in commands if each.command == "set_battery_power"), key=lambda each: each.planned_at)
    watched.states.append((UP_S + 10.0, old.command_id, "acknowledged"))

    with pytest.raises(AssertionError):
        check_nothing_old(watched, UP_S)


def test_a14_a_full_disk_stops_no_control_and_its_seconds_are_declared() -> None:
    full_s = 90.0
    full = Trouble(kind=Kind.DISK_FULL, place=Place.AMPERIO, at_s=100.0, for_s=full_s)
    watched = Watched(full)
    world = watched.world
    tripped, beaten = [], []
    while world.clock.now().s < 100.0 + full_s + 30.0:
        world.tick()
        post = world.device.station.post
        tripped.append(post.watchdog.state.value == "tripped")
        if 100.0 < world.clock.now().s <= 100.0 + full_s:
            beaten.append(world.amperio.agent.mode.value)
    report = world.finish()

    assert not any(tripped)
    assert set(beaten) == {"online"}
    assert report.breach_count == 0, "\n".join(report.lines())
    assert report.samples.missing == 0
    assert report.samples.declared_gaps >= 1
