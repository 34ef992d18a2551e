"""A lane: one station, looked at, decided upon and acted on once a second.

A lane owns one station's link and is the only one that reads or writes it. Its ticks stand on an absolute schedule;
a command wakes it early. A SiteError is part of life; an assertion stops the lane, the supervisor starts it again, and
meanwhile the station's own watchdog takes control back.
"""

import asyncio
from collections.abc import Sequence
from functools import partial

import structlog

from services.amperio.locks import Locks
from services.amperio.modbus_link import ModbusLink
from services.amperio.scribe import Scribe
from services.amperio.site.agent import GUARDED_FOR_S, SiteAgent
from services.amperio.site.facts import Fact
from services.amperio.site.image import SiteImage, image_of
from services.amperio.site.ledger import Entry, ack_of
from services.amperio.site.orders import Inbox, Keepsake, Outcomes, Settled
from services.amperio.site.outbox import Courier, Cursor, DeadLetters, EventBox, Outbox
from services.amperio.site.reads import Reading, reads_of_cycle
from services.amperio.store import tables
from services.amperio.store.database import Database
from services.amperio.version import VERSION
from shared.clock import Clock
from shared.contract.config import Buffering, ConfigAck, SiteConfig
from shared.contract.dispatch import DispatchAck, DispatchCommand, DispatchRecord, GridOperatorLimit
from shared.contract.events import Event, EventKind, Severity, SiteStatus
from shared.contract.reads import MiddlewareSite, SiteHealth, SiteState
from shared.contract.schedule import SiteSchedule
from shared.contract.telemetry import Mode, Telemetry
from shared.errors import LinkDown, StoreFailed
from shared.moment import Moment

ANSWER_WITHIN_S = 2.0
"""Real seconds that a dispatch route waits for the read-back."""
ARRIVAL_WAIT_S = 0.05
"""Real seconds that a cycle waits, after its look, for a command that is on its way to the disk."""
STORE_STUCK_S = 0.25
LANE_DEAD_S = 5.0
CRASHES_MAX = 3
CRASH_WINDOW_S = 600.0
SILENT_S = 60.0

log = structlog.get_logger()


