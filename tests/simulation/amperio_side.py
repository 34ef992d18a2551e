"""Amperio without sockets: its real lane, forwarder, housekeeper and doctor, on its real store, turned by hand.

What is replaced is what touches the outside: the Modbus socket (`station_link.py`), the HTTPS connection
(`LineCaller`), the store's thread and the disk beneath it (`disk.py`), and the clock. A kill drops the loop with
everything in it; what the disk holds is where the next life begins.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import apsw
from msgspec import Struct

from services.amperio.enexa_client import EnexaClient
from services.amperio.forwarder import Forwarder
from services.amperio.lane import SiteLane
from services.amperio.locks import Locks
from services.amperio.runtime import Doctor, Housekeeper, Lanes
from services.amperio.site.agent import SiteAgent
from services.amperio.site.facts import Fact
from services.amperio.site.ledger import Entry
from services.amperio.site.orders import Orders, Outcomes, Settled
from services.amperio.site.outbox import EventBox, Outbox
from services.amperio.store import tables
from shared.clock import Clock, ManualClock
from shared.contract.dispatch import DispatchCommand, GridOperatorLimit
from shared.contract.events import Event
from shared.contract.operations import ENEXA_TOKEN, Operation
from shared.contract.telemetry import Telemetry
from shared.errors import NotFound, SiteError
from shared.moment import Moment
from shared.rest.call import Caller, Reply
from tests.simulation.clocks import OwnClock
from tests.simulation.disk import Disk, InlineDatabase
from tests.simulation.edges import Edges
from tests.simulation.journal import Journal
from tests.simulation.links import Answer, DeviceLink, Line, Path
from tests.simulation.station_link import FieldTransport, WatchedLink
from tests.simulation.stepping import StepLoop

CLIENT_ID = "amperio"
CLIENT_SECRET = "a secret of the simulated world, known to both its twins"
RESTART_PAUSE_S = 1.0
DISK_RETRY_S = 1.0


class AmperioSide:
    """One site's middleware, and the machine it runs on."""

    def __init__(
        self, site_id: str, disk: Disk, wire: DeviceLink, journal: Journal, world: ManualClock, *, seed: int
    ) -> None:
        self.site_id = site_id
        self.disk = disk
        self.clock = OwnClock(world)
        self.line: Line | None = None
        """To Enexa."""
        self.up = False
        self.paused = False
        self.since_s = 0.0
        self.sample_count = 0
        self.bugs: list[str] = []
        """What broke in a loop of the program, as the supervisor would log it."""
        self.settles: list[Callable[[Moment, Orders, Outcomes, Settled], None]] = []
        self.tells: list[Callable[[Moment, str], None]] = []
        """Who wants to know what the program noticed: names of facts and events."""
        self.edges = Edges()
        self._wire = wire
        self._journal = journal
        self._world = world
        self.locks = KeptLocks()
        self.stream_epoch = f"{random.Random(f'{seed}:amperio').getrandbits(64):016x}"
        self._serve: dict[str, Callable[[Path, Any], Coroutine[Any, Any, Struct | None]]] = {
            "dispatch": self._dispatch,
            "get_dispatch": self._get_dispatch,
            "site_state": self._site_state,
            "amperio_health": self._health,
            "put_grid_limit": self._put_grid_limit,
            "delete_grid_limit": self._delete_grid_limit,
        }
        self.lane: WatchedLane
        self._database: InlineDatabase
        self._loop: StepLoop
        self._doctor: Doctor

    @property
    def agent(self) -> SiteAgent:
        return self.lane.agent

    @property
    def outbox(self) -> Outbox:
        return self.lane.outbox

    @property
    def events(self) -> EventBox:
        return self.lane.events

    # ---- life -------------------------------------------------------------------------------------------------------

    def start(self, now: Moment) -> bool:
        """Start the process on what the disk holds; False where the disk does not let it, as a supervisor would see."""
        try:
            connection = self.disk.open()
            with connection:
                connection.execute("INSERT OR IGNORE INTO meta VALUES ('stream_epoch', ?)", (self.stream_epoch,))
        except apsw.Error as error:
            self.disk.crash()
            self._journal.note(now, "amperio", "start_failed", error=str(error))
            return False
        database = self._database = InlineDatabase(self.disk, connection, self._world)
        self._loop = StepLoop(self._world)
        self._loop.dial = self._dial
        self.lane = self._lane(database)
        enexa = self._enexa()
        lanes = Lanes([self.lane])
        self._doctor = Doctor(lanes, database, self.clock)
        loops: list[Callable[[], Coroutine[Any, Any, None]]] = [
            Housekeeper([self.lane], database, self.clock).run,
            self.lane.run,
            *Forwarder(self.lane, enexa, database, self.clock).loops(),
        ]
        for each in loops:
            self._loop.create_task(self._kept_running(each))
        self.up, self.paused, self.since_s = True, False, now.s
        self._tell(now, "started")
        self._journal.note(now, "amperio", "started", pending=self.outbox.pending_count)
        return True

    def _lane(self, database: InlineDatabase) -> "WatchedLane":
        site = self.site_id
        link = WatchedLink(site, "station", 502, self.clock)
        link.dropped = lambda: self._tell(self._world.now(), "connection_dropped")

        async def load() -> WatchedLane:
            return WatchedLane(
                site,
                self.clock,
                link,
                database,
                self.locks,
                stream_epoch=await database.run(tables.stream_epoch),
                keepsake=await database.run(lambda store: tables.load_keepsake(store, site)),
                entries=await database.run(lambda store: tables.load_entries(store, site)),
                cursor=await database.run(lambda store: tables.cursor_of(store, site)),
            ).watched_by(self)

        return self._loop.run_until_done(load())

    def _dial(self, protocol: asyncio.BaseProtocol) -> asyncio.BaseTransport:
        self._wire.connect(self._world.now())
        return FieldTransport(self._wire, self._world, protocol)

    def _enexa(self) -> EnexaClient:
        assert self.line is not None
        client = EnexaClient("http://enexa", self.clock, ca_file=None, client_id=CLIENT_ID, secret=CLIENT_SECRET)
        client._caller = LineCaller(self.line, self._world, self.clock)
        return client

    async def _kept_running(self, loop: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """As `shared/rest/background.py` does it; a bug starts again there too, but here the referee hears of it."""
        while True:
            try:
                await loop()
            except SiteError as error:
                self._journal.note(self._world.now(), "amperio", "loop_stopped", code=error.code)
            except Exception as error:  # noqa: BLE001 -- whatever it is, it is told and fails the run
                self.bugs.append(f"{loop.__qualname__}: {type(error).__name__}: {error}")
                self._journal.note(self._world.now(), "amperio", "loop_crashed", loop=loop.__qualname__)
            await asyncio.sleep(RESTART_PAUSE_S)

    def kill(self, now: Moment) -> None:
        """The process is gone; the kernel still has what it wrote."""
        self._die()
        self.disk.crash()
        self._journal.note(now, "amperio", "killed")

    def close(self) -> None:
        """The world ends."""
        if self.up:
            self._loop.die()

    def cut_power(self, now: Moment) -> None:
        """The machine is gone, and what was not synced with it."""
        self._die()
        self.disk.cut_power()
        self._journal.note(now, "amperio", "power_cut", lost_writes=self.disk.lost_count)

    def _die(self) -> None:
        self.up = self.paused = False
        self._loop.die()

    # ---- served -----------------------------------------------------------------------------------------------------

    def handle(self, now: Moment, operation: Operation, path: Path, message: Any, answer: Answer) -> None:
        """One request of Enexa's, answered when the program has an answer."""
        served = self._serve[operation.name](path, message)

        async def serve() -> None:
            try:
                how: Struct | SiteError | None = await served
            except SiteError as error:
                how = error
            answer(self._world.now(), how)

        self._loop.create_task(serve())
        self._loop.turn()

    async def _dispatch(self, path: Path, command: DispatchCommand) -> Struct:
        return await self._of(command.site_id).submit(command)

    async def _get_dispatch(self, path: Path, message: None) -> Struct:
        record = self.lane.record(path["command_id"])
        if record is None:
            raise NotFound("no such command", command_id=path["command_id"])
        return record

    async def _site_state(self, path: Path, message: None) -> Struct:
        return self._of(path["site_id"]).state(self.clock.now())

    async def _health(self, path: Path, message: None) -> Struct:
        return self._doctor.health(self.clock.now())

    async def _put_grid_limit(self, path: Path, limit: GridOperatorLimit) -> Struct:
        await self._of(path["site_id"]).set_operator_limit(limit)
        return limit

    async def _delete_grid_limit(self, path: Path, message: None) -> None:
        await self._of(path["site_id"]).set_operator_limit(None)

    def _of(self, site_id: str) -> "WatchedLane":
        assert site_id == self.site_id
        return self.lane

    # ---- the second -------------------------------------------------------------------------------------------------

    def step(self, now: Moment) -> None:
        """Everything the program does in this second."""
        if not self.paused:
            self._database.catch_up()
            self._loop.turn()

    def _tell(self, now: Moment, name: str) -> None:
        for tell in self.tells:
            tell(now, name)

    def noticed(self, what: str, **told: str | float | bool | None) -> None:
        """The program has told a fact or an event."""
        now = self._world.now()
        if what == "mode_changed":
            self.edges.moved(str(told["before"]), str(told["mode"]))
        self._journal.note(now, "amperio", what, **told)
        self._tell(now, what)

    def settled(self, orders: Orders, outcomes: Outcomes, settled: Settled, *, sampled: bool) -> None:
        """A cycle has ended and is kept."""
        self.sample_count += sampled
        self.edges.settled(settled)
        for told in self.settles:
            told(self._world.now(), orders, outcomes, settled)


class WatchedLane(SiteLane):
    """The real lane, and somebody who looks over its shoulder."""

    _watcher: AmperioSide
    deaf = False
    """It does not notice that its store fails: for tests of the referee."""

    def watched_by(self, watcher: AmperioSide) -> "WatchedLane":
        self._watcher = watcher
        return self

    def _report(self, facts: Sequence[Fact]) -> None:
        super()._report(facts)
        for each in facts:
            self._watcher.noticed(each.name, **each.fields)

    def _hold_events(self, events: Sequence[Event]) -> None:
        super()._hold_events(events)
        for each in events:
            self._watcher.noticed(f"event_{each.kind.value}", text=each.text)

    @property
    def store_failing(self) -> bool:
        return super().store_failing and not self.deaf

    async def _keep(self, sample: Telemetry | None, settled: Settled) -> None:
        await super()._keep(sample, settled)
        sampled = sample is not None and self.outbox.last_at == sample.timestamp
        link = self.link
        assert isinstance(link, WatchedLink)
        orders, outcomes = link.last
        self._watcher.settled(orders, outcomes, settled, sampled=sampled)


class LineCaller(Caller):
    """The real caller with its tokens and its replay after a 401; only the connection is a line of this world."""

    def __init__(self, line: Line, world: ManualClock, clock: Clock) -> None:
        super().__init__("http://enexa", clock, client_id=CLIENT_ID, secret=CLIENT_SECRET, token_operation=ENEXA_TOKEN)
        self._line = line
        self._world = world

    async def _exchange(
        self,
        operation: Operation,
        payload: bytes | None,
        path: Mapping[str, str] | None,
        query: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        *,
        bearer: str | None,
    ) -> Reply:
        ended: asyncio.Future[Struct | SiteError | None] = asyncio.get_running_loop().create_future()

        def done(at: Moment, how: "Struct | SiteError | None") -> None:
            ended.set_result(how)

        self._line.call(self._world.now(), operation, done, payload or b"", path, bearer=bearer)
        how = await ended
        if isinstance(how, SiteError):
            raise how
        return Reply(how, 204 if how is None else 200, {})


class KeptLocks(Locks):
    """Local locks that outlive the process, without a file."""

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}

    def locked(self, site_id: str) -> bool:
        return site_id in self.reasons

    def lock(self, site_id: str, reason: str) -> None:
        self.reasons[site_id] = reason

    def unlock(self, site_id: str) -> bool:
        return self.reasons.pop(site_id, None) is not None


def entries_of(side: AmperioSide) -> tuple[Entry, ...]:
    """The middleware's ledger as its disk has it."""
    connection = side.disk.connection
    return () if connection is None else tables.load_entries(connection, side.site_id)
