"""Enexa as it is, in this process, on a free port and with a real store; and a small peer in place of the middleware.

The peer speaks the real contract over a real socket with the real gate. It is not Amperio: it applies whatever it is
told and answers at once, or is silent when a test wants it to be.
"""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from services.enexa.app import build
from services.enexa.settings import Settings
from shared.clock import Clock, SystemClock
from shared.contract.config import Buffering
from shared.contract.dispatch import (
    CommandBase,
    CommandStatus,
    DispatchAck,
    DispatchRecord,
    SetBatteryPower,
    command_name,
)
from shared.contract.operations import (
    AMPERIO_HEALTH,
    AMPERIO_TOKEN,
    DISPATCH,
    ENEXA_HEALTH,
    ENEXA_TOKEN,
    GET_DISPATCH,
    SITE_STATE,
    Scope,
)
from shared.contract.reads import Health, SiteState
from shared.contract.telemetry import Battery, BatteryUnit, Charger, Control, Grid, Mode, Station, Telemetry
from shared.errors import NotFound, SiteError
from shared.rest.auth import Credential, TokenBook, digest
from shared.rest.call import Caller
from shared.rest.gate import Call, Gate, Route, serves, token_route
from shared.rest.serve import application
from shared.rest.server import Listener, serve

PAGE_TIME = datetime(2024, 1, 15, 10, 0, 1, tzinfo=UTC)
CLIENTS = (("CTRL001", "middleware"), ("operator", "operator"), ("viewer", "viewer"))


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


class Peer:
    """The middleware's side of the contract, as short as it can be."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.commands: list[CommandBase] = []
        self.records: dict[str, DispatchRecord] = {}

    @property
    def in_force(self) -> SetBatteryPower | None:
        return next((each for each in reversed(self.commands) if isinstance(each, SetBatteryPower)), None)

    def routes(self, book: TokenBook) -> list[Route]:
        @serves(DISPATCH)
        async def dispatch(call: Call[Any]) -> DispatchAck:
            command: CommandBase = call.body
            assert command.command_id is not None
            self.commands.append(command)
            power = command.params.power_kw if isinstance(command, SetBatteryPower) else None
            self.records[command.command_id] = DispatchRecord(
                command_id=command.command_id,
                site_id=command.site_id,
                command=command_name(command),
                status=CommandStatus.APPLIED,
                received_at=call.now.at,
                valid_until=command.valid_until or call.now.at,
                applied_kw=power,
            )
            return DispatchAck(
                command_id=command.command_id,
                site_id=command.site_id,
                status=CommandStatus.APPLIED,
                applied_kw=power,
            )

        @serves(GET_DISPATCH)
        async def get_dispatch(call: Call[None]) -> DispatchRecord:
            found = self.records.get(call.path["command_id"])
            if found is None:
                raise NotFound("no such command")
            return found

        @serves(SITE_STATE)
        async def state(call: Call[None]) -> SiteState:
            return SiteState(
                site_id="SITE001",
                mode=Mode.RESYNC,
                telemetry=self.sample(),
                image_age_s=0.0,
                watchdog_s=10.0,
                buffer=Buffering(),
            )

        @serves(AMPERIO_HEALTH)
        async def health(call: Call[None]) -> Health:
            return Health(status="ok", service="amperio", version="0", clock=call.now.at)

        return [token_route(AMPERIO_TOKEN, book), dispatch, get_dispatch, state, health]

    def sample(self, sequence: int | None = None, *, soc_pct: float = 50.0) -> Telemetry:
        """What the site shows while it does exactly as it was told."""
        command = self.in_force
        power = command.params.power_kw if command is not None else 0.0
        return Telemetry(
            site_id="SITE001",
            timestamp=self._clock.now().at,
            battery=Battery(
                soc_pct=soc_pct, power_kw=power, units=(BatteryUnit(soc_pct=soc_pct), BatteryUnit(soc_pct=soc_pct))
            ),
            grid=Grid(import_kw=max(0.4 - power, 0.0), export_kw=0.0),
            chargers=(Charger(plugged=False, power_kw=0.0), Charger(plugged=False, power_kw=0.0)),
            aux_kw=0.4,
            station=Station(mode=Mode.ONLINE),
            control=Control(applied_kw=power),
            active_command_id=command.command_id if command is not None else None,
            stream_epoch="e1" if sequence is not None else None,
            sequence=sequence,
        )


class Stage:
    """Where a test finds everything."""

    def __init__(self, directory: Path, *, speed: float = 1.0, sim: datetime = PAGE_TIME, **settings: Any) -> None:
        self.directory = directory
        self.origin_real = datetime.now(UTC)
        self.clock = SystemClock(speed=speed, origin_real=self.origin_real, origin_sim=sim)
        self.port, self.peer_port = free_port(), free_port()
        self.peer = Peer(self.clock)
        self._callers: dict[str, Caller] = {}
        (directory / "secret").write_text("enexa-secret")
        (directory / "clients.json").write_text(
            json.dumps(
                [
                    {"client_id": name, "secret_sha256": digest(f"{name}-secret"), "scope": scope, "sites": ["SITE001"]}
                    for name, scope in CLIENTS
                ]
            )
        )
        self.settings = Settings(
            port=self.port,
            data_dir=directory / "data",
            amperio_url=f"http://127.0.0.1:{self.peer_port}",
            amperio_secret_file=directory / "secret",
            credentials_file=directory / "clients.json",
            **settings,
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def caller(self, who: str) -> Caller:
        """The real client, logged in as somebody."""
        if who not in self._callers:
            self._callers[who] = Caller(
                self.url, self.clock, client_id=who, secret=f"{who}-secret", token_operation=ENEXA_TOKEN
            )
        return self._callers[who]

    async def close(self) -> None:
        for caller in self._callers.values():
            await caller.close()


@contextlib.asynccontextmanager
async def serving(app: Any, port: int) -> AsyncIterator[None]:
    """An application on a loopback port until the block ends."""
    stop = asyncio.Event()
    server = asyncio.create_task(serve(app, [Listener("127.0.0.1", port)], stop=stop))
    try:
        await _answers(port, server)
        yield
    finally:
        stop.set()
        await server


@contextlib.asynccontextmanager
async def enexa(stage: Stage) -> AsyncIterator[Stage]:
    """The platform, served."""
    async with serving(build(stage.settings, stage.clock), stage.port):
        yield stage
        await stage.close()


@contextlib.asynccontextmanager
async def middleware(stage: Stage, routes: Sequence[Route] | None = None) -> AsyncIterator[Peer]:
    """The peer, served."""
    credential = Credential(
        client_id="enexa", secret_sha256=digest("enexa-secret"), scope=Scope.PLATFORM, sites=("SITE001",)
    )
    book = TokenBook([credential])
    app = application(routes or stage.peer.routes(book), Gate(stage.clock, book))
    async with serving(app, stage.peer_port):
        yield stage.peer


async def _answers(port: int, server: "asyncio.Task[None]") -> None:
    async with asyncio.timeout(15):
        while True:
            if server.done():
                server.result()
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.01)


async def healthy(stage: Stage) -> Health:
    reply = await stage.caller("viewer").call(ENEXA_HEALTH)
    assert isinstance(reply.message, Health)
    return reply.message


async def eventually(look: Any, *, within_s: float = 20.0) -> Any:
    """The first truthy answer of an async look at the outside; fails where none comes in time."""
    async with asyncio.timeout(within_s):
        while True:
            with contextlib.suppress(SiteError):
                found = await look()
                if found:
                    return found
            await asyncio.sleep(0.02)
