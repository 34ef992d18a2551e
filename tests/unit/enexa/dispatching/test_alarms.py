"""An alert after a minute, once, for each way a link can fail."""

import pytest

from services.enexa.dispatching.alarms import Alarm, Turn
from tests.unit.enexa.dispatching.scene import NOW


def turns(pattern: list[tuple[float, bool]]) -> list[tuple[float, Turn]]:
    """Tick each second through stretches of (seconds, failing)."""
    alarm, told, second = Alarm(), [], 0
    for seconds, failing in pattern:
        for _ in range(int(seconds)):
            turn = alarm.tick(NOW.later(second), failing=failing)
            if turn is not None:
                told.append((float(second), turn))
            second += 1
    return told


@pytest.mark.parametrize(
    ("story", "pattern", "raised"),
    [
        ("an outage of 55 s", [(55, True), (100, False)], 0),
        ("an outage of 61 s", [(61, True), (100, False)], 1),
        ("an outage of 300 s", [(300, True), (100, False)], 1),
        ("a link that flaps every 5 s", [(5, True), (5, False)] * 30 + [(100, False)], 1),
        ("all is well", [(500, False)], 0),
    ],
)
def test_people_are_told_once_for_each_outage_of_a_minute(
    story: str, pattern: list[tuple[float, bool]], raised: int
) -> None:
    """A hundred times each, one after the other."""
    told = turns(pattern * 100)

    assert [turn for _, turn in told] == [Turn.RAISE, Turn.CLEAR] * (100 * raised), story


def test_it_is_raised_between_60_and_65_s_and_cleared_within_10_s_of_recovery() -> None:
    (raised_s, _), (cleared_s, _) = turns([(300, True), (100, False)])

    assert 60 <= raised_s <= 65
    assert cleared_s - 300 <= 10


def test_an_alert_that_was_open_before_a_restart_is_cleared_and_not_raised_again() -> None:
    alarm = Alarm()
    alarm.restore()

    assert all(alarm.tick(NOW.later(second), failing=True) is None for second in range(100))
    assert Turn.CLEAR in [alarm.tick(NOW.later(100 + second), failing=False) for second in range(10)]
