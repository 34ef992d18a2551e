"""What lanes want remembered: in order, a commit at a time, and no cycle waits for the disk."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import apsw
import msgspec
import pytest

from services.amperio.scribe import HOLD_S, SAMPLES_HELD_MAX, Scribe
from services.amperio.site.ledger import Entry
from services.amperio.site.orders import Settled
from services.amperio.site.outbox import Cursor, EventBox, Outbox
from services.amperio.store import tables
from services.amperio.store.database import Database, open_connection
from shared.contract.telemetry import Gap, Telemetry
from shared.errors import StoreFailed

AT = datetime(2024, 1, 15, 10, 0, tzinfo=UTC)
SITE = "SITE001"


class Disk:
    """A store in memory whose commits happen when the test says so."""

    def __init__(self) -> None:
        self.connection: apsw.Connection = open_connection(":memory:")
        self.stalled = False
        self.full = False
        self.commits = 0
        self._waiting: list[tuple[Any, asyncio.Future[Any]]] = []

    def give(self, work: Any, *, patient: bool = False) -> "asyncio.Future[Any]":
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((work, future))
        self.go_on()
        return future

    def go_on(self) -> None:
        while self._waiting and not self.stalled:
            work, future = self._waiting.pop(0)
            if self.full:
                future.set_exception(StoreFailed("full"))
                continue
            self.commits += 1
            try:
                with self.connection:
                    future.set_result(work(self.connection))
            except apsw.SQLError as error:
                future.set_exception(error)

    def rows(self) -> list[tuple[int, bool]]:
        return [(row.seq, row.is_gap) for row in tables.load_rows(self.connection, SITE, 1, 1 << 40, 1 << 20)]


class Desk:
    """A scribe with its outbox, and what it told."""

    def __init__(self) -> None:
        self.disk = Disk()
        self.outbox = Outbox(SITE, "epoch", Cursor())
        self.troubles: list[str] = []
        self.queued: list[Sequence[Entry]] = []
        self.scribe = Scribe(
            SITE,
            cast("Database", self.disk),
            self.outbox,
            EventBox(Cursor()),
            on_queued=self.queued.append,
            on_failed=lambda error: self.troubles.append(error.code),
            on_works=lambda: self.troubles.append("works"),
        )

    async def second(self, number: int) -> None:
        sample = Telemetry(site_id=SITE, timestamp=AT + timedelta(seconds=number))
        await self.scribe.keep(sample, Settled(), period_s=1.0)


@pytest.fixture
async def desk() -> Desk:
    return Desk()


async def test_in_good_weather_each_cycle_is_one_commit(desk: Desk) -> None:
    for number in range(5):
        await desk.second(number)

    assert desk.disk.commits == 5
    assert desk.disk.rows() == [(number, False) for number in range(1, 6)]


async def test_while_the_disk_stalls_cycles_go_on_and_the_next_commit_gathers(desk: Desk) -> None:
    desk.disk.stalled = True
    began_s = asyncio.get_running_loop().time()
    for number in range(6):
        await desk.second(number)
    waited_s = asyncio.get_running_loop().time() - began_s
    assert desk.disk.rows() == []

    desk.disk.stalled = False
    desk.disk.go_on()
    await asyncio.sleep(0)
    await desk.second(6)

    assert waited_s < 6 * HOLD_S + 5.0
    assert desk.disk.rows() == [(number, False) for number in range(1, 8)]
    assert desk.disk.commits == 2
    assert desk.outbox.pending_count == 7


async def test_a_disk_that_stalls_for_longer_than_is_held_leaves_a_declared_gap(desk: Desk) -> None:
    desk.disk.stalled = True
    await desk.second(0)
    for number in range(1, SAMPLES_HELD_MAX + 3):
        desk.scribe._take_sample(Telemetry(site_id=SITE, timestamp=AT + timedelta(seconds=number)))
    desk.disk.stalled = False
    desk.disk.go_on()
    await asyncio.sleep(0)

    await desk.scribe.keep(None, Settled(), period_s=1.0)
    await desk.second(SAMPLES_HELD_MAX + 3)

    rows = tables.load_rows(desk.disk.connection, SITE, 1, 1 << 40, 1 << 20)
    gaps = [msgspec.json.decode(row.body, type=Gap) for row in rows if row.is_gap]
    assert [row.seq for row in rows] == list(range(1, SAMPLES_HELD_MAX + 4))
    assert [(gap.from_at, gap.until_at) for gap in gaps] == [
        (AT + timedelta(seconds=SAMPLES_HELD_MAX + 1), AT + timedelta(seconds=SAMPLES_HELD_MAX + 3))
    ]


async def test_what_a_full_disk_refused_is_told_once_and_its_seconds_become_a_gap(desk: Desk) -> None:
    await desk.second(0)
    desk.disk.full = True
    waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    for number in (1, 2):
        sample = Telemetry(site_id=SITE, timestamp=AT + timedelta(seconds=number))
        await desk.scribe.keep(sample, Settled(), period_s=1.0, waiting=(waiting,) if number == 1 else ())
    assert not waiting.done(), "not durable yet"

    desk.disk.full = False
    await desk.second(3)

    assert waiting.done()
    assert desk.troubles == ["store_failed", "works"]
    assert desk.disk.rows() == [(1, False), (2, True), (3, False)]


async def test_a_bug_in_the_work_stops_the_lane_in_its_next_cycle(desk: Desk) -> None:
    desk.disk.connection.execute("DROP TABLE samples")

    await desk.second(0)

    with pytest.raises(apsw.SQLError):
        await desk.second(1)
