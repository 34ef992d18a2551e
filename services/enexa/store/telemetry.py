"""Samples: stored exactly once by (site, epoch, sequence), durable before the answer, and read back as series.

All ingests that arrive while a transaction is being flushed are merged into the next one and written with four
statements, whether they are three samples or three thousand. What each stream is still missing is kept in memory as
ranges; it is computed on copies, and the copies take effect only after the commit.
"""

import zlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.enexa.store.committer import Committer, Merged
from services.enexa.store.database import Database
from services.enexa.store.ranges import Ranges
from services.enexa.store.rollup import buckets, mean_point, raw_point
from services.enexa.store.schema import VALUES, from_us, holes, rollups, samples, streams, to_us
from services.enexa.store.upsert import insert, insert_new
from shared.contract.reads import Point, SeriesGap
from shared.contract.telemetry import Gap, Telemetry

NO_EPOCH = "-"
"""The epoch of samples that carry none, as the page's example; their time in microseconds is their number."""

SERIES_SAMPLES_MAX = 20_000

_decoder = msgspec.json.Decoder(Telemetry)


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

    async def _write(self, connection: AsyncConnection, ingests: list[Ingest]) -> list[Stored]:
        """Everything that waits, in four statements; changes take effect in `_settled` only."""
        self._changed = {}
        rows: list[dict[str, Any]] = []
        hole_rows: list[dict[str, Any]] = []
        fresh: dict[str, list[Telemetry]] = {}
        results: list[Stored] = []
        for ingest in ingests:
            stream = await self._stream(connection, (ingest.site_id, ingest.epoch))
            if ingest.epoch == NO_EPOCH:
                await _look_up(connection, stream, ingest)
            stored = _account(ingest, stream, rows, hole_rows)
            fresh.setdefault(ingest.site_id, []).extend(stored.fresh)
            results.append(stored)
        await insert_new(connection, samples, rows)
        await insert_new(connection, holes, hole_rows)
        await _fold(connection, fresh)
        await _save_through(connection, self._changed.values())
        self._written_count = len(rows)
        return results

    def _settled(self) -> None:
        for key, stream in self._changed.items():
            # Without numbers there is nothing to be contiguous: what is known is looked up instead of kept.
            self._streams[key] = _Stream(stream.stream_id, Ranges()) if key[1] == NO_EPOCH else stream
        self.stored_count += self._written_count

    async def _stream(self, connection: AsyncConnection, key: Key) -> _Stream:
        working = self._changed.get(key)
        if working is None:
            known = self._streams.get(key)
            working = _Stream(known.stream_id, known.ranges.copy()) if known else await _new_stream(connection, key)
            self._changed[key] = working
        return working

    # ---- reads ------------------------------------------------------------------------------------------------------

    async def latest(self, site_id: str) -> tuple[Telemetry, datetime] | None:
        """The newest sample by its own time, and when it was received."""
        async with self._database.transaction() as connection:
            best: Any = None
            for stream_id in self._ids(site_id):
                query = (
                    select(samples.c.at_us, samples.c.received_us, samples.c.body)
                    .where(samples.c.stream_id == stream_id)
                    .order_by(samples.c.at_us.desc())
                    .limit(1)
                )
                row = (await connection.execute(query)).first()
                if row is not None and (best is None or row.at_us > best.at_us):
                    best = row
        return (unpacked(best.body), from_us(best.received_us)) if best is not None else None

    async def first_at(self, site_id: str) -> datetime | None:
        """When the site was first seen; from the quarter hours, which are kept for ever."""
        query = select(func.min(rollups.c.start_s)).where(rollups.c.site_id == site_id, rollups.c.resolution_s == 900)
        async with self._database.transaction() as connection:
            first = (await connection.execute(query)).scalar()
        return datetime.fromtimestamp(first, UTC) if first is not None else None

    async def raw(self, site_id: str, start: datetime, until: datetime, limit: int = 5000) -> list[Telemetry]:
        """Samples with start <= time < until in order of time, at most `limit`."""
        query = (
            select(samples.c.at_us, samples.c.sequence, samples.c.body)
            .where(
                samples.c.stream_id.in_(self._ids(site_id)),
                samples.c.at_us >= to_us(start),
                samples.c.at_us < to_us(until),
            )
            .order_by(samples.c.at_us, samples.c.sequence)
            .limit(min(limit, SERIES_SAMPLES_MAX))
        )
        async with self._database.transaction() as connection:
            rows = (await connection.execute(query)).all()
        return [unpacked(row.body) for row in rows]

    async def points(
        self, site_id: str, start: datetime, until: datetime, *, resolution_s: int = 60, limit: int = 5000
    ) -> list[Point]:
        """Means per interval from the rollup; `resolution_s` 60 or 900, or 0 for raw samples."""
        if resolution_s == 0:
            return [raw_point(each) for each in await self.raw(site_id, start, until, limit)]
        query = (
            select(rollups)
            .where(
                rollups.c.site_id == site_id,
                rollups.c.resolution_s == resolution_s,
                rollups.c.start_s >= int(start.timestamp()),
                rollups.c.start_s < until.timestamp(),
            )
            .order_by(rollups.c.start_s)
            .limit(limit)
        )
        async with self._database.transaction() as connection:
            rows = (await connection.execute(query)).mappings().all()
        return [
            mean_point(
                row["start_s"],
                row["samples"],
                {name: row[f"{name}_sum"] for name in VALUES},
                {name: row[f"{name}_count"] for name in VALUES},
            )
            for row in rows
        ]

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

    async def count(self, site_id: str, start: datetime, until: datetime) -> int:
        """Stored samples with start <= time < until."""
        query = select(func.count()).where(
            samples.c.stream_id.in_(self._ids(site_id)),
            samples.c.at_us >= to_us(start),
            samples.c.at_us < to_us(until),
        )
        async with self._database.transaction() as connection:
            return int((await connection.execute(query)).scalar_one())

    async def forget(self, before: datetime, resolution_s: int = 0) -> None:
        """Retention: drop raw samples (0) or a rollup resolution older than `before`."""

        async def run(connection: AsyncConnection) -> None:
            if resolution_s == 0:
                await connection.execute(delete(samples).where(samples.c.at_us < to_us(before)))
            else:
                await connection.execute(
                    delete(rollups).where(
                        rollups.c.resolution_s == resolution_s, rollups.c.start_s < int(before.timestamp())
                    )
                )

        await self._committer.write(run)

    def _ids(self, site_id: str) -> list[int]:
        return [stream.stream_id for (site, _), stream in self._streams.items() if site == site_id]


