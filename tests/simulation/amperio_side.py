"""Amperio without sockets: the real agent, outbox, event box and courier, and the disk that outlives them.

What `lane.py` and `forwarder.py` do around those cores stands here a second time, without async: a cycle a second, the
live and the replay lane, events, status, and polling of configuration and schedule. `Disk` is what is durable; a crash
takes everything else.
"""

import random
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec
from msgspec import Struct

from services.amperio.site.agent import SiteAgent
from services.amperio.site.image import SiteImage, image_of
from services.amperio.site.ledger import Entry, ack_of
from services.amperio.site.orders import Inbox, Keepsake, Orders, Outcomes, Settled
from services.amperio.site.outbox import REWIND_S, Courier, Cursor, EventBox, Outbox, Row, Send
from services.amperio.site.reads import reads_of_cycle
from shared.backoff import Backoff
from shared.contract.config import Buffering, ConfigAck, ConfigAckReply, SiteConfig
from shared.contract.dispatch import DispatchCommand
from shared.contract.events import Event, EventAck, EventBatch, EventKind, Severity, SiteStatus, StatusAck
from shared.contract.operations import (
    ACK_CONFIG,
    GET_CONFIG,
    GET_SCHEDULE,
    POST_EVENTS,
    POST_STATUS,
    POST_TELEMETRY,
    POST_TELEMETRY_BATCH,
    Operation,
)
from shared.contract.reads import Health, SiteHealth, SiteState
from shared.contract.schedule import SiteSchedule
from shared.contract.telemetry import Gap, Mode, Telemetry, TelemetryAck, TelemetryBatch, TelemetryBatchAck
from shared.errors import InvalidMessage, NotFound, OutOfBounds, SiteError, TooLarge
from shared.moment import Moment
from tests.simulation.journal import Journal
from tests.simulation.links import Answer, DeviceLink, Line, Path
from tests.simulation.modbus import ModbusSide

CONFIG_EVERY_S = 30.0
SCHEDULE_EVERY_S = 30.0
STATUS_EVERY_S = 10.0
PLAN_WANTED_EVERY_S = 5.0
HOUSEKEEPING_EVERY_S = 60.0
ANSWER_WITHIN_S = 2.0
PROBE_RETRY_S = 1.0
RECONNECT_CEILING_S = 10.0
POISON = (InvalidMessage, OutOfBounds, TooLarge)

_SAMPLE = msgspec.json.Decoder(Telemetry)
_GAP = msgspec.json.Decoder(Gap)


