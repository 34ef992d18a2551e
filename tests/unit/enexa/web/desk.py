"""The real pages over a real store and board, for tests; only the site's samples are made here."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

import msgspec
from litestar.types import ASGIApp
from msgspec import Struct

from services.enexa.jobs import Progress
from services.enexa.judging import Judge
from services.enexa.market.prices import daily_series
from services.enexa.registry.configs import etag, next_version
from services.enexa.seeds import plant_seed
from services.enexa.state import Board, PlanMade
from services.enexa.store.database import sqlite_url
from services.enexa.store.store import Store
from services.enexa.store.telemetry import Ingest
from services.enexa.web.deps import Deps, Desk
from services.enexa.web.pages import handlers
from services.enexa.web.session import Doorkeeper
from shared.clock import ManualClock
from shared.contract.config import ConfigDocument, SiteConfig
from shared.contract.operations import Scope
from shared.rest.auth import Credential, TokenBook, digest
from shared.rest.gate import Gate
from shared.rest.serve import application
from tests.unit.enexa.insight.samples import sample
from tests.unit.enexa.insight.test_dispatch_log import GOOD_WAY, record
from tests.unit.enexa.insight.test_monitoring import schedule

NOW = datetime(2026, 6, 16, 10, 0, tzinfo=UTC)
SITE = "SITE001"
QUARTERS = tuple(float(quarter) for quarter in range(96))
SECRETS = {"operator": "operators secret", "viewer": "viewers secret", "stranger": "strangers secret"}
PEOPLE = (
    Credential(client_id="operator", secret_sha256=digest(SECRETS["operator"]), scope=Scope.OPERATOR, sites=(SITE,)),
    Credential(client_id="viewer", secret_sha256=digest(SECRETS["viewer"]), scope=Scope.VIEWER, sites=(SITE,)),
    Credential(client_id="stranger", secret_sha256=digest(SECRETS["stranger"]), scope=Scope.VIEWER, sites=("SITE002",)),
)


class World(Struct, frozen=True, kw_only=True):
    """What a test may look at besides the pages."""

    app: ASGIApp
    board: Board
    store: Store
    clock: ManualClock
    replans: list[tuple[str, str]]


@asynccontextmanager
async def world(directory: Path) -> AsyncIterator[World]:
    """Ten minutes of samples with a hole of two, a plan in force, one verified command."""
    clock = ManualClock(NOW)
    store = Store(sqlite_url(directory / "enexa.sqlite"))
    await store.open()
    try:
        board = Board()
        await plant_seed(store, "chargepost", NOW)
        site = board.site(SITE)
        site.config = await store.master.current_config(SITE)
        site.prices = daily_series(QUARTERS, NOW.date(), 2)
        await _fill(store, board)
        replans: list[tuple[str, str]] = []
        deps = Deps(
            clock=clock,
            board=board,
            store=store,
            door=Doorkeeper(PEOPLE, b"k" * 32),
            desk=_desk(store, board, clock, replans),
            names={SITE: "Charging park 1"},
            prices_between=lambda start, until: daily_series(QUARTERS, start.date(), (until - start).days + 2),
            data_dir=directory,
        )
        app = application(
            [],
            Gate(clock, TokenBook(PEOPLE), audit=store.audit),
            handlers=handlers(deps, compare=_never, judge=Judge(_never)),
        )
        yield World(app=app, board=board, store=store, clock=clock, replans=replans)
    finally:
        await store.close()


def _desk(store: Store, board: Board, clock: ManualClock, replans: list[tuple[str, str]]) -> Desk:
    async def replan(site_id: str, author: str) -> None:
        replans.append((site_id, author))

    async def save(site_id: str, document: ConfigDocument, replaces_version: int, author: str) -> SiteConfig:
        current = board.site(site_id).config
        assert current is not None
        made = next_version(current, document, if_match=etag(replaces_version), at=clock.now().at, author=author)
        await store.master.add_config(made)
        board.site(site_id).reconfigured(made)
        return made

    return Desk(replan=replan, save_config=save)


async def _never(_: object, __: Progress) -> NoReturn:
    """Work of the engine that is still running when the test ends."""
    await asyncio.Event().wait()
    raise AssertionError


async def _fill(store: Store, board: Board) -> None:
    seconds = [*range(-600, -300), *range(-180, 1)]
    samples = tuple(
        msgspec.structs.replace(sample(at=NOW + timedelta(seconds=second)), stream_epoch="E1", sequence=number)
        for number, second in enumerate(seconds, start=1)
    )
    await store.telemetry.keep(Ingest(site_id=SITE, epoch="E1", samples=samples, gaps=(), received_at=NOW))
    site = board.site(SITE)
    site.saw(samples[-1], NOW)
    site.planned(PlanMade(schedule=schedule(NOW - timedelta(minutes=15)), plan=None, trigger="slot_roll"))
    line = record(GOOD_WAY[-1][0], *GOOD_WAY, applied_kw=-24.0, measured_kw=-23.9, detail="<b>as told</b>")
    site.commanded(line)
    await store.journal.save_commands([line])