class SiteLane:
    """One site: its link, its agent, its streams."""

    def __init__(
        self,
        site_id: str,
        clock: Clock,
        link: ModbusLink,
        database: Database,
        locks: Locks,
        *,
        stream_epoch: str,
        keepsake: Keepsake | None,
        entries: Sequence[Entry],
        cursor: Cursor,
        phase_s: float = 0.0,
    ) -> None:
        self.site_id = site_id
        self.link = link
        self.agent = SiteAgent(site_id, clock.now(), keepsake, entries)
        self.outbox = Outbox(site_id, stream_epoch, cursor)
        self.events = EventBox(cursor)
        self.courier = Courier()
        self.dead_letters = DeadLetters()
        self.scribe = Scribe(
            site_id,
            database,
            self.outbox,
            self.events,
            on_queued=self._give_answers,
            on_failed=self._store_failed,
            on_works=self._store_works,
        )
        self.config_acks: list[ConfigAck] = []
        self.config_acked = asyncio.Event()
        self.plan_wanted = asyncio.Event()
        self.image_at: Moment | None = None
        self.overruns = 0
        self.due_s = 0.0
        """When the latest cycle of the schedule had to begin."""
        self.starts = 0
        self.refused_registers: dict[int, str] = {}
        """By address, with the station's answer."""
        self._restarts: list[float] = []
        self._clock = clock
        self._database = database
        self._locks = locks
        self._phase_s = phase_s
        self._woken = asyncio.Event()
        self._due = False
        """Whether a cycle of the schedule waits to begin."""
        self._cycled_at: Moment | None = None
        self._cycle_number = 0
        self._look_at_all = True
        self._image: SiteImage | None = None
        self._link_lost_told = False
        self._released: list[str] = []
        self._exchanges: list[bool] = []
        self._config: SiteConfig | None = None
        self._schedule: SiteSchedule | None = None
        self._operator: GridOperatorLimit | None = None
        self._operator_withdrawn = False
        self._operator_kept: list[asyncio.Future[None]] = []
        self._arriving: dict[str, asyncio.Future[None]] = {}
        self._answers: dict[str, asyncio.Future[None]] = {}

    # ---- what others put in ------------------------------------------------------------------------------------------

    async def submit(self, command: DispatchCommand) -> DispatchAck:
        """Take a command in, wake the lane, and answer with what is true within two seconds.

        The lane reads the station while the command becomes durable, and acts only after both. Its final state stands
        in the store's queue before the answer is given, so that the audit line of the call, for which the gate waits,
        is durable only together with it.
        """
        admission = self.agent.admit(self._clock.now(), command)
        if admission.repeated is not None:
            return admission.repeated
        command_id = admission.entry.command_id
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._answers[command_id] = answered
        kept = self._database.give(partial(tables.keep_entries, site=self.site_id, entries=(admission.entry,)))
        self._arriving[command_id] = kept
        kept.add_done_callback(partial(self._arrived, command_id))
        self.wake()
        try:
            # `wait`, so that a caller who gives up cancels neither the commit nor what follows from it.
            await asyncio.wait([kept])
            kept.result()
            await asyncio.wait([answered], timeout=ANSWER_WITHIN_S)
        finally:
            self._answers.pop(command_id, None)
        return self._answer(command_id)

    def _arrived(self, command_id: str, kept: asyncio.Future[None]) -> None:
        """Durable: it may act from the next decision on. Refused by the store: it was never accepted."""
        del self._arriving[command_id]
        if kept.cancelled() or kept.exception() is not None:
            self.agent.ledger.drop(command_id)
            return
        self._released.append(command_id)
        self.wake()

    def _answer(self, command_id: str) -> DispatchAck:
        entry = self.agent.ledger.find(command_id)
        assert entry is not None
        ack = ack_of(entry.record)
        self.agent.ledger.answered(command_id, ack)
        return ack

    def record(self, command_id: str) -> DispatchRecord | None:
        entry = self.agent.ledger.find(command_id)
        return entry.record if entry else None

    def exchanged(self, good: bool) -> None:
        self._exchanges.append(good)

    def take_config(self, config: SiteConfig) -> None:
        self._config = config
        self.wake()

    def take_schedule(self, schedule: SiteSchedule) -> None:
        self._schedule = schedule
        self.wake()

    async def set_operator_limit(self, limit: GridOperatorLimit | None) -> None:
        """The grid operator's cap, or None to withdraw it; back once it is durable, StoreFailed where it is not."""
        kept: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._operator, self._operator_withdrawn = limit, limit is None
        self._operator_kept.append(kept)
        self.wake()
        done, _ = await asyncio.wait([kept], timeout=ANSWER_WITHIN_S)
        if not done:
            raise StoreFailed("the limit is in force, but could not be made durable yet", retry_after_s=5.0)

    def wake(self) -> None:
        self._woken.set()

    # ---- the loop ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Cycle for ever."""
        self._note_start()
        if self.restarts_within(self._clock.now(), CRASH_WINDOW_S) > CRASHES_MAX:
            # It breaks in safe mode too: nothing is the safe answer, and the station's watchdog is in charge.
            await self._clock.sleep(SILENT_S)
        ticking = asyncio.create_task(self._tick())
        try:
            while True:
                await self._woken.wait()
                self._woken.clear()
                await self.cycle()
        finally:
            ticking.cancel()
            self.link.close()

    def _note_start(self) -> None:
        """A lane that starts again met a bug: like a new process it begins in safe mode, with an alarm.

        The third bug within ten minutes holds it there.
        """
        self.starts += 1
        if self.starts == 1:
            return
        now = self._clock.now()
        self._restarts = [*self._restarts[-CRASHES_MAX:], now.s]
        guarded = self.restarts_within(now, CRASH_WINDOW_S) >= CRASHES_MAX
        self.agent.start_over(now, guarded=guarded)
        self._look_at_all = True
        text = f"the control loop stopped on a bug and was started again ({self.starts - 1} times)"
        if guarded:
            text += f"; it is held in safe mode for {GUARDED_FOR_S / 60.0:.0f} minutes or until Amperio is restarted"
        self._hold_events((self.agent.event(now, EventKind.ALERT_RAISED, text, Severity.CRITICAL),))

    async def _tick(self) -> None:
        """Wake the lane on an absolute schedule; the phase spreads the sites of a process over the second."""
        period_s = self.agent.watchdog.cycle_s
        next_s = (self._clock.now().s // period_s + 1.0 + self._phase_s) * period_s
        while True:
            await self._clock.sleep_until(next_s)
            if self._due:
                self.overruns += 1
            self._due, self.due_s = True, next_s
            self._woken.set()
            period_s = self.agent.watchdog.cycle_s
            next_s += period_s
            late = int((self._clock.now().s - next_s) / period_s)
            if late > 0:
                # No burst to catch up: the missed ticks are counted and skipped.
                self.overruns += late
                next_s += late * period_s

    async def cycle(self) -> None:
        """Look, decide, act, keep."""
        now = self._clock.now()
        self._due = False
        image = await self._look(now)
        if self._arriving:
            # They became durable while the station was read; a store that hangs holds no cycle up for long.
            await asyncio.wait(self._arriving.values(), timeout=ARRIVAL_WAIT_S)
        orders = self.agent.step(now, image, self._inbox())
        outcomes = await self.link.carry_out(orders) if orders.writes or orders.checks else Outcomes()
        settled = self.agent.settle(self._clock.now(), outcomes)
        self._report(settled.facts)
        await self._keep(orders.sample, settled)
        self._cycled_at = self._clock.now()
        if settled.config_ack is not None:
            self.config_acks.append(settled.config_ack)
            self.config_acked.set()
        if self.agent.wants_plan and self.agent.config is not None:
            self.plan_wanted.set()

    async def _look(self, now: Moment) -> SiteImage | None:
        self._cycle_number += 1
        config = self.agent.config
        requests = reads_of_cycle(
            self._cycle_number,
            everything=self._look_at_all,
            with_pv=config is not None and config.pv is not None,
        )
        try:
            readings = await self.link.look(requests)
        except LinkDown as error:
            self._told_link(now, lost=True, why=str(error))
            self._look_at_all = True
            self._image = None
            return None
        self._told_link(now, lost=False)
        self._look_at_all = False
        self.image_at = now
        self._note_refusals(now, readings)
        self._image = image_of(now, readings, self._image)
        return self._image

    def _note_refusals(self, now: Moment, readings: Sequence[Reading]) -> None:
        """Registers that the station has and does not give: its map is not the one we know, or it is in trouble."""
        before = dict(self.refused_registers)
        for reading in readings:
            if reading.error_code is None:
                self.refused_registers.pop(reading.request.address, None)
            else:
                self.refused_registers[reading.request.address] = reading.error_code
        if bool(before) is bool(self.refused_registers):
            return
        told = ", ".join(f"{address}: {code}" for address, code in sorted(self.refused_registers.items()))
        log.warning("registers_refused", site_id=self.site_id, registers=told)
        event = self.agent.event(now, EventKind.ALERT_CLEARED, "the station gives all registers again")
        if told:
            text = f"the station refuses registers ({told})"
            event = self.agent.event(now, EventKind.ALERT_RAISED, text, Severity.WARNING)
        self._hold_events((event,))

    def _told_link(self, now: Moment, *, lost: bool, why: str = "") -> None:
        if lost is self._link_lost_told:
            return
        self._link_lost_told = lost
        kind = EventKind.LINK_LOST if lost else EventKind.LINK_BACK
        severity = Severity.WARNING if lost else Severity.INFO
        text = f"no link to the station: {why}" if lost else "the station answers"
        self._hold_events((self.agent.event(now, kind, text, severity),))

    def _inbox(self) -> Inbox:
        """Everything that came until now; what woke the lane meanwhile is in it."""
        self._woken.clear()
        inbox = Inbox(
            released=tuple(self._released),
            exchanges=tuple(self._exchanges),
            config=self._config,
            schedule=self._schedule,
            operator=self._operator,
            operator_withdrawn=self._operator_withdrawn,
            locked=self._locks.locked(self.site_id),
            intake_alive=self._intake_alive(),
            buffered_count=self.outbox.pending_count,
        )
        self._released, self._exchanges = [], []
        self._config = self._schedule = self._operator = None
        self._operator_withdrawn = False
        return inbox

    def _intake_alive(self) -> bool:
        """The store answers, be it with an error; one that hangs would hang every command too."""
        return self._database.stuck_s < max(STORE_STUCK_S, 2.0 * self.agent.watchdog.cycle_s / self._clock.speed)

    def _report(self, facts: Sequence[Fact]) -> None:
        for each in facts:
            getattr(log, each.level)(each.name, site_id=self.site_id, **each.fields)
            if each.name == "locked_by_emergency_stop":
                self._locks.lock(self.site_id, "emergency stop")

    # ---- keeping -----------------------------------------------------------------------------------------------------

    async def _keep(self, sample: Telemetry | None, settled: Settled) -> None:
        """One commit for everything that this cycle wants remembered; neither a full nor a slow disk stops control."""
        self._hold_events(settled.events)
        period_s = self.agent.config.telemetry.period_s if self.agent.config else 1.0
        told, self._operator_kept = self._operator_kept, []
        if self._operator is not None or self._operator_withdrawn:
            told, self._operator_kept = [], told  # it came during this cycle; the next one takes it in
        await self.scribe.keep(sample, settled, period_s=period_s, waiting=told)

    def _hold_events(self, events: Sequence[Event]) -> None:
        self.scribe.hold_events(events)

    def _give_answers(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            future = self._answers.get(entry.command_id)
            if future is not None and not entry.is_open and not future.done():
                future.set_result(None)

    def _store_failed(self, error: StoreFailed) -> None:
        log.critical("store_failed", site_id=self.site_id, error=str(error))
        now = self._clock.now()
        self._hold_events((self.agent.event(now, EventKind.ALERT_RAISED, str(error), Severity.CRITICAL),))

    def _store_works(self) -> None:
        log.info("store_works", site_id=self.site_id)
        now = self._clock.now()
        self._hold_events((self.agent.event(now, EventKind.ALERT_CLEARED, "the store works again"),))

    # ---- what others want to know ------------------------------------------------------------------------------------

    @property
    def store_failing(self) -> bool:
        return self.scribe.failing

    @property
    def online(self) -> bool:
        return self.agent.link_up and self.agent.mode not in (Mode.DEVICE_LOST, Mode.LOCKED)

    def restarts_within(self, now: Moment, seconds: float) -> int:
        """How often a bug stopped the loop lately."""
        return sum(1 for at_s in self._restarts if now.s - at_s <= seconds)

    def alive(self, now: Moment) -> bool:
        """Whether the loop turned lately, be it without a link."""
        return self._cycled_at is not None and now.since(self._cycled_at) <= max(LANE_DEAD_S, 3.0 * self._clock.speed)

    def image_age_s(self, now: Moment) -> float | None:
        return None if self.image_at is None else max(now.since(self.image_at), 0.0)

    def buffering(self, now: Moment) -> Buffering:
        last_at, pending = self.outbox.last_at, self.outbox.pending_count
        age_s = None
        if pending and last_at is not None:
            age_s = max((now.at - last_at).total_seconds(), 0.0) + pending - 1.0
        return Buffering(
            samples=pending,
            events=self.events.pending_count,
            oldest_age_s=age_s,
            capacity_used_pct=min(100.0 * pending / self.outbox.rows_max, 100.0),
        )

    def status(self, now: Moment) -> SiteStatus:
        return SiteStatus(
            site_id=self.site_id,
            online=self.online,
            timestamp=now.at,
            mode=self.agent.mode,
            firmware=VERSION,
            config_version=self.agent.config.version if self.agent.config else None,
            buffer=self.buffering(now),
            detail=None if self.agent.link_up else "no link to the station",
        )

    def state(self, now: Moment) -> SiteState:
        agent = self.agent
        status = agent.image.status if agent.image is not None and agent.link_up else None
        schedule = agent.desk.schedule
        return SiteState(
            site_id=self.site_id,
            mode=agent.mode,
            telemetry=agent.last_sample,
            image_age_s=self.image_age_s(now),
            watchdog_s=status.watchdog_left_s if status else None,
            buffer=self.buffering(now),
            active_command_id=agent.desk.active_command_id(),
            config_version=agent.config.version if agent.config else None,
            schedule_version=schedule.version if schedule else None,
            schedule_valid_until=schedule.valid_until if schedule else None,
            link_up=agent.link_up,
        )

    def health(self, now: Moment) -> SiteHealth:
        return SiteHealth(
            site_id=self.site_id,
            modbus_up=self.agent.link_up,
            last_read_age_s=self.image_age_s(now),
            pending_commands=self.agent.pending_count,
            mode=self.agent.mode,
        )

    def summary(self) -> MiddlewareSite:
        return MiddlewareSite(id=self.site_id, online=self.online, mode=self.agent.mode)