class Disk:
    """What Amperio's disk holds; `rows` and `events` stand in the order of their numbers."""

    def __init__(self) -> None:
        self.stream_epoch = ""
        self.rows: dict[int, Row] = {}
        self.events: dict[int, Event] = {}
        self.entries: dict[str, Entry] = {}
        self.keepsake: Keepsake | None = None
        self.locked = False
        self.next_seq = 1
        self.next_event = 1
        self.stored_through = 0
        self.events_through = 0
        self.last_at: datetime | None = None
        self.dead: list[tuple[int, str]] = []

    def cursor(self) -> Cursor:
        """Where the streams stand."""
        return Cursor(
            next_seq=self.next_seq,
            oldest_seq=next(iter(self.rows), self.next_seq),
            rows=len(self.rows),
            stored_through=self.stored_through,
            last_at=self.last_at,
            next_event=self.next_event,
            events_through=self.events_through,
        )

    def keep_rows(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self.rows[row.seq] = row
        self.next_seq = rows[-1].seq + 1
        self.last_at = rows[-1].at

    def load_rows(self, first: int, last: int, limit: int) -> tuple[Row, ...]:
        found = []
        for seq in range(first, last + 1):
            row = self.rows.get(seq)
            if row is not None:
                found.append(row)
                if len(found) == limit:
                    break
        return tuple(found)

    def forget_rows(self, through: int, before: datetime) -> tuple[int, int]:
        """Drop confirmed rows older than `before`; how many went, and the oldest number left."""
        gone = []
        for seq, row in self.rows.items():
            if seq > through or row.at >= before:
                break
            gone.append(seq)
        for seq in gone:
            del self.rows[seq]
        return len(gone), next(iter(self.rows), self.next_seq)


class AmperioSide:
    """One site's middleware."""

    def __init__(self, site_id: str, disk: Disk, link: DeviceLink, journal: Journal, *, seed: int) -> None:
        self.site_id = site_id
        self.disk = disk
        self.line: Line | None = None
        """To Enexa."""
        self.up = False
        self.life = 0
        self.sample_count = 0
        self.settles: list[Callable[[Moment, Orders, Outcomes, Settled], None]] = []
        self._modbus = ModbusSide(link)
        self._journal = journal
        self._chance = random.Random(f"{seed}:amperio")
        self._serve: dict[str, Callable[[Moment, Path, Any, Answer], None]] = {
            "dispatch": self._dispatch,
            "get_dispatch": self._get_dispatch,
            "site_state": self._site_state,
            "amperio_health": self._health,
        }
        self.agent: SiteAgent
        self.outbox: Outbox
        self.events: EventBox

    # ---- life -------------------------------------------------------------------------------------------------------

    def start(self, now: Moment) -> None:
        """Start the process on what the disk holds."""
        disk = self.disk
        if not disk.stream_epoch:
            disk.stream_epoch = f"{self._chance.getrandbits(64):016x}"
        self.agent = SiteAgent(self.site_id, now, disk.keepsake, disk.entries.values())
        self.outbox = Outbox(self.site_id, disk.stream_epoch, disk.cursor())
        self.events = EventBox(disk.cursor())
        self.courier = Courier()
        self.image: SiteImage | None = None
        self._image_at: Moment | None = None
        self._cycle = 0
        self._everything = True
        self._link_lost = False
        self._link_backoff = Backoff(first_s=1.0, ceiling_s=RECONNECT_CEILING_S)
        self._link_due_s = now.s
        self._released: list[str] = []
        self._exchanges: list[bool] = []
        self._new_config: SiteConfig | None = None
        self._new_schedule: SiteSchedule | None = None
        self._acks: deque[ConfigAck] = deque()
        self._waiting: dict[str, tuple[Answer, float]] = {}
        self._replay_due_s = self._events_due_s = self._status_due_s = self._config_due_s = self._schedule_due_s = now.s
        self._wanted_due_s = now.s
        self._busy: set[str] = set()
        self._new_rows = False
        self._housekeeping_due_s = now.s + HOUSEKEEPING_EVERY_S
        self.up = True
        self.life += 1
        self._journal.note(now, "amperio", "started", rows=len(disk.rows), pending=self.outbox.pending_count)

    def kill(self, now: Moment) -> None:
        self.up = False
        self._journal.note(now, "amperio", "killed")

    # ---- served -----------------------------------------------------------------------------------------------------

    def handle(self, now: Moment, operation: Operation, path: Path, message: Any, answer: Answer) -> None:
        """One request of Enexa's."""
        self._serve[operation.name](now, path, message, answer)

    def _dispatch(self, now: Moment, path: Path, command: DispatchCommand, answer: Answer) -> None:
        admission = self.agent.admit(now, command)
        if admission.repeated is not None:
            answer(now, admission.repeated)
            return
        entry = admission.entry
        if command.site_id != self.site_id:
            raise NotFound("no such site")
        self.disk.entries[entry.command_id] = entry
        self._released.append(entry.command_id)
        self._waiting[entry.command_id] = (answer, now.s + ANSWER_WITHIN_S)

    def _get_dispatch(self, now: Moment, path: Path, message: None, answer: Answer) -> None:
        entry = self.agent.ledger.find(path["command_id"])
        if entry is None:
            raise NotFound("no such command")
        answer(now, entry.record)

    def _site_state(self, now: Moment, path: Path, message: None, answer: Answer) -> None:
        agent = self.agent
        status = agent.image.status if agent.image is not None and agent.link_up else None
        schedule = agent.desk.schedule
        answer(
            now,
            SiteState(
                site_id=self.site_id,
                mode=agent.mode,
                telemetry=agent.last_sample,
                image_age_s=self._image_age_s(now),
                watchdog_s=status.watchdog_left_s if status else None,
                buffer=self._buffering(),
                active_command_id=agent.desk.active_command_id(),
                config_version=agent.config.version if agent.config else None,
                schedule_version=schedule.version if schedule else None,
                schedule_valid_until=schedule.valid_until if schedule else None,
                link_up=agent.link_up,
            ),
        )

    def _health(self, now: Moment, path: Path, message: None, answer: Answer) -> None:
        agent = self.agent
        site = SiteHealth(
            site_id=self.site_id,
            modbus_up=agent.link_up,
            last_read_age_s=self._image_age_s(now),
            pending_commands=agent.pending_count,
            mode=agent.mode,
        )
        status: Literal["ok", "degraded"] = "ok" if agent.link_up else "degraded"
        answer(now, Health(status=status, service="amperio", version="0.1.0", clock=now.at, sites=(site,)))

    def _image_age_s(self, now: Moment) -> float | None:
        return None if self._image_at is None else max(now.since(self._image_at), 0.0)

    def _buffering(self) -> Buffering:
        return Buffering(samples=self.outbox.pending_count, events=self.events.pending_count)

    # ---- the second -------------------------------------------------------------------------------------------------

    def step(self, now: Moment) -> None:
        """One cycle of the lane, then everything that is due towards Enexa."""
        image = self._look(now)
        orders = self.agent.step(now, image, self._inbox())
        outcomes = self._carry_out(now, orders)
        settled = self.agent.settle(now, outcomes)
        self._keep(now, orders, settled)
        for told in self.settles:
            told(now, orders, outcomes, settled)
        if self._waiting:
            self._answer_waiting(now)
        self._forward(now)
        if now.s >= self._housekeeping_due_s:
            self._keep_house(now)

    def _look(self, now: Moment) -> SiteImage | None:
        self._cycle += 1
        requests = reads_of_cycle(self._cycle, everything=self._everything, with_pv=self._with_pv())
        if now.s < self._link_due_s:
            return None
        try:
            readings = self._modbus.look(now, requests)
        except SiteError as error:
            self._lost_link(now, error)
            return None
        if self._link_lost:
            self._link_lost = False
            self._hold_event(now, EventKind.LINK_BACK, "the station answers", Severity.INFO)
        self._link_backoff = self._link_backoff.cleared()
        self._everything = False
        self._image_at = now
        self.image = image_of(now, readings, self.image)
        return self.image

    def _with_pv(self) -> bool:
        config = self.agent.config
        return config is not None and config.pv is not None

    def _lost_link(self, now: Moment, error: SiteError) -> None:
        self._link_backoff = self._link_backoff.failed()
        self._link_due_s = now.s + self._link_backoff.wait_s()
        self._everything = True
        self.image = None
        if not self._link_lost:
            self._link_lost = True
            self._hold_event(now, EventKind.LINK_LOST, f"no link to the station: {error.code}", Severity.WARNING)

    def _hold_event(self, now: Moment, kind: EventKind, text: str, severity: Severity) -> None:
        self._journal.note(now, "amperio", kind.value)
        self._keep_events((self.agent.event(now, kind, text, severity),))

    def _inbox(self) -> Inbox:
        inbox = Inbox(
            released=tuple(self._released),
            exchanges=tuple(self._exchanges),
            config=self._new_config,
            schedule=self._new_schedule,
            locked=self.disk.locked,
            buffered_count=self.outbox.pending_count,
        )
        self._released, self._exchanges = [], []
        self._new_config = self._new_schedule = None
        return inbox

    def _carry_out(self, now: Moment, orders: Orders) -> Outcomes:
        if not orders.writes and not orders.checks:
            return Outcomes()
        writes = self._modbus.carry_out(now, orders.writes)
        try:
            checks = self._modbus.look(now, orders.checks)
        except SiteError:
            checks = ()
        return Outcomes(writes=writes, checks=checks)

    def _keep(self, now: Moment, orders: Orders, settled: Settled) -> None:
        disk = self.disk
        for fact in settled.facts:
            self._journal.note(now, "amperio", fact.name, **fact.fields)
            if fact.name == "locked_by_emergency_stop":
                disk.locked = True
        for entry in settled.entries:
            disk.entries[entry.command_id] = entry
        for command_id in settled.forgotten:
            disk.entries.pop(command_id, None)
        if settled.keepsake is not None:
            disk.keepsake = settled.keepsake
        if settled.events:
            self._keep_events(settled.events)
        if settled.config_ack is not None:
            self._acks.append(settled.config_ack)
        if orders.sample is not None:
            period_s = self.agent.config.telemetry.period_s if self.agent.config else 1.0
            rows = self.outbox.rows_for(orders.sample, period_s=period_s)
            disk.keep_rows(rows)
            self.outbox.kept(rows)
            self._new_rows = True
            self.sample_count += 1

    def _keep_events(self, events: Sequence[Event]) -> None:
        numbered = self.events.number(events)
        for event in numbered:
            assert event.sequence is not None
            self.disk.events[event.sequence] = event
            self.disk.next_event = event.sequence + 1
        self.events.kept(numbered)

    def _answer_waiting(self, now: Moment) -> None:
        for command_id, (answer, until_s) in list(self._waiting.items()):
            entry = self.agent.ledger.find(command_id)
            assert entry is not None
            if entry.is_open and now.s < until_s:
                continue
            del self._waiting[command_id]
            ack = ack_of(entry.record)
            self.agent.ledger.answered(command_id, ack)
            answer(now, ack)

    def _keep_house(self, now: Moment) -> None:
        self._housekeeping_due_s = now.s + HOUSEKEEPING_EVERY_S
        before = now.at - timedelta(seconds=REWIND_S)
        gone, oldest = self.disk.forget_rows(self.outbox.forgettable(), before)
        self.outbox.forgotten(gone, oldest)
        while (thinning := self.outbox.thinning()) is not None:
            every = thinning.keep_every
            window = range(thinning.first, thinning.last + 1)
            doomed = [seq for seq in window if seq in self.disk.rows and (not every or seq % every)]
            for seq in doomed:
                del self.disk.rows[seq]
            self.outbox.forgotten(len(doomed), next(iter(self.disk.rows), self.disk.next_seq))
            self._journal.note(now, "amperio", "buffer_thinned", first=thinning.first, rows=len(doomed))

    # ---- towards Enexa ----------------------------------------------------------------------------------------------

    def _forward(self, now: Moment) -> None:
        """What the forwarder's loops would do in this second."""
        courier, busy = self.courier, self._busy
        if self._new_rows and "live" not in busy and courier.wait_s(now) <= 0.0:
            self._new_rows = False
            send = self.outbox.next_live()
            if send is not None:
                self._send_rows(now, send)
        if courier.troubled:
            return
        if "replay" not in busy and now.s >= self._replay_due_s:
            self._replay(now)
        if "events" not in busy and self.events.pending_count and now.s >= self._events_due_s:
            self._send_events(now)
        if "status" not in busy and now.s >= self._status_due_s:
            self._send_status(now)
        if "config" not in busy and now.s >= self._config_due_s:
            self._get_config(now)
        if self._acks and "ack" not in busy:
            self._send_ack(now)
        if "schedule" not in busy:
            wanted = self.agent.wants_plan and self.agent.config is not None and now.s >= self._wanted_due_s
            if wanted or now.s >= self._schedule_due_s:
                self._get_schedule(now)

    def _heard(self, now: Moment, how: Any, *kinds: type) -> bool:
        """Judge an exchange: for the lane's mode, and for the one backoff; True where it was useful."""
        if isinstance(how, kinds):
            self._exchanges.append(True)
            self.courier.succeeded()
            return True
        if isinstance(how, POISON):
            return False
        retry_after = how.facts.get("retry_after_s") if isinstance(how, SiteError) else None
        self._exchanges.append(False)
        self.courier.failed(
            now,
            jitter=self._chance.random(),
            retry_after_s=float(retry_after) if isinstance(retry_after, int | float) else 0.0,
        )
        return False

    def _replay(self, now: Moment) -> None:
        self._replay_due_s = now.s
        send = self.outbox.next_replay()
        if send is not None:
            self._send_rows(now, send)

    def _send_rows(self, now: Moment, send: Send) -> None:
        outbox = self.outbox
        rows = self.disk.load_rows(send.first, send.last, send.rows)
        narrowed, missing = outbox.narrowed(send, rows)
        rows = tuple(row for row in rows if row.seq <= narrowed.last)
        samples = tuple(_SAMPLE.decode(row.body) for row in rows if not row.is_gap)
        told = (*missing, *(_GAP.decode(row.body) for row in rows if row.is_gap))
        gaps = tuple(sorted(told, key=lambda gap: gap.from_sequence))
        self._busy.add(send.lane)

        def done(at: Moment, how: Any) -> None:
            self._busy.discard(send.lane)
            if self._heard(at, how, TelemetryAck, TelemetryBatchAck):
                moved = outbox.confirmed(narrowed, how.stored_through)
                if moved is not None:
                    self.disk.stored_through = moved
                if isinstance(how, TelemetryBatchAck):
                    self.disk.dead += [(each.sequence, each.code) for each in how.rejected]
            else:
                outbox.failed(narrowed)
                self._new_rows = True
                self._replay_due_s = at.s + PROBE_RETRY_S

        if len(samples) == 1 and not gaps:
            self._call(now, POST_TELEMETRY, done, samples[0])
        else:
            batch = TelemetryBatch(site_id=self.site_id, stream_epoch=outbox.stream_epoch, samples=samples, gaps=gaps)
            self._call(now, POST_TELEMETRY_BATCH, done, batch)

    def _send_events(self, now: Moment) -> None:
        send = self.events.next_send()
        if send is None:
            return
        first, limit = send
        events = tuple(self.disk.events[seq] for seq in range(first, first + limit))
        self._busy.add("events")

        def done(at: Moment, how: Any) -> None:
            self._busy.discard("events")
            if self._heard(at, how, EventAck):
                last = events[-1].sequence
                assert last is not None
                self.events.confirmed(last)
                self.disk.events_through = last
            else:
                self.events.failed()
                self._events_due_s = at.s + 1.0

        self._call(now, POST_EVENTS, done, EventBatch(site_id=self.site_id, events=events))

    def _send_status(self, now: Moment) -> None:
        agent = self.agent
        status = SiteStatus(
            site_id=self.site_id,
            online=agent.link_up and agent.mode not in (Mode.DEVICE_LOST, Mode.LOCKED),
            timestamp=now.at,
            mode=agent.mode,
            config_version=agent.config.version if agent.config else None,
            buffer=self._buffering(),
            detail=None if agent.link_up else "no link to the station",
        )
        self._busy.add("status")

        def done(at: Moment, how: Any) -> None:
            self._busy.discard("status")
            self._status_due_s = at.s + STATUS_EVERY_S
            self._heard(at, how, StatusAck)

        self._call(now, POST_STATUS, done, status)

    def _get_config(self, now: Moment) -> None:
        self._busy.add("config")

        def done(at: Moment, how: Any) -> None:
            self._busy.discard("config")
            self._config_due_s = at.s + CONFIG_EVERY_S
            if self._heard(at, how, SiteConfig):
                self._new_config = how

        self._call(now, GET_CONFIG, done, path={"site_id": self.site_id})

    def _send_ack(self, now: Moment) -> None:
        sent = self._acks[0]
        self._busy.add("ack")

        def done(at: Moment, how: Any) -> None:
            self._busy.discard("ack")
            if self._heard(at, how, ConfigAckReply) and self._acks and self._acks[0] is sent:
                self._acks.popleft()

        self._call(now, ACK_CONFIG, done, sent, {"site_id": self.site_id})

    def _get_schedule(self, now: Moment) -> None:
        self._busy.add("schedule")
        self._schedule_due_s = now.s + SCHEDULE_EVERY_S
        self._wanted_due_s = now.s + PLAN_WANTED_EVERY_S

        def done(at: Moment, how: Any) -> None:
            self._busy.discard("schedule")
            if self._heard(at, how, SiteSchedule, NotFound) and isinstance(how, SiteSchedule):
                self._new_schedule = how

        self._call(now, GET_SCHEDULE, done, path={"site_id": self.site_id})

    def _call(
        self,
        now: Moment,
        operation: Operation,
        done: Callable[[Moment, Any], None],
        message: Struct | None = None,
        path: Path | None = None,
    ) -> None:
        assert self.line is not None
        self.line.call(now, operation, done, message, path)