async def _look_up(connection: AsyncConnection, stream: _Stream, ingest: Ingest) -> None:
    """Learn which samples without a number are stored already."""
    numbers = [to_us(sample.timestamp) for sample in ingest.samples]
    query = select(samples.c.sequence).where(samples.c.stream_id == stream.stream_id, samples.c.sequence.in_(numbers))
    for number in (await connection.execute(query)).scalars():
        stream.ranges.add(number, number)


def _account(ingest: Ingest, stream: _Stream, rows: list[dict[str, Any]], hole_rows: list[dict[str, Any]]) -> Stored:
    """Sort one ingest into what is new and what was known; the new goes to the rows."""
    received_us = to_us(ingest.received_at)
    fresh: list[Telemetry] = []
    numbered = ingest.epoch != NO_EPOCH
    for sample in ingest.samples:
        number = sample.sequence if numbered and sample.sequence is not None else to_us(sample.timestamp)
        if number in stream.ranges:
            continue
        stream.ranges.add(number, number)
        fresh.append(sample)
        rows.append(
            {
                "stream_id": stream.stream_id,
                "sequence": number,
                "at_us": to_us(sample.timestamp),
                "received_us": received_us,
                "body": packed(sample),
            }
        )
    for gap in ingest.gaps:
        stream.ranges.add(gap.from_sequence, gap.to_sequence)
        hole_rows.append(_hole_row(ingest.site_id, stream.stream_id, gap, received_us))
    through = stream.ranges.through
    return Stored(
        fresh=tuple(fresh),
        duplicates=len(ingest.samples) - len(fresh),
        stored_through=through if numbered and through > 0 else None,
    )


