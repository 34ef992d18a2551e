"""Chunks: the samples of one stream within one hour, written as they came and read back whatever form they have."""

import asyncio
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct
from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.enexa.store import columns
from services.enexa.store.columns import Kept
from services.enexa.store.database import Database
from services.enexa.store.schema import chunks, to_us
from shared.contract.telemetry import Telemetry

HOUR_US = 3_600_000_000
CHUNK_SAMPLES_MAX = 600
"""As many as a batch may bring: no row grows beyond a megabyte."""

AS_IT_CAME = 0
"""A JSON list of samples that arrived together."""
PACKED = 1
"""A block of columns (`columns.py`)."""
ONE_DEFLATED = 2
"""One compressed sample, as the first schema kept them."""

_one, _many = msgspec.json.Decoder(Telemetry), msgspec.json.Decoder(list[Telemetry])


class NewChunk(NamedTuple):
    """A row of the table, in the order of its columns."""

    stream_id: int
    from_us: int
    until_us: int
    first_sequence: int
    last_sequence: int
    samples: int
    received_us: int
    form: int
    body: bytes


class Wanted(Struct, frozen=True, kw_only=True):
    """Which samples are asked for: from_us <= time < until_us, known by `known_by_us`, the first `limit` of them."""

    stream_ids: tuple[int, ...]
    from_us: int
    until_us: int
    limit: int
    known_by_us: int | None = None


def hour_of(us: int) -> int:
    return us - us % HOUR_US


class Arrived:
    """New samples of one stream that become durable together, and so became known together: with the last of them."""

    def __init__(self) -> None:
        self._numbers: list[int] = []
        self._samples: list[Telemetry] = []
        self._received_us = 0

    def add(self, numbers: Sequence[int], samples: Sequence[Telemetry], received_us: int) -> None:
        self._numbers.extend(numbers)
        self._samples.extend(samples)
        self._received_us = max(self._received_us, received_us)

    def chunks(self, stream_id: int) -> list[NewChunk]:
        """One for each hour that they touch, and more where they are very many."""
        found: list[NewChunk] = []
        for begin in range(0, len(self._samples), CHUNK_SAMPLES_MAX):
            part = slice(begin, begin + CHUNK_SAMPLES_MAX)
            found.extend(loose(stream_id, self._numbers[part], self._samples[part], self._received_us))
        return found


