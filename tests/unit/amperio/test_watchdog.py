"""The heartbeat: often enough, and earned."""

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
