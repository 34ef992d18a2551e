"""The clocks: scaled, shifted, manual."""

import asyncio
from datetime import UTC, datetime, timedelta, tzinfo

import pytest

from shared.clock import ManualClock, SystemClock
from shared.moment import Moment, moment_at


def test_a_moment_counts_seconds_apart_from_its_date() -> None:
    early = moment_at(datetime(2024, 1, 15, 10, 0, tzinfo=UTC))
    late = early.later(90.0)
    assert late.since(early) == 90.0
    assert late.at == datetime(2024, 1, 15, 10, 1, 30, tzinfo=UTC)
    assert Moment(5.0, late.at).since(early) == 5.0


def test_programs_with_one_pair_of_origins_agree_whenever_they_start() -> None:
    real = datetime.now(UTC) - timedelta(seconds=10)
    sim = datetime(2024, 5, 1, tzinfo=UTC)
    first = SystemClock(speed=60.0, origin_real=real, origin_sim=sim)
    second = SystemClock(speed=60.0, origin_real=real, origin_sim=sim)
    ahead_s = (first.now().at - sim).total_seconds()
    assert 600.0 <= ahead_s < 900.0
    assert abs((second.now().at - first.now().at).total_seconds()) < 30.0


def test_without_origins_the_clock_is_the_wall() -> None:
    assert abs((SystemClock().now().at - datetime.now(UTC)).total_seconds()) < 1.0


def test_a_corrected_wall_clock_moves_the_date_and_no_duration(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SystemClock()
    before = clock.now()

    class AnHourLater(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "AnHourLater":
            return cls.fromtimestamp(datetime.now(tz).timestamp() + 3600.0, tz)

    monkeypatch.setattr("shared.clock.datetime", AnHourLater)
    after = clock.now()

    assert (after.at - before.at).total_seconds() == pytest.approx(3600.0, abs=60.0)
    assert after.since(before) < 60.0


async def test_advancing_a_manual_clock_wakes_sleepers_in_order() -> None:
    clock = ManualClock()
    woken: list[float] = []

    async def sleeper(seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append(seconds)

    tasks = [asyncio.create_task(sleeper(each)) for each in (3.0, 1.0, 2.0)]
    await asyncio.sleep(0)
    clock.advance(2.0)
    await asyncio.sleep(0)
    assert woken == [1.0, 2.0]
    clock.advance(1.0)
    await asyncio.gather(*tasks)
    assert woken == [1.0, 2.0, 3.0]


def test_correcting_the_date_lets_no_time_pass() -> None:
    clock = ManualClock()
    before = clock.now()
    after = clock.step_date(-3600.0)
    assert after.since(before) == 0.0
    assert before.at - after.at == timedelta(hours=1)


def test_all_programs_leap_to_a_storys_chapter_together_and_no_duration_sees_it() -> None:
    sim = datetime(2024, 6, 15, tzinfo=UTC)
    leaps = ((900.0, 36_000.0), (2_100.0, 18_000.0))

    def clock(passed_s: float) -> SystemClock:
        real = datetime.now(UTC) - timedelta(seconds=passed_s / 10.0)
        return SystemClock(speed=10.0, origin_real=real, origin_sim=sim, leaps=leaps)

    for passed_s, leapt_s in ((500.0, 0.0), (1_000.0, 36_000.0), (2_200.0, 54_000.0)):
        now = clock(passed_s).now()
        assert (now.at - sim).total_seconds() == pytest.approx(passed_s + leapt_s, abs=300.0)
        assert now.s < 300.0
