"""Slots and local days, over both changes of the clock."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.energy.slots import day_end, day_start, local_day, slot_start, slot_starts, slots_of_day


@given(st.integers(min_value=1_577_836_800, max_value=2_051_222_400))
def test_an_instant_lies_in_its_slot(seconds: int) -> None:
    at = datetime.fromtimestamp(seconds, UTC)
    start = slot_start(at)

    assert start <= at < start + timedelta(minutes=15)
    assert start.minute % 15 == start.second == start.microsecond == 0


@given(st.dates(min_value=date(2020, 1, 1), max_value=date(2035, 1, 1)))
@example(date(2024, 3, 31))
@example(date(2024, 10, 27))
def test_days_follow_each_other_without_gap_or_overlap(day: date) -> None:
    slots = slots_of_day(day)

    assert len(slots) in {92, 96, 100}
    assert slots[0] == day_start(day)
    assert slots[-1] + timedelta(minutes=15) == day_end(day) == day_start(day + timedelta(days=1))
    assert {local_day(slot) for slot in slots} == {day}


def test_an_upside_down_stretch_has_no_slots() -> None:
    now = datetime(2024, 5, 1, tzinfo=UTC)

    assert slot_starts(now, now - timedelta(hours=1)) == ()


def test_a_naive_time_is_a_bug() -> None:
    with pytest.raises(AssertionError):
        slot_start(datetime(2024, 5, 1))  # noqa: DTZ001  the point of the test
