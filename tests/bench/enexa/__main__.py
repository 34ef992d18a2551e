"""How fast Enexa takes, stores and shows samples, on one core: `python -m tests.bench.enexa [SECONDS]`; needs `wrk`.

Each server is pinned to one core and pressed from another, where PostgreSQL runs as well. Where the machine has other
work to do, the figures per second of the core's own time say more than those per second of the wall; both are printed.
"""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import process_time

import msgspec
from sqlalchemy import text

from services.enexa.store.chunks import HOUR_US, packed
from services.enexa.store.database import Database, sqlite_url
from services.enexa.store.schema import to_us
from services.enexa.store.store import Store
from services.enexa.store.telemetry import ADD_TO_ROLLUPS, INSERT_CHUNKS, Ingest
from shared.clock import real_now_s
from shared.contract.telemetry import Telemetry
from tests.bench.enexa.load import ALIKE, SAMPLE, Measured, numbered, press, running
from tests.postgres import home, server
from tests.unit.enexa.store.test_columns import wandering

START = datetime(2024, 6, 1, tzinfo=UTC)
CONNECTIONS = 32
CONNECTIONS_DURABLE = 128
IN_FLIGHT = 4
BATCHES, BATCH = 100, 600
SMALL_BATCH = 60
STORED_ROWS = 10_000_000
TRIES = 3
HOUR_S = 3600
CHARTS = 20


def told(what: str, measured: Measured, samples: int = 1) -> float:
    """Print one line of a server's figures and return its samples per second."""
    rate, of_core = measured.load.requests_per_s * samples, samples * 1e6 / measured.cpu_us
    print(
        f"{what}: {rate:,.0f} samples/s of wall, {of_core:,.0f} per second of its core;"
        f" p50 {measured.load.p50_ms:.1f} p99 {measured.load.p99_ms:.1f} ms"
    )
    return of_core


async def gates(directory: Path, seconds: int) -> None:
    """A sample decoded, checked and authorised: against a bare ASGI app and against FastAPI."""
    packages = fastapi_packages(directory)
    found: dict[str, float] = {}
    for kind in ("bare", "gate", *(["fastapi"] if packages else [])):
        async with running(kind, packages=packages if kind == "fastapi" else None) as target:
            script = directory / "post.lua"
            best: Measured | None = None
            for _ in range(TRIES):
                got = await press(target, script, "/v1/telemetry", seconds=seconds, connections=CONNECTIONS, life=ALIKE)
                best = got if best is None or got.cpu_us < best.cpu_us else best
            assert best is not None
            found[kind] = told(f"{kind} ({len(SAMPLE)} B a sample)", best)
    print(f"inside the Litestar app: {found['gate'] / found['bare']:.2f} of a bare ASGI app (goal 0.7)")
    if packages:
        print(f"                         {found['gate'] / found['fastapi']:.1f} times FastAPI (goal 6)")
    else:
        print("FastAPI could not be installed here: left out")


def fastapi_packages(directory: Path) -> Path | None:
    """FastAPI in a directory of its own, for this run; None where it cannot be had."""
    place = directory / "packages"
    uv = Path(sys.executable).with_name("uv")
    command = [str(uv), "pip", "install", "--quiet", "--target", str(place), "fastapi"]
    if not uv.exists() or subprocess.run(command, check=False, capture_output=True).returncode != 0:
        return None
    return place


async def durable(name: str, url: str, directory: Path, seconds: int) -> None:
    """From the socket to the disk and back: single samples and small batches."""
    async with running("store", url) as target:
        for samples, path in ((1, "/v1/telemetry"), (SMALL_BATCH, "/v1/telemetry/batch")):
            life = numbered(f"e{samples}", samples)
            connections = CONNECTIONS_DURABLE if samples == 1 else 8
            script = directory / "post.lua"
            got = await press(target, script, path, seconds=seconds, connections=connections, life=life)
            what = (
                "single samples (goal 10,000)" if samples == 1 else f"batches of {samples} (goal 100,000 in the store)"
            )
            told(f"{name}, {what}, durable", got, samples)
        print(f"{name}: {target.rss_mb:,.0f} MB resident (goal below 300)")


