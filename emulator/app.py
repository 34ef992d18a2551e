"""Composition root of the emulator: settings become stations, servers, the loop and the side door."""

import asyncio
import ssl
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import structlog
from litestar import Litestar
from litestar.exceptions import HTTPException

from emulator.api import SideDoor, problem
from emulator.device.truth import MOST_SECONDS
from emulator.director import fault_mistake
from emulator.memory import MemoryFile, Saved, as_of
from emulator.runtime import Runtime, Unit
from emulator.server import Server
from emulator.settings import Settings
from emulator.station import Station
from emulator.stations.load import load_station
from shared.clock import Clock, SystemClock
from shared.errors import BadInput, SiteError
from shared.rest.server import Listener, bind, serve
from shared.scenario.load import load_scenario, load_sessions

log = structlog.get_logger()
LEAST_TRUTH_S = 600


def clock_of(settings: Settings) -> SystemClock:
    """The clock of the whole stack: one pair of origins for all three programs."""
    return SystemClock(speed=settings.speed, origin_real=settings.origin_real, origin_sim=settings.origin_sim)


def build(settings: Settings, clock: Clock) -> tuple[list[Unit], Runtime]:
    """Stations on bound ports, not yet listening; call inside a running loop."""
    scenario = load_scenario(settings.scenario, check=fault_mistake)
    profile = load_station(settings.station or scenario.station)
    sessions = load_sessions(settings.sessions) if settings.sessions else ()
    tls = _tls_of(settings)
    units = []
    for index in range(settings.stations):
        name = profile.name if settings.stations == 1 else f"{profile.name}-{index + 1}"
        memory = _memory_of(settings, name)
        saved = memory.load() if memory else None
        now = clock.now()
        began_at = _began_at(settings, saved, scenario.name) or now.at
        if saved is not None:
            saved = as_of(saved, now.at, began_at)
        station = Station(
            profile,
            scenario,
            now,
            sessions=sessions,
            seed=(scenario.seed if settings.seed is None else settings.seed) + index,
            memory=None if saved is None else saved.memory,
            since=None if saved is None else saved.at,
            began_at=began_at,
            truth_seconds=max(LEAST_TRUTH_S, MOST_SECONDS // settings.stations),
        )
        bound = bind(Listener(settings.host, settings.port + index if settings.port else 0))
        server = Server(
            station,
            clock,
            bound,
            most_connections=settings.most_connections,
            idle_s=settings.idle_s,
            tls=tls,
        )
        units.append(Unit(name, station, server, memory))
    return units, Runtime(clock, units)


async def run(settings: Settings, *, stop: asyncio.Event | None = None) -> None:
    """Serve until SIGTERM, SIGINT or `stop`."""
    clock = clock_of(settings)
    units, runtime = build(settings, clock)
    for unit in units:
        await unit.server.start()
    loop = asyncio.create_task(runtime.run())
    stopping = stop or asyncio.Event()
    loop.add_done_callback(lambda _: stopping.set())
    log.info(
        "emulator_started",
        stations=len(units),
        modbus=f"{settings.host}:{units[0].server.port}",
        scenario=settings.scenario,
        speed=settings.speed,
        at=clock.now().at.isoformat(),
    )
    app = Litestar(
        route_handlers=SideDoor(clock, units, runtime).handlers(),
        openapi_config=None,
        logging_config=None,
        exception_handlers={SiteError: problem, HTTPException: problem},
    )
    try:
        await serve(app, [Listener(settings.api_host, settings.api_port)], stop=stopping)
    finally:
        for unit in units:
            await unit.server.stop()
        loop.cancel()
        with suppress(asyncio.CancelledError):
            await loop
        log.info("emulator_stopped")


def _began_at(settings: Settings, saved: Saved | None, story: str) -> datetime | None:
    """When the story began: with the stack's clock, else where it was left in the data directory; None if just now."""
    if settings.origin_sim is not None:
        return settings.origin_sim.astimezone(UTC)
    return saved.began_at if saved is not None and saved.story == story else None


def _memory_of(settings: Settings, name: str) -> MemoryFile | None:
    if settings.data_dir is None:
        return None
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"cannot use {settings.data_dir} as CHARGEPOST_DATA_DIR: {error.strerror}") from error
    return MemoryFile(Path(settings.data_dir) / f"{name}.json")


def _tls_of(settings: Settings) -> ssl.SSLContext | None:
    """Modbus/TCP Security: the same frames inside TLS 1.2 or newer; client certificates where a CA is given."""
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
        if settings.tls_client_ca is not None:
            context.load_verify_locations(settings.tls_client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise BadInput(f"cannot use the certificate {settings.tls_cert}: {error}") from error
    return context
