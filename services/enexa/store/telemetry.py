"""Samples: stored exactly once by (site, epoch, sequence), durable before the answer, and read back as series.

All ingests that arrive while a transaction is being flushed are merged into the next one and written with a few
statements, whether they are three samples or three thousand. What each stream is still missing is kept in memory as
ranges; it is computed on copies, and the copies take effect only after the commit.

Samples lie in chunks: what arrived together in one hour is one row, and `packing.py` turns an hour that is over into
one block of columns. Nobody outside this package sees a difference.
"""

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from msgspec import Struct
from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.enexa.store.chunks import (
    HOUR_US,
    Arrived,
    NewChunk,
    Wanted,
    accounted,
    hour_of,
    newest_of,
    samples_of,
)
from services.enexa.store.columns import Kept
from services.enexa.store.committer import Committer, Merged
from services.enexa.store.database import Database, Group
from services.enexa.store.ranges import Ranges
from services.enexa.store.rollup import buckets, mean_point, raw_point
from services.enexa.store.schema import VALUES, chunks, from_us, holes, loose_hours, rollups, streams, to_us
from services.enexa.store.statements import Insert
from services.enexa.store.upsert import insert
from shared.contract.reads import Point, SeriesGap
from shared.contract.telemetry import Gap, Telemetry

NO_EPOCH = "-"
"""The epoch of samples that carry none, as the page's example; their time in microseconds is their number."""

SERIES_SAMPLES_MAX = 20_000


class Stored(Struct, frozen=True, kw_only=True):
    """What became of one ingest; `fresh` are the samples that were not known before."""

    fresh: tuple[Telemetry, ...]
    duplicates: int
    stored_through: int | None


class Ingest(Struct, frozen=True, kw_only=True):
    """Samples of one site and epoch with numbers that will never come: declared gaps and refused records."""

    site_id: str
    epoch: str
    samples: tuple[Telemetry, ...]
    gaps: tuple[Gap, ...]
    received_at: datetime


class _Stream(Struct):
    stream_id: int
    ranges: Ranges


Key = tuple[str, str]


