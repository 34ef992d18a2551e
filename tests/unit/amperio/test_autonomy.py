"""The modes as a table: every edge, no other edge, and the times of the page."""

import random
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.amperio.site.autonomy import FROM_ANY, START, TRANSITIONS, Autonomy, Cause
from shared.contract.telemetry import Mode
from shared.moment import Moment, moment_at

AT = datetime(2024, 1, 15, 10, 0, tzinfo=UTC)


def mode_of(autonomy: Autonomy) -> Mode:
    """Asked anew each time: the mode moves between two looks."""
    return autonomy.mode


def online(at_s: float = 0.0) -> tuple[Autonomy, Moment]:
    now = moment_at(AT, at_s)
    autonomy = Autonomy(now)
    for _ in range(7):
        now = now.later(1)
        autonomy.observe(now, exchanges=(True,))
    autonomy.plan_verified(now)
    assert mode_of(autonomy) is Mode.ONLINE
    return autonomy, now


def test_every_mode_has_a_row_is_reachable_and_none_is_a_dead_end() -> None:
    reached = {START, *FROM_ANY.values()}
    for _ in Mode:
        reached |= {target for mode in reached for target in TRANSITIONS[mode].values()}

    assert set(TRANSITIONS) == set(Mode) == reached
    assert all(TRANSITIONS[mode] for mode in Mode)


SILENCES = [
    (59.0, True, Mode.SUSPECT),
    (60.0, True, Mode.AUTONOMOUS),
    (60.0, False, Mode.SAFE),
]


@pytest.mark.parametrize(("silent_s", "schedule", "mode"), SILENCES)
def test_c1_sixty_seconds_after_the_last_useful_exchange(silent_s: float, schedule: bool, mode: Mode) -> None:
    autonomy, now = online()

    autonomy.observe(now.later(1), exchanges=(False,), schedule_in_force=schedule)
    autonomy.observe(now.later(silent_s), exchanges=(False,), schedule_in_force=schedule)

    assert mode_of(autonomy) is mode


def test_c5_autonomy_ends_with_the_schedule_that_it_lives_on() -> None:
    autonomy, now = online()
    autonomy.observe(now.later(60.0), exchanges=(False,), schedule_in_force=True)
    assert mode_of(autonomy) is Mode.AUTONOMOUS

    autonomy.observe(now.later(61.0), schedule_in_force=False)

    assert mode_of(autonomy) is Mode.SAFE


def test_c1_a_call_that_hangs_counts_as_silence_too() -> None:
    autonomy, now = online()

    autonomy.observe(now.later(61), schedule_in_force=True)

    assert mode_of(autonomy) is Mode.AUTONOMOUS


def modes_in_bad_weather(hours: int) -> set[Mode]:
    """One exchange in twenty is lost, answers take two seconds, and the link is gone for 55 s at times."""
    chance = random.Random(2)
    autonomy, now = online()
    modes, gone_until_s, asked = set(), 0.0, [True, True]
    for _ in range(hours * 3600):
        now = now.later(1)
        if now.s >= gone_until_s + 10.0 and chance.random() < 0.005:
            gone_until_s = now.s + 55.0
        asked.append(now.s >= gone_until_s and chance.random() >= 0.05)
        autonomy.observe(now, exchanges=(asked.pop(0),), schedule_in_force=True)
        modes.add(mode_of(autonomy))
    return modes


def test_c2_outages_of_fifty_five_seconds_never_lead_to_the_fallback() -> None:
    assert modes_in_bad_weather(6) == {Mode.ONLINE, Mode.SUSPECT}


@pytest.mark.soak
def test_c2_a_day_of_bad_weather() -> None:
    assert modes_in_bad_weather(24) == {Mode.ONLINE, Mode.SUSPECT}


def test_c2_a_start_has_its_own_patience() -> None:
    """A thousand cold starts beside an Enexa that takes up to 55 s to answer: safe from the first second, no detour."""
    chance = random.Random(3)
    for _ in range(1000):
        now = moment_at(AT, chance.uniform(0.0, 1e6))
        autonomy = Autonomy(now)
        answers_after_s = chance.uniform(0.0, 55.0)
        changes = [
            change
            for second in range(1, 70)
            for change in autonomy.observe(now.later(second), exchanges=(second > answers_after_s,))
        ]
        assert [(change.before, change.after) for change in changes] == [(Mode.SAFE, Mode.RESYNC)]


@settings(max_examples=500)
@given(st.lists(st.tuples(st.booleans(), st.floats(min_value=0.1, max_value=4.0)), max_size=60))
def test_c3_the_fallback_is_left_only_after_three_good_exchanges_over_five_seconds(
    exchanges: list[tuple[bool, float]],
) -> None:
    autonomy, now = online()
    now = now.later(61)
    autonomy.observe(now, schedule_in_force=True)
    streak: list[float] = []

    for good, after_s in exchanges:
        now = now.later(after_s)
        streak = [*streak, now.s] if good else []
        autonomy.observe(now, exchanges=(good,), schedule_in_force=True)
        if mode_of(autonomy) is Mode.RESYNC:
            assert len(streak) >= 3
            assert streak[-1] - streak[0] >= 5.0
            return
        assert mode_of(autonomy) is Mode.AUTONOMOUS


def test_resync_ends_only_by_a_verified_plan_or_falls_back() -> None:
    autonomy, now = online()
    autonomy.observe(now.later(61))
    for second in range(62, 80):
        autonomy.observe(now.later(second), exchanges=(True,))
    assert mode_of(autonomy) is Mode.RESYNC

    autonomy.observe(now.later(80), exchanges=(False,))

    assert mode_of(autonomy) is Mode.SAFE


def test_ten_seconds_without_device_data_lose_the_device_and_its_return_leads_to_safe() -> None:
    autonomy, now = online()

    autonomy.observe(now.later(9), exchanges=(True,), device_valid=False)
    assert mode_of(autonomy) is Mode.ONLINE
    autonomy.observe(now.later(10), exchanges=(True,), device_valid=False)
    assert mode_of(autonomy) is Mode.DEVICE_LOST
    autonomy.observe(now.later(11), exchanges=(True,), device_valid=True)

    assert mode_of(autonomy) is Mode.SAFE


@pytest.mark.parametrize("valid", [True, False])
def test_a_lock_is_left_only_on_site(valid: bool) -> None:
    autonomy, now = online()
    for second in range(1, 100):
        autonomy.observe(now.later(second), exchanges=(True,), device_valid=valid, locked=True)
        autonomy.plan_verified(now.later(second))
        assert mode_of(autonomy) is Mode.LOCKED

    autonomy.observe(now.later(100), exchanges=(True,), locked=False)

    assert mode_of(autonomy) is Mode.SAFE


@given(st.lists(st.tuples(st.sampled_from(sorted(Cause)), st.booleans(), st.booleans(), st.booleans()), max_size=80))
def test_no_other_edge_is_ever_taken(steps: list[tuple[Cause, bool, bool, bool]]) -> None:
    now = moment_at(AT)
    autonomy = Autonomy(now)
    for cause, schedule, device, locked in steps:
        now = now.later(7)
        changes = autonomy.observe(
            now,
            exchanges=(cause is not Cause.EXCHANGE_FAILED,),
            schedule_in_force=schedule,
            device_valid=device,
            locked=locked,
        )
        if cause is Cause.FRESH_PLAN_VERIFIED:
            changes += autonomy.plan_verified(now)
        for change in changes:
            assert TRANSITIONS[change.before].get(change.cause, FROM_ANY.get(change.cause)) is change.after
