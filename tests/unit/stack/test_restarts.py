"""A program that dies is started again soon, then later and later, and a person is told once."""

from hypothesis import given
from hypothesis import strategies as st

from services.stack.restarts import NOTICE_AFTER, STEADY_S, Restarts


def test_the_first_restart_is_prompt() -> None:
    assert Restarts().died(ran_s=0.0).wait_s <= 0.5


@given(st.lists(st.floats(min_value=0.0, max_value=STEADY_S - 0.1), min_size=1, max_size=40))
def test_early_deaths_wait_longer_each_time_up_to_a_ceiling_and_are_told_once(lives_s: list[float]) -> None:
    restarts = Restarts()
    waits_s, notices = [], 0
    for ran_s in lives_s:
        restarts = restarts.died(ran_s)
        waits_s.append(restarts.wait_s)
        notices += restarts.worth_a_notice

    assert waits_s == sorted(waits_s)
    assert max(waits_s) <= 30.0
    assert notices == (len(lives_s) >= NOTICE_AFTER)


def test_a_long_life_is_forgiven() -> None:
    restarts = Restarts()
    for _ in range(10):
        restarts = restarts.died(ran_s=1.0)

    assert restarts.died(ran_s=STEADY_S).wait_s == Restarts().died(ran_s=0.0).wait_s
