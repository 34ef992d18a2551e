"""Composition root of the emulator: settings become stations, servers, the loop and the side door."""

import asyncio
import ssl
from contextlib import suppress

import structlog
from litestar import Litestar
from litestar.exceptions import HTTPException

from emulator.api import SideDoor, problem
from emulator.device.truth import MOST_SECONDS, Truth
from emulator.director import fault_mistake
from emulator.ledger import FILE, History, Ledger
from emulator.memory import MemoryFile, resumed
from emulator.physics.nameplate import StationProfile
from emulator.runtime import Runtime, Unit
from emulator.server import Server
from emulator.settings import Settings
from emulator.station import Station
from emulator.stations.load import load_station
from shared.clock import Clock, SystemClock
from shared.errors import BadInput, SiteError
from shared.rest.server import Listener, bind, serve
from shared.scenario.load import load_scenario, load_sessions
from shared.scenario.schema import Scenario

log = structlog.get_logger()
LEAST_TRUTH_S = 600


def clock_of(settings: Settings) -> SystemClock:
    """The clock of the whole stack; without origins a fast clock goes on from what the stations remember."""
    clock = settings.clock()
    if settings.origin_sim is None and settings.origin_real is None:
        _, profile = _told(settings)
        files = (_memory_of(settings, name) for name in _names(settings, profile))
        newest = max((saved.at for file in files if file and (saved := file.load())), default=clock.now().at)
        if newest > clock.now().at:
            return SystemClock(speed=settings.speed, origin_sim=newest)
    return clock


def build(settings: Settings, clock: Clock, *, told_s: float = 0.0) -> tuple[list[Unit], Runtime]:
    """Stations on bound ports, not yet listening; call inside a running loop. The stack's story is `told_s` old."""
    _make_data_dir(settings)
    scenario, profile = _told(settings)
    sessions = load_sessions(settings.sessions) if settings.sessions else ()
    tls = tls_of(settings)
    ledger = _ledger_of(settings)
    units = []
    for index, name in enumerate(_names(settings, profile)):
        memory = _memory_of(settings, name)
        now = clock.now()
        story = resumed(
            memory.load() if memory else None, scenario.name, now.at, origin=settings.origin_sim, told_s=told_s
        )
        truth = Truth(
            seconds=max(LEAST_TRUTH_S, MOST_SECONDS // settings.stations),
            before=ledger.last() if ledger else (0, 0),
        )
        station = Station(
            profile,
            scenario,
            now,
            sessions=sessions,
            seed=(scenario.seed if settings.seed is None else settings.seed) + index,
            memory=story.memory,
            since=story.since,
            told_s=story.told_s,
            known_s=story.known_s,
            truth=truth,
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
        units.append(Unit(name, station, server, memory, History(name, truth, ledger), story.began_at))
    return units, Runtime(clock, units, ledger)


async def run(settings: Settings, *, stop: asyncio.Event | None = None) -> None:
    """Serve until SIGTERM, SIGINT or `stop`."""
    clock = clock_of(settings)
    units, runtime = build(settings, clock, told_s=clock.since_origin_s if settings.origin_sim else 0.0)
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


def _told(settings: Settings) -> tuple[Scenario, StationProfile]:
    scenario = load_scenario(settings.scenario, check=fault_mistake)
    return scenario, load_station(settings.station or scenario.station)


def _names(settings: Settings, profile: StationProfile) -> list[str]:
    count = settings.stations
    return [profile.name] if count == 1 else [f"{profile.name}-{number}" for number in range(1, count + 1)]


def _make_data_dir(settings: Settings) -> None:
    try:
        if settings.data_dir is not None:
            settings.data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"cannot use {settings.data_dir} as CHARGEPOST_DATA_DIR: {error.strerror}") from error


def _memory_of(settings: Settings, name: str) -> MemoryFile | None:
    return MemoryFile(settings.data_dir / f"{name}.json") if settings.data_dir else None


def _ledger_of(settings: Settings) -> Ledger | None:
    if settings.data_dir is None:
        return None
    return Ledger(settings.data_dir / FILE, most_rows=max(LEAST_TRUTH_S, settings.truth_seconds // settings.stations))


def tls_of(settings: Settings) -> ssl.SSLContext | None:
    """Modbus/TCP Security: the same frames inside TLS 1.2 or newer; client certificates where a CA is given."""
    if settings.tls_cert is None and settings.tls_key is None and settings.tls_client_ca is None:
        return None
    if settings.tls_cert is None or settings.tls_key is None:
        raise BadInput("Modbus/TCP Security wants both CHARGEPOST_TLS_CERT and CHARGEPOST_TLS_KEY")
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
