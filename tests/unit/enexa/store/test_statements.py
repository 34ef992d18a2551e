"""Rows written many at once: all of them, in order, in few statements; and a PostgreSQL that ends its connections."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import text

from services.enexa.store.schema import loose_hours
from services.enexa.store.statements import PARAMETERS_MAX, Insert
from services.enexa.store.store import Store
from services.enexa.store.telemetry import INSERT_CHUNKS, Ingest, Stored
from shared.errors import StoreFailed
from tests.unit.enexa.dispatching.scene import START, sample

MARK = Insert(loose_hours, ("stream_id", "hour_us"), "DO NOTHING")


@pytest.mark.parametrize("count", [0, 1, 2, 3, 700, 8191, 8192, 8193, 20_000])
def test_every_row_goes_into_one_statement_of_a_size_that_was_prepared_before(count: int) -> None:
    rows = [(number, -number) for number in range(count)]
    parameters: list[object] = []
    sizes: list[int] = []
    for statement, given_to_it in MARK.for_sqlite(rows):
        sizes.append(statement.count("(?, ?)"))
        assert len(given_to_it) == 2 * sizes[-1] <= PARAMETERS_MAX
        parameters.extend(given_to_it)

    assert parameters == [each for row in rows for each in row]
    assert all(size & (size - 1) == 0 for size in sizes)
    assert len(sizes) <= 15 + 2 * count // PARAMETERS_MAX


def test_postgresql_gets_a_typed_list_for_each_column() -> None:
    assert MARK.postgresql.endswith("SELECT * FROM unnest($1::integer[], $2::bigint[]) ON CONFLICT DO NOTHING")
    assert MARK.for_postgresql([(1, 2), (3, 4)]) == ([1, 3], [2, 4])
    assert "$9::bytea[]" in INSERT_CHUNKS.postgresql


async def in_the_end(store: Store, ingest: Ingest) -> Stored:
    """Repeated as a caller would: the end of a connection may be on its way while it is used once more."""
    for _ in range(200):
        try:
            return await store.telemetry.keep(ingest)
        except StoreFailed:
            await asyncio.sleep(0.05)
    raise AssertionError("the store did not come back")


@pytest.mark.parametrize("url", ["postgres"], indirect=True)
async def test_a_postgresql_that_ended_our_connections_is_connected_to_again(store: Store) -> None:
    others = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                  " AND pid <> pg_backend_pid()")  # fmt: skip
    kept = []
    for number in (1, 2):
        async with store.database.transaction() as held:
            # While this one is held, the next comes from the pool, and is ended by it.
            await store.ping()
            await held.execute(others)
        new = (sample(START + timedelta(seconds=number), sequence=number),)
        kept.append(
            await in_the_end(store, Ingest(site_id="SITE001", epoch="e1", samples=new, gaps=(), received_at=START))
        )
    points = await store.telemetry.points("SITE001", START, START + timedelta(minutes=1))

    assert [each.stored_through for each in kept] == [1, 2]
    assert [each.samples for each in points] == [2]