def loose(stream_id: int, numbers: Sequence[int], new: Sequence[Telemetry], received_us: int) -> list[NewChunk]:
    """New samples with their numbers as chunks, one for each hour that they touch."""
    times = [to_us(each.timestamp) for each in new]
    hours = sorted({us // HOUR_US for us in times})
    if len(hours) == 1:
        return [_loose(stream_id, times, numbers, new, received_us)]
    found: list[NewChunk] = []
    for hour in hours:
        places = [place for place, us in enumerate(times) if us // HOUR_US == hour]
        parts = (
            [times[place] for place in places],
            [numbers[place] for place in places],
            [new[place] for place in places],
        )
        found.append(_loose(stream_id, *parts, received_us))
    return found


def _loose(
    stream_id: int, times: Sequence[int], numbers: Sequence[int], new: Sequence[Telemetry], received_us: int
) -> NewChunk:
    body = msgspec.json.encode(new)
    return NewChunk(
        stream_id, min(times), max(times), min(numbers), max(numbers), len(new), received_us, AS_IT_CAME, body
    )


def packed(stream_id: int, rows: Sequence[Kept]) -> NewChunk:
    """Samples of one hour as one block."""
    ordered = sorted(rows, key=lambda each: each.sequence)
    times = [to_us(each.sample.timestamp) for each in ordered]
    return NewChunk(
        stream_id=stream_id,
        from_us=min(times),
        until_us=max(times),
        first_sequence=ordered[0].sequence,
        last_sequence=ordered[-1].sequence,
        samples=len(ordered),
        received_us=max(each.received_us for each in ordered),
        form=PACKED,
        body=columns.pack(ordered),
    )


def opened(row: Any) -> list[Kept]:
    """The samples of a row that has `form`, `body`, `received_us` and `first_sequence`."""
    if row.form == PACKED:
        return columns.unpack(row.body)
    found = _many.decode(row.body) if row.form == AS_IT_CAME else [_one.decode(zlib.decompress(row.body))]
    return [Kept(_number(each), row.received_us, each) for each in found]


def _number(sample: Telemetry) -> int:
    if sample.sequence is None or sample.stream_epoch is None:
        return to_us(sample.timestamp)
    return sample.sequence


async def accounted(connection: AsyncConnection, *which: ColumnElement[bool]) -> list[int]:
    """The numbers of all samples in the chunks that are chosen."""
    query = select(chunks.c.first_sequence, chunks.c.last_sequence, chunks.c.samples, chunks.c.chunk_id)
    found: list[int] = []
    for row in (await connection.execute(query.where(*which).order_by(chunks.c.first_sequence))).all():
        if row.samples == row.last_sequence - row.first_sequence + 1:
            found.extend(range(row.first_sequence, row.last_sequence + 1))
            continue
        whole = (await connection.execute(_bodies([row.chunk_id]))).one()
        found.extend(each.sequence for each in opened(whole))
    return found


async def newest_of(connection: AsyncConnection, stream_ids: Sequence[int]) -> Kept | None:
    """The sample with the newest time."""
    of_streams = chunks.c.stream_id.in_(stream_ids)
    began_us = (await connection.execute(select(func.max(chunks.c.from_us)).where(of_streams))).scalar()
    if began_us is None:
        return None
    # No chunk reaches over an hour, so none of an earlier hour can hold a newer sample.
    query = select(chunks.c.chunk_id).where(of_streams, chunks.c.from_us >= hour_of(began_us))
    chosen = (await connection.execute(query.order_by(chunks.c.until_us.desc()).limit(1))).scalar_one()
    row = (await connection.execute(_bodies([chosen]))).one()
    return max(opened(row), key=lambda each: each.sample.timestamp)


async def samples_of(database: Database, wanted: Wanted) -> list[Kept]:
    """What is wanted, in order of time and number."""
    async with database.transaction() as connection:
        chosen = await _chosen(connection, wanted)
        rows = (await connection.execute(_bodies(chosen))).all() if chosen else []
    # Opening a packed hour takes a tenth of a second, which the loop cannot spare.
    found = await asyncio.to_thread(_opened, rows, wanted)
    return found[: wanted.limit]


async def _chosen(connection: AsyncConnection, wanted: Wanted) -> list[int]:
    """Chunks hour by hour until there are enough samples in whole hours."""
    query = (
        select(chunks.c.chunk_id, chunks.c.from_us, chunks.c.samples)
        .where(
            chunks.c.stream_id.in_(wanted.stream_ids),
            chunks.c.from_us >= hour_of(wanted.from_us),
            chunks.c.from_us < wanted.until_us,
            chunks.c.until_us >= wanted.from_us,
        )
        .order_by(chunks.c.from_us)
    )
    if wanted.known_by_us is not None:
        query = query.where((chunks.c.received_us <= wanted.known_by_us) | (chunks.c.form == PACKED))
    found: list[int] = []
    count = hour_us = 0
    for row in (await connection.execute(query)).all():
        # The first hour may begin before the window, so its samples do not count towards the limit.
        if hour_of(row.from_us) != hour_us and count >= wanted.limit:
            break
        hour_us = hour_of(row.from_us)
        found.append(row.chunk_id)
        count += row.samples if hour_us > wanted.from_us and wanted.known_by_us is None else 0
    return found


def _opened(rows: Sequence[Any], wanted: Wanted) -> list[Kept]:
    timed = [(to_us(each.sample.timestamp), each) for row in rows for each in opened(row)]
    kept = [
        (us, each)
        for us, each in timed
        if wanted.from_us <= us < wanted.until_us
        and (wanted.known_by_us is None or each.received_us <= wanted.known_by_us)
    ]
    kept.sort(key=lambda pair: (pair[0], pair[1].sequence))
    return [each for _, each in kept]


def _bodies(chunk_ids: Sequence[int]) -> Any:
    columns_ = chunks.c.chunk_id, chunks.c.first_sequence, chunks.c.received_us, chunks.c.form, chunks.c.body
    return select(*columns_).where(chunks.c.chunk_id.in_(chunk_ids))
