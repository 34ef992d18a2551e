"""How fast Enexa stores and reads: single samples in groups, batches, and a day's chart from the rollup."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from services.enexa.store.database import sqlite_url
from services.enexa.store.store import Store
from services.enexa.store.telemetry import Ingest
from shared.clock import real_now_s
from shared.contract.telemetry import Battery, BatteryUnit, Charger, Grid, Station, Telemetry

START = datetime(2024, 6, 1, tzinfo=UTC)
SINGLES = 10_000
BATCHES, BATCH = 100, 600
DAY_S = 86_400


def sample(number: int) -> Telemetry:
    return Telemetry(
        site_id="SITE001",
        timestamp=START + timedelta(seconds=number),
        battery=Battery(
            soc_pct=55.0, power_kw=-25.0, temp_c=21.5, units=(BatteryUnit(soc_pct=55.0), BatteryUnit(soc_pct=55.0))
        ),
        grid=Grid(import_kw=30.0, export_kw=0.0, frequency_hz=50.0, power_factor=0.98, import_kwh=1000.0),
        chargers=(Charger(plugged=False, power_kw=0.0), Charger(plugged=False, power_kw=0.0)),
        aux_kw=0.5,
        station=Station(state="ready"),
        stream_epoch="e1",
        sequence=number,
    )


async def keep(store: Store, numbers: Sequence[int]) -> None:
    ingest = Ingest(
        site_id="SITE001",
        epoch="e1",
        samples=tuple(sample(number) for number in numbers),
        gaps=(),
        received_at=START,
    )
    await store.telemetry.keep(ingest)


async def timed(work: Callable[[], Awaitable[object]]) -> float:
    began = real_now_s()
    await work()
    return real_now_s() - began


async def measure(path: Path) -> None:
    store = Store(sqlite_url(path))
    await store.open()

    async def singles() -> None:
        await asyncio.gather(*(keep(store, [number]) for number in range(1, SINGLES + 1)))

    async def batches() -> None:
        for index in range(BATCHES):
            first = SINGLES + 1 + index * BATCH
            await keep(store, range(first, first + BATCH))

    seconds = await timed(singles)
    print(f"{SINGLES} single samples, durable, merged into groups: {SINGLES / seconds:,.0f} samples/s")
    seconds = await timed(batches)
    print(f"{BATCHES} batches of {BATCH}, one after the other, durable: {BATCHES * BATCH / seconds:,.0f} samples/s")
    seconds = await timed(lambda: store.telemetry.points("SITE001", START, START + timedelta(days=1), limit=2000))
    print(f"chart of a day at 1 min from the rollup: {seconds * 1000:.1f} ms")
    await store.close()
    size = sum(each.stat().st_size for each in path.parent.iterdir())
    print(f"on disk: {size / (SINGLES + BATCHES * BATCH):,.0f} bytes a sample before any compaction")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(measure(Path(directory) / "enexa.sqlite"))