def _hole_row(site_id: str, stream_id: int, gap: Gap, received_us: int) -> dict[str, Any]:
    return {
        "stream_id": stream_id,
        "from_sequence": gap.from_sequence,
        "to_sequence": gap.to_sequence,
        "site_id": site_id,
        "reason": gap.reason,
        "from_us": to_us(gap.from_at) if gap.from_at else None,
        "until_us": to_us(gap.until_at) if gap.until_at else None,
        "received_us": received_us,
    }


async def _new_stream(connection: AsyncConnection, key: Key) -> _Stream:
    row = {"site_id": key[0], "epoch": key[1], "through": 0}
    result = await connection.execute(insert(connection, streams).values(row).returning(streams.c.stream_id))
    return _Stream(int(result.scalar_one()), Ranges())


async def _fold(connection: AsyncConnection, fresh: dict[str, list[Telemetry]]) -> None:
    """Add the new samples to the sums of their minutes and quarter hours."""
    rows = [
        {
            "site_id": site_id,
            "resolution_s": resolution_s,
            "start_s": start_s,
            "samples": bucket.samples,
            **{f"{name}_sum": bucket.sums.get(name, 0.0) for name in VALUES},
            **{f"{name}_count": bucket.counts.get(name, 0) for name in VALUES},
        }
        for site_id, new in fresh.items()
        for (resolution_s, start_s), bucket in buckets(new).items()
    ]
    if not rows:
        return
    statement = insert(connection, rollups)
    columns = ["samples", *(f"{name}_{part}" for name in VALUES for part in ("sum", "count"))]
    added = {name: rollups.c[name] + statement.excluded[name] for name in columns}
    await connection.execute(
        statement.on_conflict_do_update(index_elements=["site_id", "resolution_s", "start_s"], set_=added), rows
    )


async def _save_through(connection: AsyncConnection, changed: Iterable[_Stream]) -> None:
    for stream in changed:
        await connection.execute(
            update(streams).where(streams.c.stream_id == stream.stream_id).values(through=stream.ranges.through)
        )


async def _load_beyond(connection: AsyncConnection, stream_id: int, ranges: Ranges) -> None:
    through = ranges.through
    declared = select(holes.c.from_sequence, holes.c.to_sequence).where(
        holes.c.stream_id == stream_id, holes.c.to_sequence > through
    )
    for row in (await connection.execute(declared.order_by(holes.c.from_sequence))).all():
        ranges.add(row.from_sequence, row.to_sequence)
    beyond = select(samples.c.sequence).where(samples.c.stream_id == stream_id, samples.c.sequence > through)
    for number in (await connection.execute(beyond.order_by(samples.c.sequence))).scalars():
        ranges.add(number, number)


def packed(sample: Telemetry) -> bytes:
    """A sample as it came, compressed."""
    return zlib.compress(msgspec.json.encode(sample), 1)


def unpacked(body: bytes) -> Telemetry:
    return _decoder.decode(zlib.decompress(body))


def observed_gaps(
    points: Sequence[Point], start: datetime, until: datetime, step: timedelta, reason: str
) -> list[SeriesGap]:
    """Stretches of the window longer than one step and a half in which there is no point."""
    found: list[SeriesGap] = []
    reached = start
    for point in points:
        if point.at - reached >= step * 1.5:
            found.append(SeriesGap(from_=reached, until=point.at, reason=reason))
        reached = max(reached, point.at + step)
    if until - reached >= step * 1.5:
        found.append(SeriesGap(from_=reached, until=until, reason=reason))
    return found
