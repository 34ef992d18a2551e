"""The composition root: the only file that knows every concrete class of Amperio."""

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from litestar.types import ASGIApp

from services.amperio.api import dispatch, health, sites
from services.amperio.enexa_client import EnexaClient
from services.amperio.forwarder import Forwarder
from services.amperio.lane import SiteLane
from services.amperio.locks import LOCKS, Locks
from services.amperio.modbus_link import ModbusLink
from services.amperio.runtime import Doctor, Housekeeper, Lanes
from services.amperio.settings import Settings
from services.amperio.store import tables
from services.amperio.store.database import Database
from shared.clock import Clock
from shared.contract.operations import AMPERIO_OPENAPI, AMPERIO_TOKEN
from shared.errors import BadInput
from shared.rest.audit import AuditLine
from shared.rest.auth import TokenBook, load_credentials
from shared.rest.gate import Gate, openapi_route, token_route
from shared.rest.limits import Limits
from shared.rest.serve import application
from shared.rest.server import Listener

STORE = "amperio.db"
Loop = Callable[[], Coroutine[Any, Any, None]]


class Amperio:
    """The wired middleware; built inside a running loop, closed in reverse."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        if settings.credentials_file is None:
            raise BadInput(
                "AMPERIO_CREDENTIALS_FILE is missing: the file with the clients that may call; `make up` writes one"
            )
        book = TokenBook(load_credentials(settings.credentials_file))
        secret = settings.secret()
        stations = settings.stations()
        self.clock = clock
        self.enexa = EnexaClient(
            settings.enexa_url, clock, ca_file=settings.enexa_ca, client_id=settings.client_id, secret=secret
        )
        self.database = Database(settings.data_dir / STORE, max_bytes=settings.store_max_mb * 1024 * 1024)
        self.locks = Locks(settings.data_dir / LOCKS)
        self.settings = settings
        self.book = book
        self.stations = stations

    async def lanes(self) -> Lanes:
        """A lane for each station, knowing again what it knew before the last stop."""
        epoch = await self.database.run(tables.stream_epoch)
        return Lanes([await self._lane(index, epoch) for index in range(len(self.stations))])

    async def _lane(self, index: int, epoch: str) -> SiteLane:
        site_id, host, port = self.stations[index]
        return SiteLane(
            site_id,
            self.clock,
            ModbusLink(site_id, host, port, self.clock, timeout_s=self.settings.modbus_timeout_s),
            self.database,
            self.locks,
            stream_epoch=epoch,
            keepsake=await self.database.run(partial(tables.load_keepsake, site=site_id)),
            entries=await self.database.run(partial(tables.load_entries, site=site_id)),
            cursor=await self.database.run(partial(tables.cursor_of, site=site_id)),
            phase_s=index / len(self.stations),
        )

    def application(self, lanes: Lanes) -> ASGIApp:
        """The served app with its loops."""
        gate = Gate(
            self.clock,
            self.book,
            audit=StoreAudit(self.database),
            limits=Limits(),
            allowlist=self.settings.networks(),
        )
        doctor = Doctor(lanes, self.database, self.clock)
        routes = [
            token_route(AMPERIO_TOKEN, self.book),
            openapi_route(AMPERIO_OPENAPI),
            *dispatch.routes(lanes),
            *sites.routes(lanes),
            *health.routes(doctor),
        ]
        return application(routes, gate, background=self._loops(lanes), on_close=(self.close,))

    def _loops(self, lanes: Lanes) -> list[Loop]:
        loops: list[Loop] = [Housekeeper(lanes.all(), self.database, self.clock).run]
        for lane in lanes.all():
            loops.append(lane.run)
            loops += Forwarder(lane, self.enexa, self.database, self.clock).loops()
        return loops

    async def close(self) -> None:
        await self.enexa.close()
        self.database.close()


class StoreAudit:
    """The audit log in our own store; a call that cannot be remembered is a call that failed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(self, line: AuditLine) -> None:
        await self._database.run(lambda store: tables.append_audit(store, line))


def listeners(settings: Settings) -> list[Listener]:
    """TLS for the peer, plain on the loopback for this machine."""
    if settings.tls_cert is None or settings.tls_key is None:
        raise BadInput("AMPERIO_TLS_CERT and AMPERIO_TLS_KEY are missing; `make up` makes development certificates")
    return [
        Listener(settings.host, settings.tls_port, settings.tls_cert, settings.tls_key),
        Listener(settings.host, settings.port),
    ]
