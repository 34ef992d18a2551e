"""Enexa without sockets: the real dispatching core and planner, served and called over in-memory lines.

What the platform's loops do around its cores stands here a second time, without async: ingest, planning, dispatching,
watching. `Archive` is what its store keeps over a crash; everything else dies with the process.
"""

import random
import tomllib
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from services.enexa.acceptance import refusal_of, time_refusal
from services.enexa.dispatching.alarms import Alarm, Turn
from services.enexa.dispatching.core import SiteCore, Step
from services.enexa.dispatching.ledger import FINAL
from services.enexa.dispatching.reconcile import ReconcileView, StepName
from services.enexa.dispatching.triggers import Trigger
from services.enexa.planning.assembly import assemble
from services.enexa.planning.planner import plan
from services.enexa.planning.solver import Solver
from services.enexa.planning.travel import schedule_of
from services.enexa.planning_request import plan_request
from services.enexa.pricing import PriceSource
from services.enexa.registry.configs import first_version
from services.enexa.simulation.compiled import fast_backward
from services.enexa.store.ranges import Ranges
from shared.backoff import Backoff
from shared.clock import ManualClock
from shared.contract.config import ConfigAck, ConfigAckReply, ConfigDocument, SiteConfig
from shared.contract.dispatch import DispatchAck, DispatchRecord, command_id_of
from shared.contract.events import Event, EventAck, EventBatch, EventKind, SiteStatus, StatusAck
from shared.contract.operations import (
    AMPERIO_HEALTH,
    DISPATCH,
    GET_DISPATCH,
    SITE_STATE,
    Operation,
    Scope,
)
from shared.contract.reads import CommandRecord, Health, SiteState
from shared.contract.schedule import SiteSchedule
from shared.contract.telemetry import Gap, Rejected, Telemetry, TelemetryAck, TelemetryBatch, TelemetryBatchAck
from shared.contract.tokens import TokenReply, TokenRequest
from shared.contract.wire import encode
from shared.energy.slots import SLOT_S
from shared.errors import (
    BadInput,
    Forbidden,
    InvalidMessage,
    NotFound,
    OutOfBounds,
    PeerBusy,
    Refused,
    SiteError,
    UnknownSite,
    Unreachable,
)
from shared.moment import Moment
from shared.rest.auth import Credential, TokenBook, digest
from shared.scenario.schema import Scenario
from tests.simulation.amperio_side import CLIENT_ID, CLIENT_SECRET
from tests.simulation.clocks import OwnClock
from tests.simulation.journal import Journal
from tests.simulation.links import Answer, Line, Post
from tests.simulation.links import Path as UrlPath

PLAN_TAKES_S = 1.0
WATCH_EVERY_S = 5.0
HISTORY_EVERY_S = 5.0
BUFFER_EMPTY_SAMPLES = 5
SESSION_KINDS = (EventKind.SESSION_STARTED, EventKind.SESSION_ENDED)
RECENT_SAMPLES = 1800
NO_WALL_CLOCK_S = 1e9
"""HiGHS counts its limit in real seconds; a run that must repeat exactly can have none."""
SEEDS = Path("services/enexa/registry/seeds")


class Stream(Struct):
    """One site and epoch: which numbers are accounted for, and how."""

    ranges: Ranges = msgspec.field(default_factory=Ranges)
    stored_count: int = 0
    duplicate_count: int = 0
    gap_count: int = 0


