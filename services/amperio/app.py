"""The composition root: the only file that knows every concrete class of Amperio."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import structlog
from litestar.types import ASGIApp
from msgspec import Struct

from services.amperio.api import dispatch, health, sites
from services.amperio.checks import disk_checks
from services.amperio.controllers import CONTROLLERS, Controller, Controllers
from services.amperio.enexa_client import EnexaClient
from services.amperio.firmware import FIRMWARE, FirmwareKeeper
from services.amperio.forwarder import REPLAYS_AT_ONCE, Forwarder
from services.amperio.lane import SiteLane
from services.amperio.locks import LOCKS, Locks
from services.amperio.modbus_link import ModbusLink
from services.amperio.runtime import Doctor, Housekeeper, Lanes
from services.amperio.settings import Settings
from services.amperio.store import tables
from services.amperio.store.database import Database
from shared.clock import Clock
from shared.contract.operations import AMPERIO_OPENAPI, AMPERIO_TOKEN
from shared.contract.reads import Check
from shared.errors import BadInput
from shared.rest.audit import AuditLine
from shared.rest.auth import TokenBook, load_credentials
from shared.rest.background import Background
from shared.rest.certificates import certificate_check
from shared.rest.credentials import CredentialsFile
from shared.rest.gate import Gate, openapi_route, token_route
from shared.rest.hosts import names_in
from shared.rest.serve import application
from shared.rest.server import Listener

STORE = "amperio.db"
NEWCOMERS_EVERY_S = 5.0
GOLDEN_RATIO = 0.618
"""Multiples of it, whole seconds taken away, never crowd: each newcomer's cycle begins far from all others."""

log = structlog.get_logger()
Loop = Callable[[], Coroutine[Any, Any, None]]


class Station(Struct, frozen=True, kw_only=True):
    """Where a site's station is, and who we are at Enexa when we speak for it."""

    site_id: str
    host: str
    port: int
    client_id: str
    secret: Callable[[], str]
    """Read anew for each token, so that it may be exchanged while we serve."""


