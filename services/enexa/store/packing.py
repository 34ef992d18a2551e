"""Packing: an hour that is over becomes one block of columns, a fiftieth of the size, readable as before.

Late samples of a packed hour lie beside the block, and the hour is packed again. The old rows go and the new one comes
in one transaction, so that a kill at any moment leaves each sample exactly once.
"""

import asyncio
from datetime import datetime, timedelta

from msgspec import Struct
from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.enexa.store.chunks import HOUR_US, NewChunk, opened, packed
from services.enexa.store.committer import Committer
from services.enexa.store.database import Database
from services.enexa.store.schema import chunks, loose_hours, to_us
from services.enexa.store.telemetry import TelemetryStore
from shared.errors import StoreFailed

PACK_AFTER = timedelta(hours=2)
"""How long after its end an hour is packed: what is replayed after a short outage is in it by then."""
HOURS_AT_ONCE = 48


class _Found(Struct, frozen=True):
    """What is to be replaced: rows of the hour up to `last_id`, which later arrivals do not reach."""

    count: int
    last_id: int
    packed: NewChunk | None


class Packing:
    """Packs what is due, one hour of one stream at a time."""

    def __init__(self, database: Database, committer: Committer, telemetry: TelemetryStore) -> None:
        self._database = database
        self._committer = committer
        self._telemetry = telemetry

    async def pack_due(self, now: datetime, *, limit: int = HOURS_AT_ONCE) -> int:
        """Pack at most `limit` hours, oldest first, and tell how many; StoreFailed where the store does not answer."""
        before_us = to_us(now - PACK_AFTER) - HOUR_US
        query = select(loose_hours).where(loose_hours.c.hour_us <= before_us)
        async with self._database.transaction() as connection:
            due = (await connection.execute(query.order_by(loose_hours.c.hour_us).limit(limit))).all()
        for row in due:
            await self._pack(row.stream_id, row.hour_us)
        return len(due)

    async def _pack(self, stream_id: int, hour_us: int) -> None:
        self._telemetry.packing(stream_id, hour_us)
        found = await self._packed(stream_id, hour_us)

        async def run(connection: AsyncConnection) -> None:
            if found.packed is not None:
                old = chunks.c.chunk_id <= found.last_id
                gone = await connection.execute(delete(chunks).where(*_in_hour(stream_id, hour_us), old))
                if gone.rowcount != found.count:
                    raise StoreFailed("an hour changed while it was packed", stream_id=stream_id)
                await connection.execute(chunks.insert(), [found.packed._asdict()])
            in_hour = await connection.execute(select(func.count()).where(*_in_hour(stream_id, hour_us)))
            if in_hour.scalar_one() <= 1:
                this = loose_hours.c.stream_id == stream_id, loose_hours.c.hour_us == hour_us
                await connection.execute(delete(loose_hours).where(*this))

        await self._committer.write(run)

    async def _packed(self, stream_id: int, hour_us: int) -> _Found:
        columns = chunks.c.chunk_id, chunks.c.first_sequence, chunks.c.received_us, chunks.c.form, chunks.c.body
        async with self._database.transaction() as connection:
            rows = (await connection.execute(select(*columns).where(*_in_hour(stream_id, hour_us)))).all()
        if not rows:
            return _Found(0, 0, None)

        def work() -> NewChunk:
            return packed(stream_id, [each for row in rows for each in opened(row)])

        return _Found(len(rows), max(row.chunk_id for row in rows), await asyncio.to_thread(work))


def _in_hour(stream_id: int, hour_us: int) -> tuple[ColumnElement[bool], ...]:
    return chunks.c.stream_id == stream_id, chunks.c.from_us >= hour_us, chunks.c.from_us < hour_us + HOUR_US
