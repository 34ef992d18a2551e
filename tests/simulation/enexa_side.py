"""Enexa without sockets: its real platform, loops, routes, tokens and planner, turned by hand.

What is replaced is what touches the outside: the HTTPS connections, the store (`archive.py`), the planner's process,
and the clock. A kill drops the loop with everything in it; what the archive holds is where the next life begins.
"""

import asyncio
import random
import tomllib
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec
from msgspec import Struct

from services.enexa.amperio_client import AmperioClient
from services.enexa.api import configs, events, schedules, status
from services.enexa.api import telemetry as telemetry_api
from services.enexa.dispatching.core import SiteCore
from services.enexa.dispatching.reconcile import ReconcileView
from services.enexa.inbox import Inbox
from services.enexa.planning.assembly import assemble
from services.enexa.planning.compiled import fast_backward
from services.enexa.planning.planner import plan
from services.enexa.planning.problem import PlanRequest
from services.enexa.planning.solver import Solver
from services.enexa.planning.travel import schedule_of
from services.enexa.planning_job import Planned, PlanningJob, report_of
from services.enexa.platform import Platform
from services.enexa.pricing import PriceSource
from services.enexa.registry.configs import first_version
from services.enexa.runtime import Runtime
from services.enexa.store.store import Store
from shared.clock import Clock, ManualClock
from shared.contract.config import ConfigDocument, SiteConfig
from shared.contract.operations import ENEXA_TOKEN, Operation, Scope
from shared.contract.reads import Alert, CommandRecord
from shared.contract.schedule import SiteSchedule
from shared.contract.telemetry import Telemetry
from shared.errors import BadInput, Forbidden, SiteError, UnknownSite, Unreachable
from shared.moment import Moment
from shared.rest.auth import Credential, TokenBook, digest
from shared.rest.call import Caller, Reply
from shared.rest.gate import Answer as FullAnswer
from shared.rest.gate import Call, Route, token_route
from shared.scenario.schema import Scenario
from tests.simulation.amperio_side import CLIENT_ID, CLIENT_SECRET, RESTART_PAUSE_S, LineCaller
from tests.simulation.archive import Archive
from tests.simulation.clocks import OwnClock
from tests.simulation.journal import Journal
from tests.simulation.links import Answer, Line
from tests.simulation.links import Path as UrlPath
from tests.simulation.stepping import StepLoop

T = TypeVar("T")
PLAN_TAKES_S = 1.0
NO_WALL_CLOCK_S = 1e9
"""HiGHS counts its limit in real seconds; a run that must repeat exactly can have none."""
SEEDS = Path("services/enexa/registry/seeds")
TOLD = frozenset({"middleware_silent"})
"""Alerts that expectations and rules count."""


def seed_config(station: str, site_id: str, scenario: Scenario, at: datetime) -> SiteConfig:
    """Version 1 of the site's configuration: the station's seed under what the scenario says of its site."""
    root = Path(__file__).parents[2]
    path = root / SEEDS / f"{station}.toml"
    if not path.is_file():
        raise BadInput(f"Enexa has no seed for the station '{station}'")
    document = tomllib.loads(path.read_text(encoding="utf-8"))["config"]
    for section, values in scenario.site.items():
        document[section] = {**document.get(section, {}), **values}
    return first_version(site_id, msgspec.convert(document, ConfigDocument), at=at, author="seed")


