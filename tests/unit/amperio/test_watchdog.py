"""The heartbeat: often enough, and earned."""

import random
from itertools import pairwise

import pytest

from services.amperio.site.watchdog import Duty, Watchdog, cycle_s
from shared.clock import ManualClock


@pytest.mark.parametrize("interval_s", [2, 3, 5, 10, 15, 30, 60])
def test_c6_two_beats_are_never_further_apart_than_a_third_of_the_interval(clock: ManualClock, interval_s: int) -> None:
    watchdog = Watchdog(clock.now(), interval_s)
    beaten: list[float] = []

    for _ in range(200):
        now = clock.advance(cycle_s(interval_s))
        watchdog.check_in(now, *Duty)
        if watchdog.tick(now).due:
            watchdog.beaten(now)
            beaten.append(now.s)

    gaps = [later - earlier for earlier, later in pairwise(beaten)]
    assert max(gaps) <= interval_s / 3 + 1e-6


def gaps_with_stalls(interval_s: int, seconds: float, stall_s: float, seed: int) -> float:
    """The longest time between two beats while the loop stalls now and then; a tick that is late is not made up for."""
    chance, clock = random.Random(seed), ManualClock()
    watchdog = Watchdog(clock.now(), interval_s)
    beaten_s = due_s = clock.now().s
    longest_s = 0.0
    while due_s < seconds:
        due_s += cycle_s(interval_s)
        late_s = stall_s if chance.random() < 0.2 else 0.0
        now = clock.advance(max(due_s + late_s - clock.now().s, 0.0))
        watchdog.check_in(now, *Duty)
        if watchdog.tick(now).due:
            longest_s, beaten_s = max(longest_s, now.s - beaten_s), now.s
            watchdog.beaten(now)
    return longest_s


@pytest.mark.parametrize("interval_s", [2, 5, 10, 15, 30, 60])
def test_c6_a_loop_that_stalls_for_300_ms_never_lets_a_station_trip(interval_s: int) -> None:
    assert gaps_with_stalls(interval_s, 3600.0, 0.3, seed=interval_s) <= interval_s / 3.0 + 0.3 + 1e-6


def test_c6_the_control_stalls_of_two_seconds_do_let_a_quick_station_trip() -> None:
    assert gaps_with_stalls(2, 600.0, 2.0, seed=1) > 2.0


@pytest.mark.soak
def test_c6_a_day_of_stalls_at_two_seconds() -> None:
    assert gaps_with_stalls(2, 86_400.0, 0.3, seed=1) < 2.0


@pytest.mark.parametrize("hung", list(Duty))
def test_c7_whoever_hangs_silences_the_heartbeat_within_two_cycles(clock: ManualClock, hung: Duty) -> None:
    watchdog = Watchdog(clock.now(), 10)
    watchdog.check_in(clock.now(), *Duty)
    others = [duty for duty in Duty if duty is not hung]

    for _ in range(3):
        now = clock.advance(1)
        watchdog.check_in(now, *others)

    beat = watchdog.tick(clock.now())
    assert not beat.due
    assert beat.missing == (hung,)


def test_a_beat_that_was_not_confirmed_is_due_again_at_once(clock: ManualClock) -> None:
    watchdog = Watchdog(clock.now(), 30)
    watchdog.check_in(clock.now(), *Duty)

    assert watchdog.tick(clock.now()).due
    assert watchdog.tick(clock.now()).due


def test_another_interval_is_beaten_at_once(clock: ManualClock) -> None:
    watchdog = Watchdog(clock.now(), 60)
    watchdog.check_in(clock.now(), *Duty)
    watchdog.beaten(clock.now())
    assert not watchdog.tick(clock.now()).due

    watchdog.set_interval(10)

    assert watchdog.tick(clock.now()).due


def test_nobody_has_checked_in_at_the_start(clock: ManualClock) -> None:
    assert Watchdog(clock.now(), 10).tick(clock.now()).missing == tuple(Duty)
