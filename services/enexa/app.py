"""The composition root: the only file that knows every concrete class of Enexa."""

import asyncio
from datetime import timedelta
from functools import partial
from pathlib import Path

from litestar.types import ASGIApp

from services.enexa.amperio_client import AmperioClient
from services.enexa.api import (
    alerts,
    audit,
    commands,
    configs,
    controllers,
    events,
    impact,
    reads,
    registry,
    schedules,
    status,
    stream,
)
from services.enexa.api import telemetry as telemetry_api
from services.enexa.cable import Cable, CuttableCaller, CuttableGate
from services.enexa.drills import Drills
from services.enexa.firmware import FirmwareShelf
from services.enexa.inbox import Inbox
from services.enexa.judging import Judge
from services.enexa.messengers import messengers
from services.enexa.onboarding import Onboarding
from services.enexa.planning_job import PlanningJob
from services.enexa.platform import Platform
from services.enexa.pricing import PriceSource
from services.enexa.runtime import Runtime
from services.enexa.seeds import load_seed, plant_seed
from services.enexa.settings import Settings
from services.enexa.side_door import SideDoor
from services.enexa.store.database import normalised_url, sqlite_url
from services.enexa.store.store import Store
from services.enexa.story import Story
from services.enexa.tokens import PlatformTokens
from services.enexa.web.deps import Deps, Desk, Onboard
from services.enexa.web.pages import handlers
from services.enexa.web.session import Doorkeeper, load_key
from shared.clock import Clock, SystemClock
from shared.contract.config import ConfigDocument, SiteConfig
from shared.contract.operations import AMPERIO_TOKEN, ENEXA_OPENAPI, ENEXA_TOKEN
from shared.errors import BadInput
from shared.rest.auth import TokenBook, load_credentials
from shared.rest.credentials import CredentialsFile
from shared.rest.gate import Route, openapi_route, token_route
from shared.rest.serve import application
from shared.scenario.load import load_scenario
from shared.settings import read_secret


def build(settings: Settings, clock: Clock) -> ASGIApp:
    """Wire Enexa together; BadInput where a setting or a file cannot be used."""
    if settings.credentials_file is None:
        raise BadInput("ENEXA_CREDENTIALS_FILE is not set; `make up` writes one under .stack/secrets")
    credentials = load_credentials(settings.credentials_file)
    load_seed(settings.station)
    prices = PriceSource(file=settings.prices, scenario=settings.scenario)
    prices.check(clock.now().at)
    store = Store(database_url(settings))
    platform = Platform(
        clock=clock,
        store=store,
        prices=prices,
        messengers=messengers(settings),
        raw_days=settings.raw_days,
        data_dir=settings.data_dir,
    )
    amperio_secret = partial(read_secret, settings.amperio_secret_file, "ENEXA_AMPERIO_SECRET_FILE")
    amperio_secret()
    cable = Cable(clock)
    amperio = AmperioClient(
        CuttableCaller(
            settings.amperio_url,
            clock,
            cable=cable,
            ca_file=settings.amperio_ca,
            client_id=settings.amperio_client_id,
            secret=amperio_secret,
            token_operation=AMPERIO_TOKEN,
        )
    )
    inbox = Inbox(settings.data_dir)
    runtime = Runtime(platform, amperio, PlanningJob(), inbox)
    book = PlatformTokens(credentials, inbox)
    onboarding = Onboarding(platform, book, inbox, settings.reached_at(), timedelta(seconds=settings.key_overlap_s))
    door = Doorkeeper(credentials, load_key(settings.data_dir / "session.key"), speed=settings.speed)
    clients = CredentialsFile(settings.credentials_file, book.relist, door.admit)
    shelf = FirmwareShelf(settings.data_dir / "firmware")
    gate = CuttableGate(
        clock,
        book,
        cable=cable,
        audit=store.audit,
        limits=settings.limits(),
        allowlist=settings.networks(),
        hosts=settings.hosts(),
    )
    side_door = SideDoor(settings.emulator_url) if settings.emulator_url else None
    drills = Drills(platform, cable, side_door)
    scenario = load_scenario(settings.scenario)
    story = (
        Story(scenario, clock, cable) if scenario.chapters and side_door and isinstance(clock, SystemClock) else None
    )
    onboard = Onboard(
        inbox=inbox,
        controllers=platform.controllers,
        own_url=f"http://127.0.0.1:{settings.port}",
        side_door=side_door,
    )

    turn = asyncio.Semaphore(1)
    judge = Judge(turn=turn)

    async def start() -> None:
        await store.open()
        await plant_seed(store, settings.station, clock.now().at, speed=clock.speed)
        await platform.load()
        onboarding.load()

    loops = [
        *runtime.loops(),
        clients.watch,
        drills.judging,
        *([story.playing] if story else []),
        *(each.run for each in platform.alerts.rounds()),
    ]
    return application(
        [
            *routes(platform, book, judge, settings.tls_cert),
            *controllers.routes(onboarding, shelf, settings.reached_at()),
        ],
        gate,
        background=loops,
        handlers=[
            stream.handler(platform, gate),
            controllers.file_handler(shelf, gate),
            *handlers(_pages(settings, platform, door, drills, onboard, story), judge=judge, turn=turn),
        ],
        on_start=[start],
        on_close=[runtime.close, store.close],
    )


def routes(platform: Platform, book: TokenBook, judge: Judge, tls_cert: Path | None) -> list[Route]:
    """Every route that answers with a message."""
    return [
        token_route(ENEXA_TOKEN, book),
        openapi_route(ENEXA_OPENAPI),
        *telemetry_api.routes(platform),
        *events.routes(platform),
        *status.routes(platform, tls_cert),
        *configs.routes(platform),
        *registry.routes(platform),
        *schedules.routes(platform),
        *reads.routes(platform),
        *impact.routes(platform, judge),
        *commands.routes(platform),
        *alerts.routes(platform),
        *audit.routes(platform),
    ]


def database_url(settings: Settings) -> str:
    """Where the store is; its directory is made."""
    if settings.database_url:
        return normalised_url(settings.database_url)
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"ENEXA_DATA_DIR: cannot make {settings.data_dir}: {error.strerror}") from error
    return sqlite_url(settings.data_dir / "enexa.sqlite")


def _pages(
    settings: Settings,
    platform: Platform,
    door: Doorkeeper,
    drills: Drills,
    onboard: Onboard,
    story: Story | None,
) -> Deps:
    async def replan(site_id: str, _author: str) -> None:
        platform.ask_replan(site_id)

    async def save_config(site_id: str, document: ConfigDocument, replaces_version: int, author: str) -> SiteConfig:
        return await platform.put_config(site_id, document, if_match=f'"{replaces_version}"', author=author)

    return Deps(
        clock=platform.clock,
        board=platform.board,
        store=platform.store,
        door=door,
        desk=Desk(replan=replan, save_config=save_config),
        names=platform.names,
        prices_between=platform.prices.between,
        data_dir=settings.data_dir,
        drills=drills,
        onboard=onboard,
        story=story,
    )
