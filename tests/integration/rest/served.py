"""A small service with the real gate and server, on a free port and a manual clock."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from shared.clock import ManualClock
from shared.contract.dispatch import CommandStatus, DispatchAck, DispatchCommand, command_id_of
from shared.contract.operations import AMPERIO_TOKEN, DISPATCH, LIST_COMMANDS, POST_TELEMETRY, Budget, Scope
from shared.contract.reads import CommandPage
from shared.contract.telemetry import Telemetry, TelemetryAck
from shared.errors import LimitExceeded, StoreFailed
from shared.rest.audit import AuditLine
from shared.rest.auth import Credential, TokenBook, digest
from shared.rest.call import Caller
from shared.rest.gate import Call, Gate, Route, serves, token_route
from shared.rest.limits import Limits
from shared.rest.rooms import PLACES
from shared.rest.serve import application
from shared.rest.server import Listener, bind, serve

COMMAND = (
    b'{"site_id":"SITE001","command":"set_battery_power","params":{"power_kw":-25},"timestamp":"2024-01-15T10:00:00Z"}'
)


class Remembered:
    """An audit sink that keeps lines in memory."""

    def __init__(self) -> None:
        self.lines: list[AuditLine] = []

    async def append(self, line: AuditLine) -> None:
        self.lines.append(line)


def routes(book: TokenBook) -> list[Route]:
    @serves(DISPATCH)
    async def dispatch(call: Call[DispatchCommand]) -> DispatchAck:
        if call.body.reason == "too much":
            raise LimitExceeded("the setpoint lies outside the nameplate", requested_kw=300.0, limit_kw=220.0)
        if call.body.reason == "disk":
            raise StoreFailed("the ledger cannot be written")
        return DispatchAck(
            command_id=command_id_of(call.body),
            site_id=call.body.site_id,
            status=CommandStatus.APPLIED,
            applied_kw=-25.0,
        )

    @serves(POST_TELEMETRY)
    async def telemetry(call: Call[Telemetry]) -> TelemetryAck:
        return TelemetryAck(accepted=1, stored_through=call.body.sequence)

    @serves(LIST_COMMANDS)
    async def commands(call: Call[None]) -> CommandPage:
        assert call.query.limit <= 1000
        return CommandPage(commands=())

    return [dispatch, telemetry, commands, token_route(AMPERIO_TOKEN, book)]


CREDENTIALS = (
    Credential(client_id="enexa", secret_sha256=digest("s1"), scope=Scope.PLATFORM),
    Credential(client_id="CTRL001", secret_sha256=digest("s2"), scope=Scope.MIDDLEWARE, sites=("SITE001",)),
    Credential(client_id="viewer", secret_sha256=digest("s3"), scope=Scope.VIEWER, sites=("SITE001",)),
)


class Served:
    """A running app with its parts."""

    def __init__(self, port: int, clock: ManualClock, book: TokenBook, audit: Remembered) -> None:
        self.port = port
        self.clock = clock
        self.book = book
        self.audit = audit
        self.url = f"http://127.0.0.1:{port}"

    def caller(self, client_id: str = "enexa", secret: str = "s1") -> Caller:
        return Caller(self.url, self.clock, client_id=client_id, secret=secret, token_operation=AMPERIO_TOKEN)


@asynccontextmanager
async def running(
    limits: Limits | None = None,
    allowlist: tuple[str, ...] = (),
    *,
    made: Callable[[TokenBook], list[Route]] = routes,
    places: Mapping[Budget, int] = PLACES,
    **listener: Any,
) -> AsyncIterator[Served]:
    probe = bind(Listener("127.0.0.1", 0))
    port = probe.getsockname()[1]
    probe.close()
    clock, audit = ManualClock(), Remembered()
    book = TokenBook(CREDENTIALS)
    gate = Gate(clock, book, audit=audit, limits=limits, allowlist=allowlist, places=places)
    stop = asyncio.Event()
    task = asyncio.create_task(
        serve(application(made(book), gate), [Listener("127.0.0.1", port, **listener)], stop=stop)
    )
    for _ in range(500):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.01)
            continue
        writer.close()
        await writer.wait_closed()
        break
    try:
        yield Served(port, clock, book, audit)
    finally:
        stop.set()
        await task
