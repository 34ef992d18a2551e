"""Chart columns: means of whole groups, gaps that stay gaps, and for the past the plan that was in force."""

from datetime import datetime, timedelta
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.enexa.insight.charts import Measured, ghost, measured, planned
from shared.contract.reads import Point, SeriesGap
from shared.contract.schedule import SiteSchedule
from tests.unit.enexa.insight.samples import AT
from tests.unit.enexa.insight.test_monitoring import schedule


def minute(index: int) -> datetime:
    return AT + timedelta(minutes=index)


def points(minutes: list[int]) -> list[Point]:
    return [Point(at=minute(index), grid_kw=float(index), soc_pct=50.0) for index in minutes]


def columns(minutes: list[int], until: int, **more: object) -> Measured:
    declared = more.get("declared", ())
    size = more.get("points_max", 480)
    assert isinstance(declared, tuple)
    assert isinstance(size, int)
    return measured(points(minutes), declared, start=AT, until=minute(until), points_max=size)


def test_a_hole_is_a_break_in_the_line_and_a_span_with_its_reason() -> None:
    told = SeriesGap(from_=minute(10), until=minute(20), reason="sampler_gap")
    chart = columns([*range(10), *range(20, 30)], 30, declared=(told,))

    assert [(gap.from_s, gap.until_s, gap.reason) for gap in chart.gaps] == [
        (int(minute(10).timestamp()), int(minute(20).timestamp()), "sampler_gap")
    ]
    assert chart.grid_kw[10] is None
    assert chart.completeness_pct == pytest.approx(66.67)


def test_the_minute_that_is_being_filled_is_no_gap() -> None:
    assert columns(list(range(29)), 30).gaps == ()


def test_a_window_without_data_is_one_gap() -> None:
    chart = columns([], 60)

    assert len(chart.gaps) == 1
    assert chart.completeness_pct == 0.0
    assert chart.at_s == ()


@given(
    st.lists(st.integers(0, 1440), unique=True, max_size=400).map(sorted),
    st.sampled_from([10, 50, 480]),
)
def test_thinning_keeps_every_point_in_exactly_one_mean(minutes: list[int], size: int) -> None:
    chart = columns(minutes, 1500, points_max=size)
    values = [value for value in chart.grid_kw if value is not None]

    assert len(chart.at_s) == len(chart.grid_kw) == len(chart.soc_pct)
    assert list(chart.at_s) == sorted(chart.at_s)
    if minutes:
        assert min(minutes) - 0.01 <= min(values)
        assert max(values) <= max(minutes) + 0.01


def test_a_group_is_the_mean_of_its_points() -> None:
    chart = columns(list(range(100)), 100, points_max=10)

    assert chart.grid_kw[0] == fmean(range(10))
    assert chart.step_s == 600.0


def _made(version_start: datetime, made_at: datetime, version: int) -> SiteSchedule:
    plan = schedule(version_start)
    return SiteSchedule(
        site_id=plan.site_id,
        version=version,
        valid_from=plan.valid_from,
        valid_until=plan.valid_until,
        slots=plan.slots,
        made_at=made_at,
    )


def test_a_slot_of_the_past_keeps_the_plan_that_was_in_force_when_it_began() -> None:
    first = _made(AT, AT, 1)
    second = _made(AT, AT + timedelta(minutes=20), 2)
    shown = planned([first, second], AT, AT + timedelta(hours=1))

    assert shown.version == (1, 1, 2, 2)
    assert shown.end_s[:-1] == shown.start_s[1:]


def test_only_slots_that_touch_the_window_are_shown() -> None:
    shown = planned([schedule()], AT + timedelta(minutes=16), AT + timedelta(minutes=31))

    assert len(shown.start_s) == 2


def test_the_ghost_is_what_the_plan_before_wanted_from_now_on() -> None:
    now = AT + timedelta(minutes=31)
    before = ghost(schedule(), now, now + timedelta(hours=1))

    assert before is not None
    assert len(before.start_s) == 2
    assert ghost(None, now, now) is None
    assert ghost(schedule(), AT + timedelta(days=1), AT + timedelta(days=2)) is None