async def inside(name: str, url: str) -> None:
    """The store by itself: batches, ten million rows, a day's chart."""
    store = Store(url)
    await store.open()
    samples = [msgspec.json.decode(SAMPLE, type=Telemetry)] * (BATCHES * BATCH)
    samples = [
        msgspec.structs.replace(each, timestamp=START + timedelta(seconds=number), sequence=number + 1)
        for number, each in enumerate(samples)
    ]
    ingests = [
        Ingest(site_id="SITE001", epoch="e1", samples=tuple(samples[first : first + BATCH]), gaps=(), received_at=START)
        for first in range(0, len(samples), BATCH)
    ]
    core_began, began = process_time(), real_now_s()
    await asyncio.gather(*(one_after_another(store, ingests[lane::IN_FLIGHT]) for lane in range(IN_FLIGHT)))
    wall_s, core_s = real_now_s() - began, process_time() - core_began
    print(
        f"{name}, {BATCHES} batches of {BATCH}, {IN_FLIGHT} at a time, durable: {len(samples) / wall_s:,.0f} samples/s"
        f" of wall, {len(samples) / core_s:,.0f} per second of its core (goal 100,000)"
    )
    stored = await fill(store)
    size = await size_bytes(store.database)
    print(f"{name}, {stored:,} samples of 40 wandering readings: {size / stored:.1f} bytes a sample (goal 60)")
    chart_ms = []
    core_began = process_time()
    for day in range(2, 2 + CHARTS):
        began = real_now_s()
        points = await store.telemetry.points("SITE001", START + timedelta(days=day), START + timedelta(days=day + 1))
        chart_ms.append((real_now_s() - began) * 1000.0)
        assert len(points) == 1440
    chart_ms.sort()
    median_ms, core_ms = chart_ms[len(chart_ms) // 2], (process_time() - core_began) * 1000.0 / CHARTS
    print(
        f"{name}, a day at 1 min of {stored:,} stored samples: {median_ms:.1f} ms, best {chart_ms[0]:.1f} ms,"
        f" {core_ms:.1f} ms of its core (goal 10)"
    )
    await store.close()


async def one_after_another(store: Store, ingests: list[Ingest]) -> None:
    for each in ingests:
        await store.telemetry.keep(each)


@contextmanager
def on_core(number: int) -> Iterator[None]:
    """This process, and those that it starts meanwhile, on one core, where there are several."""
    if (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {number})
    try:
        yield
    finally:
        os.sched_setaffinity(0, range(os.cpu_count() or 1))


@contextmanager
def postgresql() -> Iterator[str]:
    """A server on the other core, with its usual settings: a commit is on the disk when it returns."""
    with ExitStack() as beside:
        with on_core(1):
            url = beside.enter_context(server())
        yield url


async def fill(store: Store) -> int:
    """Ten million samples of one site as they lie after packing: the block of one hour under the times of many."""
    hours = STORED_ROWS // HOUR_S
    rows = wandering(HOUR_S)
    block = packed(1, rows)
    first_us = to_us(START + timedelta(days=1))
    lines = (30.0, 60) * 6
    for index in range(hours):
        from_us, number = first_us + index * HOUR_US, 1_000_000 + index * HOUR_S
        moved = block._replace(
            from_us=from_us,
            until_us=from_us + HOUR_US - 1,
            first_sequence=number,
            last_sequence=number + HOUR_S - 1,
        )
        minutes = [("SITE001", 60, from_us // 1_000_000 + 60 * minute, 60, *lines) for minute in range(60)]
        async with store.database.group() as transaction:
            transaction.write(INSERT_CHUNKS, [moved])
            transaction.write(ADD_TO_ROLLUPS, minutes)
    return hours * HOUR_S


async def size_bytes(database: Database) -> int:
    """What chunks and rollups take on disk, with their indexes."""
    async with database.transaction() as connection:
        if database.is_sqlite:
            pages = (await connection.execute(text("PRAGMA page_count"))).scalar_one()
            return int(pages) * int((await connection.execute(text("PRAGMA page_size"))).scalar_one())
        both = "SELECT pg_total_relation_size('chunks') + pg_total_relation_size('rollups')"
        return int((await connection.execute(text(both))).scalar_one())


async def main(seconds: int) -> None:
    assert shutil.which("wrk"), "wrk is not installed: apt-get install wrk"
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        await gates(directory, seconds)
        await durable("SQLite", sqlite_url(directory / "durable.sqlite"), directory, seconds)
        with on_core(0):
            await inside("SQLite", sqlite_url(directory / "inside.sqlite"))
        if home() is None:
            print("PostgreSQL is not installed here: left out")
            return
        with postgresql() as url:
            await durable("PostgreSQL", url, directory, seconds)
        with postgresql() as url, on_core(0):
            await inside("PostgreSQL", url)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 4))