class Archive:
    """What Enexa's disk holds."""

    def __init__(self, config: SiteConfig) -> None:
        self.config = config
        self.streams: dict[str, Stream] = {}
        self.gaps: list[Gap] = []
        self.events: dict[str, Event] = {}
        self.sessions: list[Event] = []
        self.commands: dict[str, CommandRecord] = {}
        self.reconciliations: dict[str, ReconcileView] = {}
        self.schedule: SiteSchedule | None = None
        self.latest: Telemetry | None = None
        self.since: datetime | None = None
        self.version = 0
        self.epoch = 0
        self._quarters: dict[int, tuple[float, int]] = {}

    def stored(self, sample: Telemetry) -> None:
        """Fold a new sample into its quarter hour."""
        if self.since is None:
            self.since = sample.timestamp
        grid = sample.grid
        if grid.import_kw is not None:
            quarter = int(sample.timestamp.timestamp()) // SLOT_S
            total, count = self._quarters.get(quarter, (0.0, 0))
            self._quarters[quarter] = (total + grid.import_kw - (grid.export_kw or 0.0), count + 1)

    def peak_kw(self) -> float:
        """The highest quarter-hour mean so far."""
        return max((total / count for total, count in self._quarters.values()), default=0.0)

    def open_commands(self) -> tuple[CommandRecord, ...]:
        return tuple(record for record in self.commands.values() if record.status not in FINAL)


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
        self,
        archive: Archive,
        prices: PriceSource,
        post: Post,
        journal: Journal,
        world: ManualClock,
        *,
        seed: int,
    ) -> None:
        self.clock = OwnClock(world)
        self.archive = archive
        self.prices = prices
        self.line: Line | None = None
        """To Amperio."""
        self.site_id = archive.config.site_id
        self.up = False
        self.paused = False
        self.life = 0
        self.plan_count = 0
        self.tells: list[Callable[[Moment, str], None]] = []
        """Who wants to know what the program noticed."""
        self.book = _book()
        self.commands: list[Callable[[Moment, str, str], None]] = []
        self.hears: list[Callable[[Moment, Telemetry, bool], None]] = []
        self._post = post
        self._journal = journal
        self._random = random.Random(f"{seed}:enexa")
        self._solver = Solver(time_limit_s=NO_WALL_CLOCK_S)
        self._serve: dict[str, Callable[[Moment, UrlPath, Any], Struct | None]] = {
            "post_telemetry": self._ingest,
            "post_telemetry_batch": self._ingest_batch,
            "post_events": self._take_events,
            "post_status": self._take_status,
            "get_config": self._get_config,
            "ack_config": self._take_config_ack,
            "get_schedule": self._get_schedule,
            "enexa_token": self._grant,
        }
        self.core: SiteCore
        self._recent: deque[Telemetry] = deque(maxlen=RECENT_SAMPLES)
        self._alarm = Alarm()
        self._reachable = True
        self.alert_count = 0
        self.status: SiteStatus | None = None
        self._watch_backoff = Backoff()
        self._prices_until: datetime | None = None
        self._health_due_s = 0.0
        self._history_due_s = 0.0
        self._exchanging = self._planning = False

    # ---- life -------------------------------------------------------------------------------------------------------

    def start(self, now: Moment) -> None:
        """Start the process on what the disk holds."""
        archive = self.archive
        archive.epoch += 1
        self.core = SiteCore(archive.config, epoch=archive.epoch, resume=archive.open_commands())
        if archive.schedule is not None and archive.schedule.valid_until > now.at:
            self.core.schedule = archive.schedule
        self.core.latest = archive.latest
        self.status = None
        self._recent = deque(maxlen=RECENT_SAMPLES)
        self._alarm = Alarm()
        self._reachable = True
        self._watch_backoff = Backoff()
        self._prices_until = None
        self._health_due_s = now.s
        self._history_due_s = now.s
        self._exchanging = self._planning = False
        self.book = _book()
        self.up, self.paused = True, False
        self.life += 1
        self._tell("started")
        self._journal.note(now, "enexa", "started", epoch=archive.epoch)

    def kill(self, now: Moment) -> None:
        self.up = self.paused = False
        self.life += 1
        self._journal.note(now, "enexa", "killed")

    # ---- served -----------------------------------------------------------------------------------------------------

    def handle(self, now: Moment, operation: Operation, path: UrlPath, message: Any, answer: Answer) -> None:
        """One request of Amperio's."""
        if path.get("site_id", self.site_id) != self.site_id:
            raise UnknownSite("no such site")
        answer(now, self._serve[operation.name](self.clock.now(), path, message))

    def admit(self, now: Moment, operation: Operation, bearer: str | None) -> None:
        """The token of a request, by the real book; Unauthenticated where it is none."""
        if not operation.scopes:
            return
        principal = self.book.principal(bearer or "", self.clock.now())
        if principal.scope not in operation.scopes:
            raise Forbidden("not with this token")

    def forget_tokens(self) -> None:
        """As a restart or a revocation does."""
        self.book = _book()

    def _grant(self, now: Moment, path: UrlPath, request: TokenRequest) -> TokenReply:
        self._tell("token_granted")
        return self.book.grant(request, now)

    def _tell(self, name: str) -> None:
        for tell in self.tells:
            tell(self.clock.now(), name)

    def _ingest(self, now: Moment, path: UrlPath, sample: Telemetry) -> TelemetryAck:
        refusal = time_refusal(sample.timestamp, now)
        if refusal is not None:
            raise OutOfBounds(f"the timestamp is {refusal.replace('_', ' ')}", field="timestamp")
        assert sample.stream_epoch is not None
        stream = self._stream(sample.stream_epoch)
        fresh = self._store(now, stream, sample)
        return TelemetryAck(
            accepted=int(fresh), duplicates=int(not fresh), stored_through=stream.ranges.through or None
        )

    def _ingest_batch(self, now: Moment, path: UrlPath, batch: TelemetryBatch) -> TelemetryBatchAck:
        if not batch.samples and not batch.gaps:
            raise InvalidMessage("the batch is empty", field="samples")
        stream = self._stream(batch.stream_epoch)
        accepted = 0
        rejected: list[Rejected] = []
        for sample in sorted(batch.samples, key=lambda each: each.sequence or 0):
            code = refusal_of(sample, batch.site_id, batch.stream_epoch, now)
            if code is None:
                accepted += self._store(now, stream, sample)
            elif sample.sequence is not None:
                rejected.append(Rejected(sequence=sample.sequence, code=code))
                stream.ranges.add(sample.sequence, sample.sequence)
        for gap in batch.gaps:
            if gap.from_sequence not in stream.ranges:
                stream.gap_count += gap.to_sequence - gap.from_sequence + 1
                self.archive.gaps.append(gap)
            stream.ranges.add(gap.from_sequence, gap.to_sequence)
        return TelemetryBatchAck(
            accepted=accepted,
            duplicates=len(batch.samples) - accepted - len(rejected),
            stored_through=stream.ranges.through or None,
            rejected=tuple(rejected),
        )

    def _stream(self, epoch: str) -> Stream:
        return self.archive.streams.setdefault(epoch, Stream())

    def _store(self, now: Moment, stream: Stream, sample: Telemetry) -> bool:
        assert sample.sequence is not None
        if sample.sequence in stream.ranges:
            stream.duplicate_count += 1
            return False
        stream.ranges.add(sample.sequence, sample.sequence)
        stream.stored_count += 1
        self.archive.stored(sample)
        live = self.core.on_sample(now, sample)
        if live:
            self._recent.append(sample)
            self.archive.latest = sample
        for hear in self.hears:
            hear(now, sample, live)
        return True

    def _take_events(self, now: Moment, path: UrlPath, batch: EventBatch) -> EventAck:
        archive = self.archive
        fresh = [event for event in batch.events if event.event_id not in archive.events]
        archive.events |= {event.event_id: event for event in fresh}
        archive.sessions += [event for event in fresh if event.kind is EventKind.SESSION_ENDED]
        return EventAck(accepted=len(fresh), duplicates=len(batch.events) - len(fresh))

    def _take_status(self, now: Moment, path: UrlPath, status: SiteStatus) -> StatusAck:
        self.status = status
        return StatusAck()

    def _get_config(self, now: Moment, path: UrlPath, message: None) -> SiteConfig:
        return self.archive.config

    def _take_config_ack(self, now: Moment, path: UrlPath, ack: ConfigAck) -> ConfigAckReply:
        return ConfigAckReply(wanted_version=self.archive.config.version, applied_version=ack.version)

    def _get_schedule(self, now: Moment, path: UrlPath, message: None) -> SiteSchedule:
        if self.core.schedule is None:
            raise NotFound("no schedule yet")
        return self.core.schedule

    # ---- the second -------------------------------------------------------------------------------------------------

    def step(self, world_now: Moment) -> None:
        """One second of dispatching, planning and watching, as `runtime.py` does it."""
        if self.paused:
            return
        now = self.clock.now()
        self._watch_prices(now)
        self._look_at_history(now)
        step = self.core.step(now, exchange_free=not self._exchanging)
        for record in step.changed:
            self.archive.commands[record.command_id] = record
            for tell in self.commands:
                tell(now, record.command_id, record.status.value)
            self._journal.note(
                now, "enexa", f"command_{record.status.value}", id=record.command_id, kw=record.requested_kw
            )
        if step.reconciliation_changed and self.core.reconciliation is not None:
            self._note_reconciliation(now, self.core.reconciliation.view)
        if step.replan is not None and not self._planning:
            self._plan(now, step.replan.value)
        if not self._exchanging:
            self._exchange(now, step)
        if now.s >= self._health_due_s:
            self._ask_health(now)
        turn = self._alarm.tick(now, failing=not self._reachable)
        if turn is not None:
            self.alert_count += turn is Turn.RAISE
            self._tell(f"alert_{turn.value}")
            self._journal.note(now, "enexa", f"alert_{turn.value}", code="middleware_silent")

    def _look_at_history(self, now: Moment) -> None:
        """The last step of a reconciliation ends when no number is outstanding and the buffer is as good as empty."""
        running = self.core.reconciliation
        if running is None or running.step is not StepName.HISTORY or now.s < self._history_due_s:
            return
        self._history_due_s = now.s + HISTORY_EVERY_S
        archive, view = self.archive, running.view
        began = view.started_at - timedelta(seconds=view.outage_s or 0.0)
        told = [event for event in archive.events.values() if began <= event.timestamp < view.started_at]
        missing = sum(
            last - first + 1 for stream in archive.streams.values() for first, last in stream.ranges.missing()
        )
        sessions = sum(event.kind in SESSION_KINDS for event in told)
        running.missed(samples=missing, events=len(told), sessions=sessions)
        waiting = self.status.buffer.samples if self.status is not None and self.status.buffer is not None else 0
        if missing == 0 and waiting <= BUFFER_EMPTY_SAMPLES:
            running.history_complete(now, f"{running.view.replayed_samples} samples replayed, none outstanding")

    def _note_reconciliation(self, now: Moment, view: ReconcileView) -> None:
        self.archive.reconciliations[view.record_id] = view
        self._journal.note(
            now, "enexa", "reconciliation", id=view.record_id, steps=" ".join(step.state for step in view.steps)
        )

    def _exchange(self, now: Moment, step: Step) -> None:
        if step.orders.send is not None:
            self._send(now, step.orders.send)
        elif step.orders.ask is not None:
            self._ask(now, step.orders.ask)
        elif step.fetch_state:
            self._fetch_state(now)

    def _send(self, now: Moment, command: Any) -> None:
        command_id = command_id_of(command)

        def done(at: Moment, how: Struct | SiteError | None) -> None:
            self._exchanging = False
            if isinstance(how, DispatchAck):
                self.core.on_ack(at, how)
            elif isinstance(how, PeerBusy):
                wait_s, jitter = _retry_after_s(how), self._random.random()
                self.core.on_busy(at, command_id, str(how), retry_after_s=wait_s, jitter=jitter)
            elif isinstance(how, Refused):
                self.core.on_refused(at, command_id, str(how.facts.get("code") or how.code), how.sentence)
            else:
                self.core.on_send_failed(at, command_id, jitter=self._random.random())

        self._exchanging = True
        self._call(now, DISPATCH, done, command)

    def _ask(self, now: Moment, command_id: str) -> None:
        def done(at: Moment, how: Struct | SiteError | None) -> None:
            self._exchanging = False
            if isinstance(how, DispatchRecord):
                self.core.on_told(at, command_id, how)
            elif isinstance(how, NotFound):
                self.core.on_told(at, command_id, None)
            elif isinstance(how, PeerBusy):
                wait_s, jitter = _retry_after_s(how), self._random.random()
                self.core.on_ask_failed(at, command_id, retry_after_s=wait_s, jitter=jitter)
            else:
                self.core.on_ask_failed(at, command_id, jitter=self._random.random())

        self._exchanging = True
        self._call(now, GET_DISPATCH, done, path={"command_id": command_id})

    def _fetch_state(self, now: Moment) -> None:
        def done(at: Moment, how: Struct | SiteError | None) -> None:
            self._exchanging = False
            if isinstance(how, SiteState):
                self.core.on_state(at, how)

        self._exchanging = True
        self._call(now, SITE_STATE, done, path={"site_id": self.site_id})

    def _ask_health(self, now: Moment) -> None:
        self._health_due_s = float("inf")

        def done(at: Moment, how: Struct | SiteError | None) -> None:
            up = isinstance(how, Health)
            self._watch_backoff = self._watch_backoff.cleared() if up else self._watch_backoff.failed()
            wait_s = self._watch_backoff.wait_s() or WATCH_EVERY_S
            self._health_due_s = min(at.s + wait_s, max(self._alarm.due_s, at.s + WATCH_EVERY_S))
            self._reachable = up
            self.core.on_link(at, up=up)

        self._call(now, AMPERIO_HEALTH, done)

    def _call(
        self,
        now: Moment,
        operation: Operation,
        done: Callable[[Moment, Struct | SiteError | None], None],
        message: Struct | None = None,
        path: UrlPath | None = None,
    ) -> None:
        assert self.line is not None

        def told(at: Moment, how: Struct | SiteError | None) -> None:
            if isinstance(how, Unreachable):
                self._tell("call_failed")
            elif isinstance(how, SiteError):
                self._tell("call_refused")
            done(self.clock.now(), how)

        self.line.call(now, operation, told, encode(message) if message is not None else b"", path)

    # ---- planning ---------------------------------------------------------------------------------------------------

    def _watch_prices(self, now: Moment) -> None:
        """New prices are an edge: the end of what is published has moved."""
        until = self.prices.known_until(now.at)
        if until == self._prices_until:
            return
        if self._prices_until is not None:
            self.core.triggers.ask(Trigger.NEW_PRICES)
        self._prices_until = until

    def _plan(self, now: Moment, trigger: str) -> None:
        """Plan from what is known now; the plan is there a second later, as from a worker process."""
        archive = self.archive
        latest = self.core.latest
        if latest is None:
            return
        self._planning = True
        self.core.triggers.planning(now)
        life = self.life
        version = self.archive.version + 1
        request = plan_request(
            archive.config,
            latest,
            self.prices.published(now.at),
            now=now.at,
            version=version,
            recent=self._recent,
            events=archive.sessions,
            observed_since=archive.since,
            peak_so_far_kw=archive.peak_kw(),
        )
        try:
            made = plan(assemble(request), self._solver, fast_backward())
        except SiteError as error:
            self._planning = False
            self._journal.note(now, "enexa", "plan_failed", code=error.code)
            return

        def there(world_at: Moment) -> None:
            if life != self.life:
                return
            at = self.clock.now()
            self._planning = False
            self.archive.version = version
            self.archive.schedule = schedule_of(made, made_at=request.now)
            self.plan_count += 1
            self.core.on_schedule(at, self.archive.schedule)
            self._journal.note(at, "enexa", "plan_made", trigger=trigger, version=version)

        self._post.later(now.s + PLAN_TAKES_S, there)


def _book() -> TokenBook:
    return TokenBook((Credential(client_id=CLIENT_ID, secret_sha256=digest(CLIENT_SECRET), scope=Scope.MIDDLEWARE),))


def _retry_after_s(error: SiteError) -> float:
    given = error.facts.get("retry_after_s")
    return float(given) if isinstance(given, int | float) else 0.0
