"""The judge of a run: what holds, what breaks, and what nobody saw."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.scenario.schema import Expectation
from tests.simulation.expectations import Judge, Verdict

VALUES = st.lists(st.floats(-100, 100), min_size=1, max_size=50)


def _judge(expectation: Expectation, *values: float | str | bool | None, total: float | None = None) -> Verdict:
    judge = Judge((expectation,))
    for s, value in enumerate(values):
        judge.observe(float(s), {expectation.that: value})
    return judge.conclude(float(len(values)), {} if total is None else {expectation.that: total})[0]


@given(VALUES, st.floats(-100, 100))
def test_never_above_holds_exactly_while_no_value_is_above(values: list[float], limit: float) -> None:
    verdict = _judge(Expectation(that="grid_import_kw", never_above=limit), *values)

    assert verdict.held is all(value <= limit for value in values)


@given(VALUES, st.floats(-100, 100))
def test_never_below_names_the_first_second_that_broke_it(values: list[float], limit: float) -> None:
    verdict = _judge(Expectation(that="soc_pct", never_below=limit), *values)
    broken = [s for s, value in enumerate(values) if value < limit]

    assert verdict.first_broken_s == (broken[0] if broken else None)


def test_what_nobody_observed_does_not_hold() -> None:
    for expectation in (
        Expectation(that="tpyo", never_above=1.0),
        Expectation(that="tpyo", equals=0),
        Expectation(that="tpyo", equals="online", within_s=5, of="link_cut"),
    ):
        assert not Judge((expectation,)).conclude(10.0, {"other": 0})[0].held


@pytest.mark.parametrize(
    ("expectation", "last", "held"),
    [
        (Expectation(that="x", equals=3), 3, True),
        (Expectation(that="x", equals=3), 4, False),
        (Expectation(that="x", equals="online"), "online", True),
        (Expectation(that="x", equals="online"), "safe", False),
        (Expectation(that="x", equals=True), False, False),
        (Expectation(that="x", at_least=2), 2, True),
        (Expectation(that="x", at_least=2), 1, False),
        (Expectation(that="x", at_most=2), 3, False),
        (Expectation(that="x", at_least=1, at_most=3), 2, True),
        (Expectation(that="x", at_least=1), None, False),
        (Expectation(that="x", at_least=1), "many", False),
    ],
)
def test_the_last_value_is_judged(expectation: Expectation, last: float | str | bool | None, held: bool) -> None:
    assert _judge(expectation, 99, last).held is held


def test_a_total_outranks_what_was_seen_last() -> None:
    assert _judge(Expectation(that="x", equals=5), 1, 2, total=5).held


MODE = Expectation(that="mode", equals="autonomous", within_s=3, of="link_cut")


@pytest.mark.parametrize(("after", "held"), [(0, True), (3, True), (4, False), (20, False)])
def test_something_has_to_become_true_in_time_after_each_happening(after: int, held: bool) -> None:
    judge = Judge((MODE,))
    for s in range(15):
        if s == 5:
            judge.happened(5.0, "link_cut")
        judge.observe(float(s), {"mode": "autonomous" if 5 + after <= s else "online"})

    assert judge.conclude(15.0, {})[0].held is held


def test_a_happening_that_never_comes_fulfils_nothing() -> None:
    judge = Judge((MODE,))
    judge.observe(0.0, {"mode": "autonomous"})

    verdict = judge.conclude(10.0, {})[0]

    assert not verdict.held
    assert "never happened" in verdict.sentence()


def test_a_verdict_is_one_sentence() -> None:
    verdict = _judge(Expectation(that="grid_import_kw", never_above=60.0), 10.0, 70.0)

    assert verdict.sentence() == "FAIL grid_import_kw never above 60.0: worst 70 (first at 1 s)"
