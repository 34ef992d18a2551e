"""Packing changes the size of an hour and nothing else, whatever arrives before, meanwhile and afterwards."""

import asyncio
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from services.enexa.store import packing
from services.enexa.store.chunks import PACKED, packed
from services.enexa.store.schema import chunks, loose_hours
from services.enexa.store.store import Store
from services.enexa.store.telemetry import NO_EPOCH, Ingest
from tests.unit.enexa.dispatching.scene import START, sample
from tests.unit.enexa.store.test_telemetry import at, keep, stored_numbers

LATER = START + timedelta(hours=6)


async def forms(store: Store) -> list[int]:
    async with store.database.transaction() as connection:
        return list((await connection.execute(select(chunks.c.form).order_by(chunks.c.from_us))).scalars())


async def loose_count(store: Store) -> int:
    async with store.database.transaction() as connection:
        return len((await connection.execute(select(loose_hours))).all())


async def test_an_hour_that_is_over_is_packed_and_reads_as_before(store: Store) -> None:
    for first in range(1, 4000, 100):
        await keep(store, *range(first, first + 100), received=at(first + 100))
    before = await store.telemetry.kept("SITE001", START, LATER)

    assert await store.packing.pack_due(START + timedelta(hours=2)) == 0
    assert await store.packing.pack_due(LATER) == 2

    assert await forms(store) == [PACKED, PACKED]
    assert await store.telemetry.kept("SITE001", START, LATER) == before
    assert (await loose_count(store), await store.packing.pack_due(LATER)) == (0, 0)


async def test_late_samples_of_a_packed_hour_are_taken_once_and_packed_as_well(store: Store) -> None:
    await keep(store, *range(1, 50), *range(60, 100), received=at(100))
    await store.packing.pack_due(LATER)

    late = await keep(store, *range(45, 65), received=LATER)

    assert (len(late.fresh), late.duplicates, late.stored_through) == (10, 10, 99)
    assert await store.packing.pack_due(LATER) == 1
    assert await forms(store) == [PACKED]
    known = await store.telemetry.raw("SITE001", START, LATER, known_by=LATER - timedelta(seconds=1))
    assert (len(known), len(await stored_numbers(store))) == (89, 99)


async def test_what_is_missing_in_a_packed_hour_is_known_after_a_restart(url: str) -> None:
    store = Store(url)
    await store.open()
    await keep(store, 1, 2, 5, 6, 9)
    await store.packing.pack_due(LATER)
    await store.close()

    store = Store(url)
    await store.open()
    assert store.telemetry.missing("SITE001") == 4
    assert (await keep(store, 3, 4, 5)).duplicates == 1
    assert (await keep(store, 7, 8)).stored_through == 9
    await store.close()


async def test_samples_without_a_number_are_known_again_in_a_packed_hour(store: Store) -> None:
    def plain(second: int) -> Ingest:
        return Ingest(site_id="SITE001", epoch=NO_EPOCH, samples=(sample(at(second)),), gaps=(), received_at=START)

    for second in (1, 2, 4):
        await store.telemetry.keep(plain(second))
    await store.packing.pack_due(LATER)

    assert (await store.telemetry.keep(plain(2))).duplicates == 1
    assert len((await store.telemetry.keep(plain(3))).fresh) == 1
    assert len(await store.telemetry.raw("SITE001", START, LATER)) == 4


async def test_what_arrives_while_an_hour_is_packed_stays_and_is_packed_next(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await keep(store, 1, 2, 3)
    loop = asyncio.get_running_loop()

    def slowly(*args: object) -> object:
        asyncio.run_coroutine_threadsafe(keep(store, 4, 5), loop).result(25)
        return packed(*args)  # type: ignore[arg-type]  # handed on as they came

    monkeypatch.setattr(packing, "packed", slowly)
    await store.packing.pack_due(LATER)
    monkeypatch.setattr(packing, "packed", packed)

    assert await stored_numbers(store) == [1, 2, 3, 4, 5]
    assert await loose_count(store) == 1
    await store.packing.pack_due(LATER)
    assert (await forms(store), await stored_numbers(store)) == ([PACKED], [1, 2, 3, 4, 5])


async def test_the_newest_sample_is_found_in_a_packed_hour(store: Store) -> None:
    await keep(store, 1, 2, 3, received=at(4))
    await store.packing.pack_due(LATER)

    latest = await store.telemetry.latest("SITE001")

    assert latest is not None
    assert (latest[0].sequence, latest[1]) == (3, at(4))


async def test_a_packing_that_fails_leaves_the_hour_as_it_was(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    await keep(store, 1, 2, 3)

    def broken(*_: object) -> object:
        raise ValueError("no")

    monkeypatch.setattr(packing, "packed", broken)
    with pytest.raises(ValueError, match="no"):
        await store.packing.pack_due(LATER)

    assert (await stored_numbers(store), await loose_count(store)) == ([1, 2, 3], 1)


def test_hours_are_packed_two_hours_after_their_end() -> None:
    assert datetime(2024, 1, 15, 13, tzinfo=START.tzinfo) - packing.PACK_AFTER == START + timedelta(hours=1)
