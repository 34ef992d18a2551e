"""What a lane's streams have to do with Enexa: samples, events and status out, configuration and plan in.

Two readers of one queue: the live loop sends what is newest and is the only one that probes while Enexa is away; the
replay loop carries the rest, oldest first. One backoff for all of them, so that retries never multiply.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar

import msgspec
import structlog

from services.amperio.enexa_client import EnexaClient
from services.amperio.lane import SiteLane
from services.amperio.site.outbox import DEAD_QUIET_S, Row, Send
from services.amperio.store import tables
from services.amperio.store.database import Database
from shared.clock import Clock
from shared.contract.events import EventKind, Severity
from shared.contract.telemetry import Gap
from shared.errors import InvalidMessage, OutOfBounds, Refused, SiteError, StoreFailed, TooLarge, Unreachable
from shared.moment import Moment

CONFIG_EVERY_S = 30.0
SCHEDULE_EVERY_S = 30.0
STATUS_EVERY_S = 10.0
PLAN_WANTED_EVERY_S = 5.0
REPLAYS_AT_ONCE = 2
"""Batches of old samples in the air, of all sites together: control and live samples come first after an outage too."""

POISON = (InvalidMessage, OutOfBounds, TooLarge)
"""The peer understood us and will never take this body: sending it again would block everything behind it."""

BATCHES_PER_TURN = 4
"""Read from the store at once: each look into it may wait for a commit."""

T = TypeVar("T")
log = structlog.get_logger()


class Forwarder:
    """Carries one lane's samples, events and status to Enexa, and brings its configuration and plan."""

    def __init__(
        self,
        lane: SiteLane,
        enexa: EnexaClient,
        database: Database,
        clock: Clock,
        *,
        replays: asyncio.Semaphore | None = None,
    ) -> None:
        """`replays` are the turns that the replays of all sites share."""
        self._lane = lane
        self._enexa = enexa
        self._database = database
        self._clock = clock
        self._replays = replays or asyncio.Semaphore(REPLAYS_AT_ONCE)
        self._ahead: tuple[Row, ...] = ()
        """Rows that a replay read beyond its batch, for the next batch of the same turn."""
        self._ahead_from = 0
        self._jitter = random.Random(lane.site_id)  # noqa: S311 -- spreads retries, hides nothing
        self._lost_told = False
        self._well = asyncio.Event()
        """Set while Enexa answers; the live loop finds out when it is back."""
        self._well.set()
        self._behind = asyncio.Event()
        """Set while there may be something for the replay."""
        self._behind.set()
        self._gaps = msgspec.json.Decoder(Gap)

    def loops(self) -> tuple[Callable[[], Coroutine[Any, Any, None]], ...]:
        return (
            self.run_live,
            self.run_replay,
            self.run_events,
            self.run_status,
            self.run_config,
            self.run_acks,
            self.run_schedule,
            self.run_wanted_schedule,
        )

    async def run_live(self) -> None:
        """The newest samples first; the only loop that probes while Enexa is away."""
        lane = self._lane
        while True:
            await lane.scribe.sample_kept.wait()
            lane.scribe.sample_kept.clear()
            await self._pause()
            send = lane.outbox.next_live()
            if send is not None:
                await self._carry(send)
                if lane.outbox.oldest_pending is not None:
                    self._behind.set()

    async def run_replay(self) -> None:
        """Whatever is older and unconfirmed, oldest first, while the live lane goes well."""
        while True:
            await self._well.wait()
            async with self._replays:
                self._behind.clear()
                outcome = await self._take_turn()
            if outcome is None:
                await self._behind.wait()
            elif not outcome:
                await self._clock.sleep(1.0)

    async def _take_turn(self) -> bool | None:
        """A few batches of old samples; False where Enexa did not take one, None where nothing was left to send."""
        self._ahead = ()
        for _ in range(BATCHES_PER_TURN):
            if not self._well.is_set():
                break
            send = self._lane.outbox.next_replay()
            if send is None:
                return None
            if not await self._carry(send):
                return False
        return True

    async def run_events(self) -> None:
        lane = self._lane
        while True:
            if not lane.events.pending_count:
                await lane.scribe.event_kept.wait()
            lane.scribe.event_kept.clear()
            await self._well.wait()
            await self._carry_events()

    async def run_status(self) -> None:
        while True:
            await self._well.wait()
            await self._try(lambda: self._enexa.post_status(self._lane.status(self._clock.now())))
            await self._clock.sleep(STATUS_EVERY_S)

    async def run_config(self) -> None:
        """Poll the configuration."""
        lane = self._lane
        while True:
            await self._well.wait()
            try:
                config = await self._useful(lambda: self._enexa.config(lane.site_id))
            except (Refused, Unreachable):
                await self._clock.sleep(1.0)
                continue
            if config is not None:
                lane.take_config(config)
            await self._clock.sleep(CONFIG_EVERY_S)

    async def run_acks(self) -> None:
        """Say what became of each version of the configuration."""
        lane = self._lane
        while True:
            await lane.config_acked.wait()
            lane.config_acked.clear()
            await self._well.wait()
            await self._acknowledge()
            if lane.config_acks:
                lane.config_acked.set()
                await self._clock.sleep(1.0)

    async def run_schedule(self) -> None:
        """Fetch the plan on a slow beat."""
        while True:
            await self._well.wait()
            await self._fetch_schedule()
            await self._clock.sleep(SCHEDULE_EVERY_S)

    async def run_wanted_schedule(self) -> None:
        """Fetch the plan soon when resync waits for a fresh one."""
        lane = self._lane
        while True:
            await lane.plan_wanted.wait()
            lane.plan_wanted.clear()
            await self._well.wait()
            if lane.agent.wants_plan:
                await self._fetch_schedule()
                await self._clock.sleep(PLAN_WANTED_EVERY_S)

    async def _fetch_schedule(self) -> None:
        schedule = await self._try(lambda: self._enexa.schedule(self._lane.site_id))
        if schedule is not None:
            self._lane.take_schedule(schedule)

    # ---- one exchange ------------------------------------------------------------------------------------------------

    async def _carry(self, send: Send) -> bool:
        """Load, send, confirm; True where Enexa has it now."""
        outbox = self._lane.outbox
        try:
            rows = self._lane.scribe.latest(send) or await self._load(send)
        except StoreFailed:
            outbox.failed(send)
            return False
        narrowed, gaps = outbox.narrowed(send, rows)
        rows = tuple(row for row in rows if row.seq <= narrowed.last)
        try:
            through = await self._useful(lambda: self._post(rows, gaps))
        except POISON as error:
            await self._bury(narrowed, rows, error)
            return False
        except (Refused, Unreachable):
            outbox.failed(narrowed)
            return False
        self._tell_no_more_dead()
        moved = outbox.confirmed(narrowed, through)
        if moved is not None:
            self._lane.scribe.confirmed(stored_through=moved)
        return True

    async def _load(self, send: Send) -> tuple[Row, ...]:
        rows = self._ahead
        full = len(rows) >= send.rows and rows[send.rows - 1].seq <= send.last
        if send.lane == "live" or send.first != self._ahead_from or not full:
            limit = send.rows * (1 if send.lane == "live" else BATCHES_PER_TURN)
            rows = await self._database.run(
                partial(tables.load_rows, site=self._lane.site_id, first=send.first, last=send.last, limit=limit)
            )
        if send.lane == "replay":
            self._ahead = rows[send.rows :]
            self._ahead_from = rows[send.rows - 1].seq + 1 if self._ahead else 0
        return rows[: send.rows]

    async def _post(self, rows: Sequence[Row], gaps: Sequence[Gap]) -> int | None:
        lane = self._lane
        samples = [row.body for row in rows if not row.is_gap]
        declared = sorted(
            (*gaps, *(self._gaps.decode(row.body) for row in rows if row.is_gap)), key=lambda gap: gap.from_sequence
        )
        if len(samples) == 1 and not declared:
            return await self._enexa.post_sample(samples[0])
        through, rejected = await self._enexa.post_batch(lane.site_id, lane.outbox.stream_epoch, samples, declared)
        for each in rejected:
            row = next((row for row in rows if row.seq == each.sequence), None)
            if row is not None:
                await self._note_rejected(row, each.code)
        return through

    async def _bury(self, send: Send, rows: Sequence[Row], error: SiteError) -> None:
        """A body that Enexa will never take: find the culprit by sending rows alone, then put it aside."""
        outbox = self._lane.outbox
        if len(rows) > 1:
            for row in rows:
                await self._alone(row)
            outbox.failed(send)
            return
        for row in rows:
            await self._put_aside(row, error)
        outbox.dead(send)

    async def _alone(self, row: Row) -> None:
        try:
            await self._useful(lambda: self._post((row,), ()))
        except POISON as error:
            await self._put_aside(row, error)
        except SiteError:
            return

    async def _put_aside(self, row: Row, error: SiteError) -> None:
        site = self._lane.site_id
        await self._database.run(lambda store: tables.bury_row(store, site, row, error.code))
        log.warning("sample_refused", site_id=site, sequence=row.seq, code=error.code, error=str(error))
        self._tell_dead(row, error.code)

    async def _note_rejected(self, row: Row, code: str) -> None:
        site = self._lane.site_id
        await self._database.run(lambda store: tables.note_dead(store, site, row, code))
        log.warning("sample_rejected", site_id=site, sequence=row.seq, code=code)
        self._tell_dead(row, code)

    def _tell_dead(self, row: Row, code: str) -> None:
        """People hear of the first: one body that will never do is rarely the last one."""
        now = self._clock.now()
        if self._lane.dead_letters.note(now):
            text = f"Enexa will never take sample {row.seq} ({code}); such samples are kept aside in the store"
            self._alert(now, EventKind.ALERT_RAISED, text, Severity.WARNING)

    def _tell_no_more_dead(self) -> None:
        now = self._clock.now()
        count = self._lane.dead_letters.over(now)
        if count:
            text = f"{count} samples were kept aside, and none in the last {DEAD_QUIET_S / 60.0:.0f} minutes"
            self._alert(now, EventKind.ALERT_CLEARED, text, Severity.INFO)

    def _alert(self, now: Moment, kind: EventKind, text: str, severity: Severity) -> None:
        self._lane.scribe.hold_events((self._lane.agent.event(now, kind, text, severity),))

    async def _carry_events(self) -> None:
        lane = self._lane
        send = lane.events.next_send()
        if send is None:
            return
        first, limit = send
        try:
            events = await self._database.run(lambda store: tables.load_events(store, lane.site_id, first, limit))
            assert events, "events that wait are in the store"
            await self._useful(lambda: self._enexa.post_events(lane.site_id, events))
        except SiteError:
            lane.events.failed()
            await self._clock.sleep(1.0)
            return
        last = events[-1].sequence
        assert last is not None
        lane.events.confirmed(last)
        lane.scribe.confirmed(events_through=last)

    async def _acknowledge(self) -> None:
        acks = self._lane.config_acks
        while acks:
            ack = acks[0]
            try:
                await self._useful(partial(self._enexa.acknowledge_config, ack))
            except Refused:
                log.warning("config_ack_refused", site_id=ack.site_id, version=ack.version)
            except Unreachable:
                return
            acks.pop(0)

    async def _try(self, call: Callable[[], Awaitable[T]]) -> T | None:
        try:
            return await self._useful(call)
        except (Refused, Unreachable):
            return None

    async def _useful(self, call: Callable[[], Awaitable[T]]) -> T:
        """One exchange; what it was worth goes to the lane's mode and to the one backoff."""
        lane = self._lane
        try:
            result = await call()
        except POISON:
            raise
        except (Refused, Unreachable) as error:
            retry_after = error.facts.get("retry_after_s")
            lane.exchanged(False)
            self._well.clear()
            lane.courier.failed(
                self._clock.now(),
                jitter=self._jitter.random(),
                retry_after_s=float(retry_after) if isinstance(retry_after, int | float) else 0.0,
            )
            self._tell(lost=True, error=error)
            raise
        lane.exchanged(True)
        lane.courier.succeeded()
        self._well.set()
        self._tell(lost=False)
        return result

    def _tell(self, *, lost: bool, error: SiteError | None = None) -> None:
        if lost is self._lost_told:
            return
        self._lost_told = lost
        if lost:
            log.warning("enexa_lost", site_id=self._lane.site_id, error=str(error), code=error.code if error else "")
        else:
            log.info("enexa_back", site_id=self._lane.site_id, waiting=self._lane.outbox.pending_count)

    async def _pause(self) -> None:
        wait_s = self._lane.courier.wait_s(self._clock.now())
        if wait_s > 0.0:
            await self._clock.sleep(wait_s)
