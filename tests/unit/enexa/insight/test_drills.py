"""Drills: a verdict is what was seen in time, and nothing else."""

from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.enexa.insight.drills import (
    BY_KEY,
    DRILLS,
    Check,
    Drill,
    DrillRun,
    ModeTold,
    Outcome,
    Seen,
    Way,
)
from shared.moment import moment_at
from tests.unit.enexa.insight.samples import AT

BEGAN = moment_at(AT)
QUIET = Seen(
    now=BEGAN,
    fallback_after_s=60.0,
    reachable=True,
    mode="online",
    sample_age_s=1.0,
    external_control=True,
    open_alerts=frozenset(),
    missing_count=0,
    buffered_count=0,
)


def at(second: float, **changes: object) -> Seen:
    return msgspec.structs.replace(QUIET, now=BEGAN.later(second), **changes)


def told(second: float, mode: str) -> ModeTold:
    return ModeTold(at=AT + timedelta(seconds=second), mode=mode)


@given(
    held_at_s=st.one_of(st.none(), st.integers(0, 40)),
    within_s=st.integers(0, 30),
    for_s=st.integers(1, 15),
    afterwards=st.booleans(),
)
def test_a_check_holds_exactly_when_it_was_seen_within_its_time(
    held_at_s: int | None, within_s: int, for_s: int, afterwards: bool
) -> None:
    check = Check(
        sentence="it", within_s=within_s, afterwards=afterwards, holds=lambda seen, _: seen.now.s == held_at_s
    )
    drill = Drill(key="k", title="t", does="d", for_s=for_s, checks=(check,))
    run = DrillRun(drill, BEGAN, "operator")
    for second in range(50):
        run.tick(at(float(second)))
    first_s = for_s if afterwards else 0
    in_time = held_at_s is not None and first_s <= held_at_s <= first_s + within_s

    assert run.is_finished
    assert run.view().verdict is (Outcome.HELD if in_time else Outcome.FAILED)


def test_every_drill_fails_where_nothing_of_it_is_seen() -> None:
    for drill in DRILLS:
        run = DrillRun(drill, BEGAN, "operator")
        for second in range(0, 1000, 5):
            run.tick(at(float(second), mode=None, sample_age_s=None, external_control=None, missing_count=9))
        assert run.view().verdict is Outcome.FAILED, drill.key


def test_an_alert_that_comes_before_its_minute_is_not_in_time() -> None:
    run = DrillRun(BY_KEY["enexa_cannot_reach_amperio"], BEGAN, "operator")
    silent = frozenset({"middleware_silent"})
    run.tick(at(5.0, reachable=False))
    run.tick(at(40.0, reachable=False, open_alerts=silent))
    early = run.view().findings[1].outcome
    run.tick(at(62.0, reachable=False, open_alerts=silent))

    assert early is Outcome.WAITING
    assert [each.outcome for each in run.view().findings[:2]] == [Outcome.HELD, Outcome.HELD]


@pytest.mark.parametrize(
    ("second", "mode", "outcome"),
    [(60.0, "autonomous", Outcome.HELD), (64.0, "safe", Outcome.HELD), (30.0, "safe", Outcome.WAITING)],
)
def test_acting_alone_is_told_by_when_the_middleware_says_it_did(second: float, mode: str, outcome: Outcome) -> None:
    run = DrillRun(BY_KEY["amperio_cannot_reach_enexa"], BEGAN, "operator")
    run.tick(at(200.0, modes_told=(told(second, mode),)))

    assert run.view().findings[1].outcome is outcome


def test_a_reconciliation_from_before_the_drill_proves_nothing() -> None:
    run = DrillRun(BY_KEY["enexa_comes_back"], BEGAN, "operator")
    steps = frozenset({"state_sync", "replan", "redispatch", "history"})
    run.tick(at(60.0, steps_done=steps, reconciled_from=AT - timedelta(minutes=5)))
    assert run.view().verdict is Outcome.WAITING

    run.tick(at(61.0, steps_done=steps, reconciled_from=AT + timedelta(seconds=50)))
    assert run.view().verdict is Outcome.HELD


def test_the_drills_cover_both_ways_and_the_station() -> None:
    assert {way for drill in DRILLS for way in drill.cuts} == set(Way)
    assert {drill.fault.name for drill in DRILLS if drill.fault} == {"telemetry_gap", "heartbeat_ignored"}
    assert all(drill.cuts or drill.fault for drill in DRILLS)