class Amperio:
    """The wired middleware; built inside a running loop, closed in reverse."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        if settings.credentials_file is None:
            raise BadInput(
                "AMPERIO_CREDENTIALS_FILE is missing: the file with the clients that may call; `make up` writes one"
            )
        self.settings = settings
        self.clock = clock
        self.book = TokenBook(load_credentials(settings.credentials_file))
        self.clients = CredentialsFile(settings.credentials_file, self.book.relist)
        self.controllers = Controllers(settings.data_dir / CONTROLLERS)
        self.stations = self._stations()
        self.database = Database(settings.data_dir / STORE, max_bytes=settings.store_max_mb * 1024 * 1024)
        self.locks = Locks(settings.data_dir / LOCKS)
        self._clients: dict[str, EnexaClient] = {}
        self._replays = asyncio.Semaphore(REPLAYS_AT_ONCE)
        self._newcomers: list[Background] = []

    def _stations(self) -> dict[str, Station]:
        """Those of the settings, and those that were enrolled, by site."""
        given = self.settings.stations()
        if given:
            self.settings.secret()  # one that cannot be read is told at the start, not at the first token
        client_id = self.settings.client_id
        found = {
            site_id: Station(site_id=site_id, host=host, port=port, client_id=client_id, secret=self.settings.secret)
            for site_id, host, port in given
        }
        for controller in self.controllers.active():
            if controller.site_id in found:
                raise BadInput(f"{controller.site_id} is enrolled: take it out of AMPERIO_SITES")
            found[controller.site_id] = self._station_of(controller)
        if not found:
            raise BadInput("there is no station: enrol one with `amperio enrol`, or name it in AMPERIO_SITES")
        return found

    def _station_of(self, controller: Controller) -> Station:
        return Station(
            site_id=controller.site_id,
            host=controller.host,
            port=controller.port,
            client_id=controller.controller_id,
            secret=partial(self.controllers.key, controller.site_id),
        )

    async def lanes(self) -> Lanes:
        """A lane for each station, knowing again what it knew before the last stop."""
        count = len(self.stations)
        return Lanes([await self._lane(each, index / count) for index, each in enumerate(self.stations.values())])

    async def _lane(self, station: Station, phase_s: float) -> SiteLane:
        site_id = station.site_id
        return SiteLane(
            site_id,
            self.clock,
            ModbusLink(site_id, station.host, station.port, self.clock, timeout_s=self.settings.modbus_timeout_s),
            self.database,
            self.locks,
            stream_epoch=await self.database.run(tables.stream_epoch),
            keepsake=await self.database.run(partial(tables.load_keepsake, site=site_id)),
            entries=await self.database.run(partial(tables.load_entries, site=site_id)),
            cursor=await self.database.run(partial(tables.cursor_of, site=site_id)),
            phase_s=phase_s,
        )

    def application(self, lanes: Lanes) -> ASGIApp:
        """The served app with its loops."""
        gate = Gate(
            self.clock,
            self.book,
            audit=StoreAudit(self.database),
            limits=self.settings.limits(),
            allowlist=self.settings.networks(),
            hosts=names_in(self.settings.tls_cert),
        )
        doctor = Doctor(lanes, self.database, self.clock, of_process=self._process_checks)
        routes = [
            token_route(AMPERIO_TOKEN, self.book),
            openapi_route(AMPERIO_OPENAPI),
            *dispatch.routes(lanes),
            *sites.routes(lanes),
            *health.routes(doctor),
        ]
        return application(routes, gate, background=self._loops(lanes), on_close=(self.close,))

    def _process_checks(self) -> tuple[Check, ...]:
        max_bytes = self.settings.store_max_mb * 1024 * 1024
        return (*disk_checks(self.database, max_bytes), *certificate_check(self.settings.tls_cert))

    def _loops(self, lanes: Lanes) -> list[Loop]:
        loops: list[Loop] = [Housekeeper(lanes, self.database, self.clock).run, self.clients.watch]
        identities = dict.fromkeys(each.client_id for each in self.stations.values())
        loops += [self._firmware(client_id).run for client_id in identities]
        for lane in lanes:
            loops += self._loops_of(lane)
        return [*loops, partial(self._welcome, lanes)]

    def _loops_of(self, lane: SiteLane) -> list[Loop]:
        enexa = self._enexa(self.stations[lane.site_id])
        forwarder = Forwarder(lane, enexa, self.database, self.clock, replays=self._replays)
        return [lane.run, *forwarder.loops()]

    async def _welcome(self, lanes: Lanes) -> None:
        """Take in what `amperio enrol` left, within seconds and without a restart."""
        while True:
            await self.clock.sleep(NEWCOMERS_EVERY_S)
            for controller in await asyncio.to_thread(self.controllers.active):
                if controller.site_id in self.stations:
                    continue
                station = self.stations[controller.site_id] = self._station_of(controller)
                lane = await self._lane(station, phase_s=len(self.stations) * GOLDEN_RATIO % 1.0)
                lanes.add(lane)
                loops = [*self._loops_of(lane), self._firmware(station.client_id).run]
                self._newcomers.append(Background(loops))
                self._newcomers[-1].start()
                log.info("site_added", site_id=station.site_id, controller_id=station.client_id)

    def _enexa(self, station: Station) -> EnexaClient:
        """One client for each identity, whatever number of sites it speaks for."""
        if station.client_id not in self._clients:
            self._clients[station.client_id] = EnexaClient(
                self.settings.enexa_url,
                self.clock,
                ca_file=self.settings.enexa_ca,
                client_id=station.client_id,
                secret=station.secret,
            )
        return self._clients[station.client_id]

    def _firmware(self, client_id: str) -> FirmwareKeeper:
        station = next(each for each in self.stations.values() if each.client_id == client_id)
        directory, key_file = self.settings.data_dir / FIRMWARE, self.settings.firmware_key_file
        return FirmwareKeeper(client_id, self._enexa(station), directory, key_file, self.clock)

    async def close(self) -> None:
        for each in self._newcomers:
            await each.stop()
        for client in self._clients.values():
            await client.close()
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