class TelemetryStore:
    """Writes go through `keep`; reads see only what is committed."""

    def __init__(self, database: Database, committer: Committer) -> None:
        self._database = database
        self._committer = committer
        self._streams: dict[Key, _Stream] = {}
        self._changed: dict[Key, _Stream] = {}
        self._merged: Merged[Ingest, Stored] = Merged(committer, self._write, self._settled)
        self._marked: dict[int, int] = {}
        """The newest hour of each stream that is known to be loose; older ones are marked again with each arrival."""
        self._marking: dict[int, int] = {}
        self._written_count = 0
        self.stored_count = 0

    async def load(self) -> None:
        """Read what each stream is missing; call once after the database is open."""
        async with self._database.transaction() as connection:
            for row in (await connection.execute(select(streams))).all():
                ranges = Ranges(row.through)
                await _load_beyond(connection, row.stream_id, ranges)
                self._streams[row.site_id, row.epoch] = _Stream(row.stream_id, ranges)

    async def keep(self, ingest: Ingest) -> Stored:
        """Store what is new and return when it is durable; StoreFailed where it is not."""
        return await self._merged.add(ingest)

    def highest(self, site_id: str, epoch: str) -> int:
        """The highest number of a stream that is accounted for; 0 where there is none."""
        stream = self._streams.get((site_id, epoch))
        return stream.ranges.highest if stream is not None else 0

    def missing(self, site_id: str) -> int:
        """How many numbers of a site's streams are still outstanding below the highest one stored."""
        return sum(
            last - first + 1
            for (site, epoch), stream in self._streams.items()
            if site == site_id and epoch != NO_EPOCH
            for first, last in stream.ranges.missing()
        )

    def packing(self, stream_id: int, hour_us: int) -> None:
        """An hour is about to be packed: whatever arrives from now on marks it again."""
        if self._marked.get(stream_id) == hour_us:
            del self._marked[stream_id]

    async def _write(self, group: Group, ingests: list[Ingest]) -> list[Stored]:
        """Everything that waits, in a few statements; changes take effect in `_settled` only."""
        self._changed, self._marking, self._written_count = {}, {}, 0
        arrived: dict[int, Arrived] = {}
        fresh: dict[str, list[Telemetry]] = {}
        results: list[Stored] = []
        for ingest in ingests:
            key = (ingest.site_id, ingest.epoch)
            stream = self._changed.get(key) or await self._stream(group, key)
            if ingest.epoch == NO_EPOCH:
                await _look_up(await group.connection(), stream, ingest)
            numbers, stored = _account(ingest, stream)
            fresh.setdefault(ingest.site_id, []).extend(stored.fresh)
            arrived.setdefault(stream.stream_id, Arrived()).add(numbers, stored.fresh, to_us(ingest.received_at))
            if ingest.gaps:
                group.write(INSERT_HOLES, [_hole_row(ingest, stream.stream_id, gap) for gap in ingest.gaps])
            results.append(stored)
        new_chunks = [chunk for stream_id, each in arrived.items() for chunk in each.chunks(stream_id)]
        group.write(INSERT_CHUNKS, new_chunks)
        group.write(MARK_LOOSE, self._marks(new_chunks))
        group.write(ADD_TO_ROLLUPS, [row for site_id, new in fresh.items() for row in _rollup_rows(site_id, new)])
        group.write(SAVE_THROUGH, [(each.stream_id, *key, each.ranges.through) for key, each in self._changed.items()])
        self._written_count = sum(each.samples for each in new_chunks)
        return results

    def _marks(self, new_chunks: Iterable[NewChunk]) -> list[tuple[int, int]]:
        """Which hours of which streams become loose, as far as that is not known already."""
        marks: set[tuple[int, int]] = set()
        for chunk in new_chunks:
            hour_us = hour_of(chunk.from_us)
            if self._marked.get(chunk.stream_id) == hour_us:
                continue
            marks.add((chunk.stream_id, hour_us))
            self._marking[chunk.stream_id] = max(hour_us, self._marking.get(chunk.stream_id, 0))
        return sorted(marks)

    def _settled(self) -> None:
        for key, stream in self._changed.items():
            # Without numbers there is nothing to be contiguous: what is known is looked up instead of kept.
            self._streams[key] = _Stream(stream.stream_id, Ranges()) if key[1] == NO_EPOCH else stream
        for stream_id, hour_us in self._marking.items():
            self._marked[stream_id] = max(hour_us, self._marked.get(stream_id, 0))
        self.stored_count += self._written_count

    async def _stream(self, group: Group, key: Key) -> _Stream:
        """A copy to work on; what it becomes holds only after the commit."""
        known = self._streams.get(key)
        if known is not None:
            working = _Stream(known.stream_id, known.ranges.copy())
        else:
            working = await _new_stream(await group.connection(), key)
        self._changed[key] = working
        return working

    # ---- reads ------------------------------------------------------------------------------------------------------

    async def latest(self, site_id: str) -> tuple[Telemetry, datetime] | None:
        """The newest sample by its own time, and when it was received."""
        async with self._database.transaction() as connection:
            newest = await newest_of(connection, self._ids(site_id))
        return (newest.sample, from_us(newest.received_us)) if newest is not None else None

    async def first_at(self, site_id: str) -> datetime | None:
        """When the site was first seen; from the quarter hours, which are kept for ever."""
        query = select(func.min(rollups.c.start_s)).where(rollups.c.site_id == site_id, rollups.c.resolution_s == 900)
        async with self._database.transaction() as connection:
            first = (await connection.execute(query)).scalar()
        return datetime.fromtimestamp(first, UTC) if first is not None else None

    async def raw(
        self,
        site_id: str,
        start: datetime,
        until: datetime,
        limit: int = 5000,
        *,
        known_by: datetime | None = None,
    ) -> list[Telemetry]:
        """Samples with start <= time < until in order of time, at most `limit`; `known_by` leaves later news out."""
        return [each.sample for each in await self.kept(site_id, start, until, limit, known_by=known_by)]

    async def kept(
        self,
        site_id: str,
        start: datetime,
        until: datetime,
        limit: int = 5000,
        *,
        known_by: datetime | None = None,
    ) -> list[Kept]:
        """As `raw`, each sample with its number and when it became known."""
        wanted = Wanted(
            stream_ids=tuple(self._ids(site_id)),
            from_us=to_us(start),
            until_us=to_us(until),
            limit=min(limit, SERIES_SAMPLES_MAX),
            known_by_us=to_us(known_by) if known_by is not None else None,
        )
        return await samples_of(self._database, wanted)

    async def points(
        self, site_id: str, start: datetime, until: datetime, *, resolution_s: int = 60, limit: int = 5000
    ) -> list[Point]:
        """Means per interval from the rollup; `resolution_s` 60 or 900, or 0 for raw samples."""
        if resolution_s == 0:
            return [raw_point(each) for each in await self.raw(site_id, start, until, limit)]
        # Whole seconds, or PostgreSQL compares decimals and walks to the end of the index.
        first_s, end_s = int(start.timestamp()), math.ceil(until.timestamp())
        rows = await self._database.fetch(MEANS, site_id, resolution_s, first_s, end_s, limit)
        return [mean_point(*row) for row in rows]

    async def per_hour(self, site_id: str, start: datetime, until: datetime) -> dict[datetime, int]:
        """How many samples are stored of each hour of UTC, hours without any left out."""
        points = await self.points(site_id, start, until, resolution_s=900, limit=SERIES_SAMPLES_MAX)
        found: dict[datetime, int] = {}
        for point in points:
            hour = point.at.replace(minute=0)
            found[hour] = found.get(hour, 0) + point.samples
        return found

    async def declared_gaps(self, site_id: str, start: datetime, until: datetime) -> list[SeriesGap]:
        """Gaps that the sender declared with times, cut to the window."""
        query = (
            select(holes.c.from_us, holes.c.until_us, holes.c.reason)
            .where(holes.c.site_id == site_id, holes.c.from_us < to_us(until), holes.c.until_us > to_us(start))
            .order_by(holes.c.from_us)
            .limit(1000)
        )
        async with self._database.transaction() as connection:
            rows = (await connection.execute(query)).all()
        return [
            SeriesGap(
                from_=max(from_us(row.from_us), start), until=min(from_us(row.until_us), until), reason=row.reason
            )
            for row in rows
        ]

    async def forget(self, before: datetime, resolution_s: int = 0) -> None:
        """Retention: drop the hours of single samples (0) that ended before `before`, or a rollup resolution."""

        async def run(connection: AsyncConnection) -> None:
            if resolution_s == 0:
                ids = [stream.stream_id for stream in self._streams.values()]
                old = chunks.c.from_us < to_us(before) // HOUR_US * HOUR_US
                await connection.execute(delete(chunks).where(chunks.c.stream_id.in_(ids), old))
            else:
                await connection.execute(
                    delete(rollups).where(
                        rollups.c.resolution_s == resolution_s, rollups.c.start_s < int(before.timestamp())
                    )
                )

        await self._committer.write(run)

    def _ids(self, site_id: str) -> list[int]:
        return [stream.stream_id for (site, _), stream in self._streams.items() if site == site_id]


