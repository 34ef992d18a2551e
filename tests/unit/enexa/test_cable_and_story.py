"""A cut that is made on purpose ends by itself; a story says its chapter and cuts the line when its time comes."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from services.enexa.cable import Cable, CuttableCaller
from services.enexa.insight.drills import Way
from services.enexa.story import Story
from shared.clock import ManualClock, SystemClock
from shared.contract.operations import AMPERIO_HEALTH
from shared.errors import PeerDown
from shared.scenario.load import load_scenario

STORY = load_scenario("story_outage")


def test_a_cut_ends_by_itself_and_the_longer_one_of_two_counts() -> None:
    clock = ManualClock()
    cable = Cable(clock)
    cable.cut((Way.INWARD,), 60.0)
    cable.cut(tuple(Way), 30.0)

    assert cable.is_cut(Way.INWARD)
    clock.advance(31.0)
    assert (cable.is_cut(Way.INWARD), cable.is_cut(Way.OUTWARD)) == (True, False)
    clock.advance(30.0)
    assert not cable.is_cut(Way.INWARD)


async def test_what_is_sent_into_a_cut_finds_nobody() -> None:
    clock = ManualClock()
    cable = Cable(clock)
    caller = CuttableCaller("http://127.0.0.1:1", clock, cable=cable)
    cable.cut((Way.OUTWARD,), 10.0)
    try:
        with pytest.raises(PeerDown, match="cut by a drill"):
            await caller.call(AMPERIO_HEALTH)
    finally:
        await caller.close()


def told(passed_s: float) -> tuple[Story, Cable]:
    """The story, so many seconds after its beginning."""
    origin = datetime.now(UTC) - timedelta(seconds=passed_s / 10.0)
    clock = SystemClock(speed=10.0, origin_real=origin, origin_sim=datetime(2024, 6, 15, tzinfo=UTC))
    cable = Cable(clock)
    return Story(STORY, clock, cable), cable


def test_the_chapter_of_the_moment_is_told_until_the_story_is_over() -> None:
    titles = {}
    for passed_s in (5.0, 1000.0, 2600.0, 5000.0):
        telling = told(passed_s)[0].telling()
        assert telling is not None
        titles[passed_s] = (telling.number, telling.title, telling.left_s is None)

    assert titles == {
        5.0: (1, "Cheap night", False),
        1000.0: (2, "Cars at noon", False),
        2600.0: (4, "Autonomous", False),
        5000.0: (7, "Savings", True),
    }
    assert told(6100.0)[0].telling() is None


async def test_a_line_is_cut_for_what_is_left_of_its_time() -> None:
    story, cable = told(2500.0)
    await asyncio.wait_for(story.playing(), 10.0)
    assert cable.is_cut(Way.INWARD)
    assert cable.is_cut(Way.OUTWARD)

    late, healed = told(3700.0)
    await asyncio.wait_for(late.playing(), 10.0)
    assert not healed.is_cut(Way.INWARD)


def test_a_scenario_without_chapters_tells_nothing() -> None:
    clock = SystemClock()
    assert Story(replace(STORY, chapters=()), clock, Cable(clock)).telling() is None
