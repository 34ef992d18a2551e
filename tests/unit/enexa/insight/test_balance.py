"""The balance check: closes for true readings, and tells a wrong sign from a meter that is a second late."""

from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.enexa.insight.balance import RAISE_AFTER_S, BalanceWatch, Closure, check, standing_alarm
from shared.clock import ManualClock
from shared.contract.telemetry import Telemetry
from tests.unit.enexa.insight.samples import AT, sample

powers = st.floats(-220.0, 220.0)


@given(battery_kw=powers, ev_kw=st.tuples(st.floats(0.0, 300.0), st.floats(0.0, 150.0)), aux_kw=st.floats(0.0, 20.0))
def test_true_readings_close_whatever_flows(battery_kw: float, ev_kw: tuple[float, float], aux_kw: float) -> None:
    seen = check(sample(battery_kw=battery_kw, ev_kw=ev_kw, aux_kw=aux_kw))

    assert seen.closure is Closure.CLOSED
    assert seen.imbalance_kw == pytest.approx(0.0, abs=1e-9)


@given(battery_kw=st.floats(8.0, 220.0))
def test_a_battery_with_the_wrong_sign_leaves_the_balance_open(battery_kw: float) -> None:
    true = sample(battery_kw=battery_kw)
    lying = msgspec.structs.replace(true, battery=msgspec.structs.replace(true.battery, power_kw=-battery_kw))

    assert check(lying).closure is Closure.OPEN


def _without_grid(true: Telemetry) -> Telemetry:
    return msgspec.structs.replace(true, grid=msgspec.structs.replace(true.grid, import_kw=None))


@pytest.mark.parametrize(
    ("broken", "named"),
    [
        (lambda true: msgspec.structs.replace(true, aux_kw=None), "own consumption"),
        (lambda true: msgspec.structs.replace(true, chargers=()), "chargers"),
        (_without_grid, "grid"),
    ],
)
def test_a_missing_reading_is_named_and_never_guessed(broken: object, named: str) -> None:
    assert callable(broken)
    seen = check(broken(sample()))

    assert seen.closure is Closure.UNKNOWN
    assert seen.missing == (named,)


def _off(by_kw: float) -> Telemetry:
    true = sample()
    assert true.aux_kw is not None
    return msgspec.structs.replace(true, aux_kw=true.aux_kw + by_kw)


def test_a_meter_that_is_late_for_a_second_raises_nothing(clock: ManualClock) -> None:
    watch = BalanceWatch()
    seconds = [watch.step(clock.advance(1), _off(90.0 if second % 5 == 0 else 0.0)) for second in range(60)]

    assert seconds == [None] * 60


def test_an_open_balance_raises_once_and_clears_once(clock: ManualClock) -> None:
    watch = BalanceWatch()
    open_ = [watch.step(clock.advance(1), _off(30.0)) for _ in range(40)]
    closed = [watch.step(clock.advance(1), _off(0.0)) for _ in range(40)]

    raised = [alarm for alarm in open_ if alarm]
    cleared = [alarm for alarm in closed if alarm]
    assert [alarm.raised for alarm in raised] == [True]
    assert open_.index(raised[0]) == RAISE_AFTER_S
    assert [alarm.raised for alarm in cleared] == [False]
    assert "30.0 kW" in raised[0].sentence


def test_samples_without_a_reading_neither_raise_nor_clear(clock: ManualClock) -> None:
    watch = BalanceWatch()
    for _ in range(20):
        watch.step(clock.advance(1), _off(30.0))

    unknown = [watch.step(clock.advance(1), _without_grid(sample())) for _ in range(60)]

    assert unknown == [None] * 60
    assert watch.raised


def test_the_alarm_stands_as_long_as_the_recent_samples_say_so() -> None:
    wrong = [msgspec.structs.replace(_off(30.0), timestamp=AT + timedelta(seconds=second)) for second in range(20)]
    right = [sample(at=AT + timedelta(seconds=second)) for second in range(20, 40)]

    assert standing_alarm(wrong[:8]) is None
    assert "does not close" in (standing_alarm(wrong) or "")
    assert standing_alarm([*wrong, *right]) is None


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()