_ADDED = ["samples", *(f"{name}_{part}" for name in VALUES for part in ("sum", "count"))]
INSERT_CHUNKS = Insert(chunks, NewChunk._fields, "DO NOTHING")
INSERT_HOLES = Insert(
    holes,
    ("stream_id", "from_sequence", "to_sequence", "site_id", "reason", "from_us", "until_us", "received_us"),
    "DO NOTHING",
)
MARK_LOOSE = Insert(loose_hours, ("stream_id", "hour_us"), "DO NOTHING")
SAVE_THROUGH = Insert(
    streams,
    ("stream_id", "site_id", "epoch", "through"),
    "(stream_id) DO UPDATE SET through = excluded.through",
)
ADD_TO_ROLLUPS = Insert(
    rollups,
    ("site_id", "resolution_s", "start_s", *_ADDED),
    "(site_id, resolution_s, start_s)"
    f" DO UPDATE SET {', '.join(f'{name} = rollups.{name} + excluded.{name}' for name in _ADDED)}",
)


MEANS = (
    f"SELECT start_s, samples, {', '.join(f'{name}_sum / NULLIF({name}_count, 0)' for name in VALUES)}"  # noqa: S608 -- names of columns
    " FROM rollups WHERE site_id = ? AND resolution_s = ? AND start_s >= ? AND start_s < ? ORDER BY start_s LIMIT ?"
)
"""Without SQLAlchemy's rows, which cost as much as the query."""


