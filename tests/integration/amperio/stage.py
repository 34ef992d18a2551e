"""Amperio as it is, served on real sockets beside a real station; Enexa is absent or given by the test."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from emulator.server import Server
from emulator.station import Station
from emulator.stations.load import load_station
from services.amperio.app import Amperio
from services.amperio.lane import SiteLane
from services.amperio.runtime import Lanes
from services.amperio.settings import Settings
from shared.clock import SystemClock
from shared.contract.operations import AMPERIO_TOKEN, Operation
from shared.moment import Moment
from shared.rest.auth import digest
from shared.rest.call import Caller, Reply
from shared.rest.server import Listener, bind, serve
from shared.scenario.schema import Scenario

SITE = "SITE001"
START = datetime(2024, 6, 15, 10, 0, tzinfo=UTC)
CLIENTS = (
    ("enexa", "platform", (SITE,)),
    ("operator", "operator", (SITE,)),
    ("viewer", "viewer", (SITE,)),
    ("other", "platform", ("SITE002",)),
)
DEADLINE_S = 40.0


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


class Stage:
    """The middleware, the station and clients of every kind."""

    def __init__(self, directory: Path, *, enexa_url: str, clock: SystemClock, **settings: Any) -> None:
        self.clock = clock
        self.port = free_port()
        self.directory = directory
        (directory / "secret").write_text("CTRL001-secret")
        (directory / "clients.json").write_text(
            json.dumps(
                [
                    {"client_id": name, "secret_sha256": digest(f"{name}-secret"), "scope": scope, "sites": sites}
                    for name, scope, sites in CLIENTS
                ]
            )
        )
        self.station = Station(
            load_station("chargepost"), Scenario(name="empty", story="Nobody comes.", soc_start_pct=60.0), clock.now()
        )
        self._modbus = Server(self.station, clock, bind(Listener("127.0.0.1", 0)))
        self.settings = Settings(
            data_dir=directory / "data",
            credentials_file=directory / "clients.json",
            secret_file=directory / "secret",
            enexa_url=enexa_url,
            sites=f"{SITE}=127.0.0.1:{self._modbus.port}",
            **settings,
        )
        self.lane: SiteLane
        self._callers: dict[str, Caller] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def caller(self, who: str) -> Caller:
        if who not in self._callers:
            self._callers[who] = Caller(
                self.url,
                self.clock,
                client_id=who,
                secret=f"{who}-secret",
                token_operation=AMPERIO_TOKEN,
            )
        return self._callers[who]

    async def call(self, who: str, operation: Operation, body: Any = None, **path: str) -> Reply:
        return await self.caller(who).call(operation, body, path=path or None)

    @contextlib.asynccontextmanager
    async def playing(self) -> AsyncIterator["Stage"]:
        """Everything runs until the block ends."""
        await self._modbus.start()
        amperio = Amperio(self.settings, self.clock)
        lanes = await amperio.lanes()
        self.lane = lanes.of(SITE)
        stop = asyncio.Event()
        served = asyncio.create_task(serve(amperio.application(lanes), [Listener("127.0.0.1", self.port)], stop=stop))
        stepping = asyncio.create_task(self._step())
        try:
            await self._ready(lanes)
            yield self
        finally:
            for caller in self._callers.values():
                await caller.close()
            stop.set()
            await served
            stepping.cancel()
            await self._modbus.stop()

    async def _ready(self, lanes: Lanes) -> None:
        await eventually(lambda: lanes.of(SITE).agent.controlled)
        await eventually_async(self._listening)

    async def _listening(self) -> bool:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.close()
            return True
        return False

    async def _step(self) -> None:
        next_s = self.clock.now().s
        while True:
            next_s += 1.0
            await self.clock.sleep_until(next_s)
            now = self.clock.now()
            self.station.step(Moment(next_s, now.at))


async def eventually(look: Any, *, within_s: float = DEADLINE_S) -> Any:
    """The first truthy answer of `look`; fails where none comes in time."""
    async with asyncio.timeout(within_s):
        while not (found := look()):  # noqa: ASYNC110 -- what it waits for happens on sockets, and nobody sets an event
            await asyncio.sleep(0.01)
        return found


async def eventually_async(look: Any, *, within_s: float = DEADLINE_S) -> Any:
    async with asyncio.timeout(within_s):
        while not (found := await look()):  # noqa: ASYNC110 -- as above, for an async look
            await asyncio.sleep(0.01)
        return found


NO_BUDGETS: dict[str, Any] = {"rate_command_per_s": 1e4, "rate_command_burst": 10_000, "rate_general_per_s": 1e4}
"""Settings for a test that asks for thousands of commands in a row."""


@contextlib.asynccontextmanager
async def playing(
    directory: Path,
    *,
    enexa_url: str = "http://127.0.0.1:9",
    speed: float = 2.0,
    clock: SystemClock | None = None,
    **settings: Any,
) -> AsyncIterator[Stage]:
    stage = Stage(directory, enexa_url=enexa_url, clock=clock or SystemClock(speed=speed, origin_sim=START), **settings)
    async with stage.playing():
        yield stage
