"""Several stations in one process: each with its port and seed, one ledger, and a disk that may fail for a while."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from emulator.app import build
from emulator.device.truth import Stretch
from emulator.ledger import FILE
from emulator.runtime import Runtime, Unit
from emulator.settings import Settings
from shared.chargepost.registers import GRID
from shared.clock import ManualClock
from tests.integration.modbus.served import Raw, read
from tests.unit.emulator.rig import NOON


class Stack:
    """The stations of one process on a manual clock."""

    def __init__(self, units: list[Unit], runtime: Runtime, clock: ManualClock) -> None:
        self.units = units
        self.runtime = runtime
        self.clock = clock

    async def run(self, seconds: int) -> None:
        due = self.runtime.steps + seconds
        for _ in range(seconds):
            self.clock.advance(1.0)
            await asyncio.sleep(0)
        await self.until(lambda: self.runtime.steps == due)

    async def until(self, holds: Callable[[], object]) -> None:
        """Look again and again, for a bounded time."""
        for _ in range(4_000):
            if holds():
                return
            await asyncio.sleep(0.005)
        raise AssertionError("it did not come true in time")


@asynccontextmanager
async def stations(count: int, data: Path) -> AsyncIterator[Stack]:
    clock = ManualClock(NOON)
    units, runtime = build(Settings(port=0, stations=count, data_dir=data, seed=5), clock)
    for unit in units:
        await unit.server.start()
    running = asyncio.create_task(runtime.run())
    await asyncio.sleep(0)  # it looks at the clock before the clock moves
    try:
        yield Stack(units, runtime, clock)
    finally:
        for unit in units:
            await unit.server.stop()
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def test_each_station_has_its_own_port_seed_and_part_of_the_ledger(tmp_path: Path) -> None:
    async with stations(3, tmp_path) as stack:
        await stack.run(30)
        volts = []
        for unit in stack.units:
            reader, writer = await asyncio.open_connection("127.0.0.1", unit.server.port)
            client = Raw(reader, writer)
            volts.append(GRID.decode_bytes((await client.ask(read(4, 1000, 28)))[2:]).voltage_l1_v)
            await client.close()
        assert len(set(volts)) == 3

    with sqlite3.connect(tmp_path / FILE) as ledger:
        kept = ledger.execute("SELECT station, COUNT(*), MAX(number) FROM seconds GROUP BY station").fetchall()
    ledger.close()
    assert kept == [(f"chargepost-{number}", 30, 30) for number in (1, 2, 3)]


async def test_what_a_failing_disk_does_not_take_is_offered_again(tmp_path: Path) -> None:
    async with stations(1, tmp_path) as stack:
        await stack.run(3)
        outsider = sqlite3.connect(tmp_path / FILE)
        await stack.until(lambda: outsider.execute("SELECT COUNT(*) FROM seconds").fetchone() == (3,))
        outsider.execute("ALTER TABLE seconds RENAME TO elsewhere")
        with capture_logs() as logs:
            await stack.run(3)
            await stack.until(lambda: [entry for entry in logs if entry["event"] == "truth_not_kept"])
            outsider.execute("ALTER TABLE elsewhere RENAME TO seconds")
            await stack.run(3)
            await stack.until(lambda: [entry for entry in logs if entry["event"] == "truth_kept_again"])
        assert [entry["event"] for entry in logs if "truth" in entry["event"]] == ["truth_not_kept", "truth_kept_again"]

        await stack.until(lambda: outsider.execute("SELECT COUNT(*) FROM seconds").fetchone() == (9,))
        outsider.close()
        assert [number for number, _ in stack.units[0].history.seconds(Stretch())] == list(range(1, 10))


@pytest.mark.parametrize("fault", ["telemetry_gap", "refused"])
async def test_a_dead_link_drops_its_connections_within_the_second_and_comes_back(fault: str, tmp_path: Path) -> None:
    async with stations(1, tmp_path) as stack:
        (unit,) = stack.units
        await stack.run(1)
        client = Raw(*await asyncio.open_connection("127.0.0.1", unit.server.port))
        await client.ask(read(4, 1000, 2))
        unit.station.post.begin_fault(fault, for_s=3.0)
        await stack.run(1)

        assert await client.closed()
        await client.close()

        await stack.run(4)
        await stack.until(lambda: unit.server.transport is not None)
        again = Raw(*await asyncio.open_connection("127.0.0.1", unit.server.port))
        assert (await again.ask(read(4, 1000, 2)))[0] == 4
        await again.close()