class EnexaSide:
    """One site's platform."""

    def __init__(
        self, archive: Archive, prices: PriceSource, journal: Journal, world: ManualClock, *, seed: int
    ) -> None:
        self.clock = OwnClock(world)
        self.archive = archive
        self.prices = prices
        self.line: Line | None = None
        """To Amperio."""
        self.site_id = archive.site_id
        self.up = False
        self.paused = False
        self.life = 0
        self.plan_count = 0
        self.alert_count = 0
        self.bugs: list[str] = []
        """What broke in a loop of the program, as the supervisor would log it."""
        self.tells: list[Callable[[Moment, str], None]] = []
        """Who wants to know what the program noticed."""
        self.commands: list[Callable[[Moment, str, str], None]] = []
        self.hears: list[Callable[[Moment, Telemetry, bool], None]] = []
        self._tokens = random.Random(f"{seed}:tokens")
        self.book: TokenBook = SeededBook(self._tokens)
        self._seed = seed
        self._journal = journal
        self._world = world
        self._job = PlannedHere(self.clock)
        self._platform: WatchedPlatform
        self._loop: StepLoop
        self._routes: dict[str, Route] = {}
        records = archive.journal
        records.on_command, records.on_alert = self._commanded, self._alerted
        records.on_reconciliation, records.on_plan = self._reconciled, self._planned

    @property
    def core(self) -> SiteCore:
        return self._platform.cores[self.site_id]

    @property
    def reads(self) -> Mapping[str, Callable[[bytes], Struct]]:
        """Operations whose body a route decodes in a way of its own."""
        return {route.operation.name: route.read for route in self._made_routes() if route.read is not None}

    # ---- life -------------------------------------------------------------------------------------------------------

    def start(self, now: Moment) -> None:
        """Start the process on what the disk holds."""
        assert self.line is not None
        self.life += 1
        self._loop = StepLoop(self._world)
        store = cast("Store", self.archive)  # the part of it that is asked for here
        self._platform = WatchedPlatform(clock=self.clock, store=store, prices=self.prices).watched_by(self)
        self._loop.run_until_done(self._platform.load())
        self.book = SeededBook(self._tokens)
        self._routes = {route.operation.name: route for route in self._made_routes()}
        client = AmperioClient(CommandCaller(self.line, self._world, self.clock, self._tell))
        job = cast("PlanningJob", self._job)  # the same plan, without a process of its own
        runtime = Runtime(self._platform, client, job, Inbox(Path()), real_s=lambda: self._world.now().s)
        runtime._jitter = random.Random(f"{self._seed}:enexa:{self.life}")
        for loop in (runtime.dispatching, runtime.planning, runtime.watching):
            self._loop.create_task(self._kept_running(loop))
        self.up, self.paused = True, False
        self._tell("started")
        self._journal.note(now, "enexa", "started", epoch=self._platform.epoch)

    def kill(self, now: Moment) -> None:
        self.up = self.paused = False
        self._loop.die()
        self._journal.note(now, "enexa", "killed")

    def close(self) -> None:
        """The world ends."""
        if self.up:
            self._loop.die()

    async def _kept_running(self, loop: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """As `shared/rest/background.py` does it; a bug starts again there too, but here the referee hears of it."""
        while True:
            try:
                await loop()
            except SiteError as error:
                self._journal.note(self._world.now(), "enexa", "loop_stopped", code=error.code)
            except Exception as error:  # noqa: BLE001 -- whatever it is, it is told and fails the run
                self.bugs.append(f"{loop.__qualname__}: {type(error).__name__}: {error}")
                self._journal.note(self._world.now(), "enexa", "loop_crashed", loop=loop.__qualname__)
            await asyncio.sleep(RESTART_PAUSE_S)

    # ---- served -----------------------------------------------------------------------------------------------------

    def handle(self, now: Moment, operation: Operation, path: UrlPath, message: Any, answer: Answer) -> None:
        """One request of Amperio's, by the real route; the archive answers at once, so the route does too."""
        if path.get("site_id", self.site_id) != self.site_id:
            raise UnknownSite("no such site")
        call: Call[Any] = Call(
            operation=operation, body=message, path=path, query=None, principal=None, now=self.clock.now(),
            request_id="", headers={}, peer=CLIENT_ID,
        )  # fmt: skip
        served = _at_once(self._routes[operation.name].handler(call).__await__())
        if operation is ENEXA_TOKEN:
            self._tell("token_granted")
        reply = served.reply if isinstance(served, FullAnswer) else served
        assert reply is None or isinstance(reply, Struct)
        answer(now, reply)

    def admit(self, now: Moment, operation: Operation, bearer: str | None) -> None:
        """The token of a request, by the real book; Unauthenticated where it is none."""
        if not operation.scopes:
            return
        principal = self.book.principal(bearer or "", self.clock.now())
        if principal.scope not in operation.scopes:
            raise Forbidden("not with this token")

    def forget_tokens(self) -> None:
        """As a restart or a revocation does."""
        self.book = SeededBook(self._tokens)
        self._routes[ENEXA_TOKEN.name] = token_route(ENEXA_TOKEN, self.book)

    def _made_routes(self) -> Sequence[Route]:
        platform = self._platform
        return (
            token_route(ENEXA_TOKEN, self.book),
            *telemetry_api.routes(platform),
            *events.routes(platform),
            *status.routes(platform, None),
            *configs.routes(platform),
            *schedules.routes(platform),
        )

    # ---- the second -------------------------------------------------------------------------------------------------

    def step(self, now: Moment) -> None:
        """Everything the program does in this second."""
        if not self.paused:
            self._loop.turn()

    def heard(self, sample: Telemetry, live: bool) -> None:
        """A sample is stored that was not known before."""
        for hear in self.hears:
            hear(self.clock.now(), sample, live)

    def _tell(self, name: str) -> None:
        for tell in self.tells:
            tell(self.clock.now(), name)

    def _commanded(self, record: CommandRecord) -> None:
        now, status = self.clock.now(), record.status.value
        for tell in self.commands:
            tell(now, record.command_id, status)
        self._journal.note(now, "enexa", f"command_{status}", id=record.command_id, kw=record.requested_kw)

    def _alerted(self, alert: Alert) -> None:
        turn = "raise" if alert.cleared_at is None else "clear"
        self._journal.note(self.clock.now(), "enexa", f"alert_{turn}", code=alert.code)
        if alert.code in TOLD:
            self.alert_count += turn == "raise"
            self._tell(f"alert_{turn}")

    def _reconciled(self, view: ReconcileView) -> None:
        told = " ".join(step.state for step in view.steps)
        self._journal.note(self.clock.now(), "enexa", "reconciliation", id=view.record_id, steps=told)

    def _planned(self, schedule: SiteSchedule, trigger: str) -> None:
        self.plan_count += 1
        self._journal.note(self.clock.now(), "enexa", "plan_made", trigger=trigger, version=schedule.version)


class WatchedPlatform(Platform):
    """The real platform, and somebody who looks over its shoulder."""

    _watcher: EnexaSide

    def watched_by(self, watcher: EnexaSide) -> "WatchedPlatform":
        self._watcher = watcher
        return self

    async def _show(self, fresh: Sequence[Telemetry], now: Moment) -> None:
        for sample in fresh:
            await super()._show((sample,), now)
            self._watcher.heard(sample, live=self.cores[sample.site_id].latest is sample)


class SeededBook(TokenBook):
    """The real book, with tokens that are the same in every run of a seed."""

    def __init__(self, chance: random.Random) -> None:
        secret = digest(CLIENT_SECRET)
        super().__init__((Credential(client_id=CLIENT_ID, secret_sha256=secret, scope=Scope.MIDDLEWARE),))
        self._chance = chance

    def _drawn(self) -> str:
        return f"{self._chance.getrandbits(256):064x}"


class PlannedHere:
    """The worker's own steps, in this process: the plan is there a second later."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._solver = Solver(time_limit_s=NO_WALL_CLOCK_S)

    async def make(self, request: PlanRequest) -> Planned:
        await self._clock.sleep(PLAN_TAKES_S)
        made = plan(assemble(request), self._solver, fast_backward())
        return Planned(schedule=schedule_of(made, made_at=request.now), report=report_of(made))


class CommandCaller(LineCaller):
    """The real caller over a line to Amperio, where no token is asked for in this world."""

    def __init__(self, line: Line, world: ManualClock, clock: Clock, tell: Callable[[str], None]) -> None:
        Caller.__init__(self, "http://amperio", clock)
        self._line = line
        self._world = world
        self._tell = tell

    async def _exchange(self, operation: Operation, *given: Any, bearer: str | None) -> Reply:
        try:
            return await super()._exchange(operation, *given, bearer=bearer)
        except Unreachable:
            self._tell("call_failed")
            raise
        except SiteError:
            self._tell("call_refused")
            raise


def _at_once(work: Generator[Any, None, T]) -> T:
    """The result of something that waits for nothing."""
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    work.close()
    raise AssertionError("a route waits for something")
