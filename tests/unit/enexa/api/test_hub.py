"""Whoever watches hears what happens, and a slow viewer holds nobody up."""

import asyncio
from datetime import timedelta

from services.enexa.hub import QUEUE_MAX, Hub, Notice
from services.enexa.state import Board
from tests.unit.enexa.dispatching.scene import START, sample


def notice(number: int, site_id: str = "SITE001") -> Notice:
    return Notice(kind="sample", site_id=site_id, body=str(number).encode())


async def test_a_slow_viewer_loses_the_oldest_and_the_others_lose_nothing() -> None:
    hub = Hub()
    slow, quick = hub.subscribe("SITE001"), hub.subscribe("SITE001")
    heard: list[int] = []

    async def listen() -> None:
        heard.extend([int(each.body) async for each in quick])

    listening = asyncio.create_task(listen())
    for number in range(QUEUE_MAX + 50):
        hub.publish(notice(number))
        await asyncio.sleep(0)
    hub.close()
    await listening

    assert heard == list(range(QUEUE_MAX + 50))
    assert slow.dropped_count == 50
    assert [int(each.body) async for each in slow] == list(range(50, QUEUE_MAX + 50))


async def test_a_viewer_hears_of_its_own_site_only() -> None:
    hub = Hub()
    one, every = hub.subscribe("SITE001"), hub.subscribe()
    hub.publish(notice(1, "SITE002"))
    hub.close()

    assert [each async for each in one] == []
    assert len([each async for each in every]) == 1


def test_the_board_never_goes_back_in_time() -> None:
    board = Board().site("SITE001")

    assert board.saw(sample(START), START)
    assert not board.saw(sample(START - timedelta(seconds=1)), START)
    assert not board.saw(sample(START), START)
    assert board.latest is not None
    assert board.latest.sample.timestamp == START