async def _look_up(connection: AsyncConnection, stream: _Stream, ingest: Ingest) -> None:
    """Learn which samples without a number are stored already."""
    numbers = [to_us(sample.timestamp) for sample in ingest.samples]
    first, last = min(numbers, default=0), max(numbers, default=0)
    known = chunks.c.stream_id == stream.stream_id, chunks.c.from_us >= hour_of(first), chunks.c.from_us <= last
    for number in await accounted(connection, *known):
        if number in numbers:
            stream.ranges.add(number, number)


def _account(ingest: Ingest, stream: _Stream) -> tuple[list[int], Stored]:
    """Sort one ingest into what is new, with its numbers, and what was known."""
    numbered, ranges = ingest.epoch != NO_EPOCH, stream.ranges
    numbers: list[int] = []
    fresh: list[Telemetry] = []
    for sample in ingest.samples:
        number = sample.sequence if numbered and sample.sequence is not None else to_us(sample.timestamp)
        if number in ranges:
            continue
        ranges.add(number, number)
        numbers.append(number)
        fresh.append(sample)
    for gap in ingest.gaps:
        ranges.add(gap.from_sequence, gap.to_sequence)
    through = ranges.through
    return numbers, Stored(
        fresh=tuple(fresh),
        duplicates=len(ingest.samples) - len(fresh),
        stored_through=through if numbered and through > 0 else None,
    )


def _hole_row(ingest: Ingest, stream_id: int, gap: Gap) -> tuple[object, ...]:
    return (
        stream_id,
        gap.from_sequence,
        gap.to_sequence,
        ingest.site_id,
        gap.reason,
        to_us(gap.from_at) if gap.from_at else None,
        to_us(gap.until_at) if gap.until_at else None,
        to_us(ingest.received_at),
    )


def _rollup_rows(site_id: str, new: list[Telemetry]) -> list[tuple[object, ...]]:
    return [
        (site_id, resolution_s, start_s, bucket.samples, *(part for line in bucket.lines for part in line))
        for (resolution_s, start_s), bucket in buckets(new).items()
    ]


async def _new_stream(connection: AsyncConnection, key: Key) -> _Stream:
    row = {"site_id": key[0], "epoch": key[1], "through": 0}
    result = await connection.execute(insert(connection, streams).values(row).returning(streams.c.stream_id))
    return _Stream(int(result.scalar_one()), Ranges())


async def _load_beyond(connection: AsyncConnection, stream_id: int, ranges: Ranges) -> None:
    through = ranges.through
    declared = select(holes.c.from_sequence, holes.c.to_sequence).where(
        holes.c.stream_id == stream_id, holes.c.to_sequence > through
    )
    for row in (await connection.execute(declared.order_by(holes.c.from_sequence))).all():
        ranges.add(row.from_sequence, row.to_sequence)
    beyond = chunks.c.stream_id == stream_id, chunks.c.last_sequence > through
    for number in await accounted(connection, *beyond):
        ranges.add(number, number)


def completeness_pct(points: Sequence[Point], start: datetime, until: datetime, period_s: float) -> float:
    """How much of what a window should hold is stored, by count; at most 100."""
    expected = max((until - start).total_seconds() / period_s, 1.0)
    return round(min(100.0, 100.0 * sum(each.samples for each in points) / expected), 3)


def observed_gaps(
    points: Sequence[Point], start: datetime, until: datetime, step: timedelta, reason: str
) -> list[SeriesGap]:
    """Stretches of the window in which a step and a half has no point: half a step is left to the jitter of samples."""
    found: list[SeriesGap] = []
    reached = start
    for point in points:
        if point.at - reached >= step * 1.5:
            found.append(SeriesGap(from_=reached, until=point.at, reason=reason))
        reached = max(reached, point.at + step)
    if until - reached >= step * 1.5:
        found.append(SeriesGap(from_=reached, until=until, reason=reason))
    return found
