"""The loops: dispatching each second, planning on events and slots, watching the middleware, and keeping house."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any

import structlog

from services.enexa.amperio_client import AmperioClient
from services.enexa.dispatching.alarms import Alarm
from services.enexa.dispatching.core import SiteCore, Step
from services.enexa.dispatching.reconcile import Metrics, ReconcileView, StepName
from services.enexa.dispatching.triggers import Trigger
from services.enexa.inbox import Inbox
from services.enexa.insight.impact import impact
from services.enexa.planning_job import PlanningJob
from services.enexa.planning_request import plan_request, tariff_of
from services.enexa.platform import Platform
from services.enexa.seeds import take_sites
from services.enexa.state import IntentView, MiddlewareView, PlanMade
from services.enexa.store.anchors import EVERY_S
from services.enexa.store.packing import HOURS_AT_ONCE
from shared.backoff import Backoff
from shared.clock import real_now_s
from shared.contract.dispatch import CommandBase
from shared.contract.events import EventKind, Severity
from shared.contract.reads import CommandRecord
from shared.energy.slots import MARKET_ZONE
from shared.errors import BadInput, OutOfBounds, PeerBusy, PeerDown, PlanUnavailable, Refused, SiteError, StoreFailed
from shared.moment import Moment

CYCLE_S = 1.0
WATCH_EVERY_S = 5.0
WATCH_EVERY_REAL_S = 0.25
SILENT_AFTER_S = 15.0
HOUSEKEEPING_EVERY_S = 3600.0
HISTORY_EVERY_S = 5.0
BUFFER_EMPTY_SAMPLES = 5
STORE_RETRY_S = 5.0
INBOX_EVERY_REAL_S = 2.0
PLAN_DUTY_RATIO = 0.3
"""The planner's process works at most this share of the time, however fast the clock runs."""
HISTORY_EVENTS = 3000
OUTAGE_MINUTES_MAX = 31 * 24 * 60

log = structlog.get_logger()


class Runtime:
    """What runs while the platform serves; each loop is supervised by the application."""

    def __init__(
        self,
        platform: Platform,
        amperio: AmperioClient,
        job: PlanningJob,
        inbox: Inbox,
        *,
        real_s: Callable[[], float] = real_now_s,
    ) -> None:
        self._platform = platform
        self._amperio = amperio
        self._job = job
        self._inbox = inbox
        self._real_s = real_s
        self._clock = platform.clock
        self._board = platform.board
        self._exchanges: dict[str, asyncio.Task[None]] = {}
        self._plans_wanted: dict[str, Trigger] = {}
        self._plan_wanted = asyncio.Event()
        self._jitter = random.Random()  # noqa: S311 -- spreads retries, guards nothing
        self._watch_backoff = Backoff()
        self._history_due_s = float("-inf")
        self._unsaved: dict[str, CommandRecord] = {}
        self._anchored_s = float("-inf")
        self._alarms: dict[str, Alarm] = {}
        self._prices_known_until: dict[str, datetime] = {}

    def loops(self) -> list[Callable[[], Coroutine[Any, Any, None]]]:
        return [self.dispatching, self.planning, self.watching, self.inviting, self.housekeeping]

    async def close(self) -> None:
        for task in self._exchanges.values():
            task.cancel()
        await asyncio.gather(*self._exchanges.values(), return_exceptions=True)
        self._job.close()
        await self._amperio.close()

    # ---- dispatching ------------------------------------------------------------------------------------------------

    async def dispatching(self) -> None:
        """Once a clock second: step each site's core and carry out what it orders."""
        due_s = self._clock.now().s
        while True:
            for core in tuple(self._platform.cores.values()):
                await self._step(core)
            # A loop that was held up goes on from now; it does not catch up with seconds that are gone.
            due_s = max(due_s + CYCLE_S, self._clock.now().s)
            await self._clock.sleep_until(due_s)

    async def _step(self, core: SiteCore) -> None:
        now = self._clock.now()
        self._watch_prices(core, now)
        try:
            await self._look_at_history(core, now)
        except StoreFailed as error:
            log.warning("history_not_looked_at", site_id=core.site_id, error=str(error))
        busy = self._exchanges.get(core.site_id)
        free = busy is None or busy.done()
        step = core.step(now, exchange_free=free)
        board = self._board.site(core.site_id)
        board.intends(
            IntentView(
                at=now.at,
                setpoint_kw=step.intent.setpoint_kw,
                reason=step.intent.reason.value,
                gate=step.intent.gate,
                detail=step.intent.detail,
            )
        )
        try:
            await self._keep(core, step)
        except StoreFailed as error:
            self._hold_back(core, step, error)
            return
        if step.replan is not None:
            self._want_plan(core, step.replan, now)
        if free:
            work = self._exchange(core, step)
            if work is not None:
                self._exchanges[core.site_id] = asyncio.create_task(work)

    def _hold_back(self, core: SiteCore, step: Step, error: StoreFailed) -> None:
        """Nothing leaves that could not be written down first; what changed is written with what changes next."""
        log.warning("commands_held_back", site_id=core.site_id, error=str(error))
        self._unsaved.update({record.command_id: record for record in step.changed})
        now, orders = self._clock.now(), step.orders
        if orders.send is not None and orders.send.command_id is not None:
            core.on_busy(now, orders.send.command_id, "our own store failed", retry_after_s=STORE_RETRY_S)
        if orders.ask is not None:
            core.on_ask_failed(now, orders.ask, retry_after_s=STORE_RETRY_S)

    async def _keep(self, core: SiteCore, step: Step) -> None:
        """What changed is durable before anything leaves; a failing store holds commands back."""
        board = self._board.site(core.site_id)
        for record in step.changed:
            board.commanded(record)
            if len(record.history) > 1:
                log.info(
                    "command_moved",
                    status=record.status.value,
                    site_id=core.site_id,
                    command_id=record.command_id,
                    command=record.command,
                    requested_kw=record.requested_kw,
                    applied_kw=record.applied_kw,
                    measured_kw=record.measured_kw,
                    reason=record.reason,
                    note=record.history[-1].note,
                )
        unsaved = {**self._unsaved, **{record.command_id: record for record in step.changed}}
        if unsaved:
            await self._platform.store.journal.save_commands(list(unsaved.values()))
            self._unsaved.clear()
        if step.reconciliation_changed and core.reconciliation is not None:
            view = core.reconciliation.view
            board.reconciled(view)
            await self._platform.keep_reconciliation(view)

    async def _look_at_history(self, core: SiteCore, now: Moment) -> None:
        """The last step of a reconciliation: what was replayed, what was missed, and whether anything is still due."""
        running = core.reconciliation
        if running is None or running.step is None:
            return
        if running.view.metrics_before is None:
            running.measured(before=await self._metrics(core, running.view))
        if running.step is not StepName.HISTORY or now.s < self._history_due_s:
            return
        self._history_due_s = now.s + HISTORY_EVERY_S
        view, store = running.view, self._platform.store
        began = view.started_at - timedelta(seconds=view.outage_s or 0.0)
        missing = store.telemetry.missing(core.site_id)
        running.missed(
            samples=missing,
            events=await store.journal.count_events(core.site_id, list(EventKind), began, view.started_at),
            sessions=await store.journal.count_events(
                core.site_id, [EventKind.SESSION_STARTED, EventKind.SESSION_ENDED], began, view.started_at
            ),
        )
        board = self._board.site(core.site_id)
        buffer = board.status.buffer if board.status is not None else None
        waiting = buffer.samples if buffer is not None else 0
        # Only what the middleware said since then tells whether its buffer is empty.
        heard = board.heard_at is not None and board.heard_at >= view.started_at
        if heard and missing == 0 and waiting <= BUFFER_EMPTY_SAMPLES:
            after = await self._metrics(core, view)
            running.measured(after=after)
            running.history_complete(
                now,
                f"{running.view.replayed_samples} samples replayed, none outstanding; recomputed:"
                f" {after.coverage_pct:.1f} % of the outage measured, {after.import_kwh:.2f} kWh imported"
                f" for {after.cost_eur:.2f} EUR",
            )

    async def _metrics(self, core: SiteCore, view: ReconcileView) -> Metrics:
        """The outage settled from the minutes that are stored of it now."""
        until = view.started_at
        start = until - timedelta(seconds=max(view.outage_s or 0.0, 60.0))
        points = await self._platform.store.telemetry.points(core.site_id, start, until, limit=OUTAGE_MINUTES_MAX)
        prices = self._platform.prices.between(start, until)
        found = impact(points, prices, tariff_of(core.config), start=start, until=until)
        return Metrics(
            coverage_pct=round(found.coverage_pct, 3),
            import_kwh=round(found.total("import_kwh"), 3),
            cost_eur=round(found.settlement.dynamic_eur - found.settlement.export_eur, 2),
        )

    def _exchange(self, core: SiteCore, step: Step) -> Coroutine[Any, Any, None] | None:
        if step.orders.send is not None:
            return self._send(core, step.orders.send)
        if step.orders.ask is not None:
            return self._ask(core, step.orders.ask)
        if step.fetch_state:
            return self._fetch_state(core)
        return None

    async def _send(self, core: SiteCore, command: CommandBase) -> None:
        command_id = command.command_id
        assert command_id is not None
        try:
            ack = await self._amperio.dispatch(command)
        except PeerBusy as error:
            now, jitter = self._clock.now(), self._jitter.random()
            core.on_busy(now, command_id, str(error), retry_after_s=_retry_after_s(error), jitter=jitter)
        except PeerDown as error:
            core.on_send_failed(self._clock.now(), command_id, jitter=self._jitter.random())
            log.info("command_unanswered", site_id=core.site_id, command_id=command_id, error=str(error))
        except Refused as error:
            core.on_refused(self._clock.now(), command_id, str(error.facts.get("code") or error.code), error.sentence)
        else:
            if ack.command_id != command_id:
                log.error("ack_of_another_command", site_id=core.site_id, command_id=command_id, got=ack.command_id)
                core.on_send_failed(self._clock.now(), command_id)
                return
            core.on_ack(self._clock.now(), ack)

    async def _ask(self, core: SiteCore, command_id: str) -> None:
        try:
            record = await self._amperio.ask(command_id)
        except PeerBusy as error:
            now, jitter = self._clock.now(), self._jitter.random()
            core.on_ask_failed(now, command_id, retry_after_s=_retry_after_s(error), jitter=jitter)
        except SiteError:
            core.on_ask_failed(self._clock.now(), command_id, jitter=self._jitter.random())
        else:
            core.on_told(self._clock.now(), command_id, record)

    async def _fetch_state(self, core: SiteCore) -> None:
        try:
            state = await self._amperio.state(core.site_id)
        except SiteError as error:
            log.info("state_not_fetched", site_id=core.site_id, error=str(error))
        else:
            core.on_state(self._clock.now(), state)

    # ---- planning ---------------------------------------------------------------------------------------------------

    def _watch_prices(self, core: SiteCore, now: Moment) -> None:
        """New prices are an edge: the end of what is published has moved."""
        until = self._platform.prices.known_until(now.at)
        known = self._prices_known_until.get(core.site_id)
        if known == until:
            return
        self._prices_known_until[core.site_id] = until
        self._board.site(core.site_id).prices = self._platform.prices.published(now.at)
        if known is not None:
            core.triggers.ask(Trigger.NEW_PRICES)

    def _want_plan(self, core: SiteCore, trigger: Trigger, now: Moment) -> None:
        if core.site_id in self._plans_wanted:
            return
        self._plans_wanted[core.site_id] = trigger
        core.triggers.planning(now)
        self._plan_wanted.set()

    async def planning(self) -> None:
        """Plan for the sites that want it, one after the other, in the worker process."""
        while True:
            await self._plan_wanted.wait()
            self._plan_wanted.clear()
            while self._plans_wanted:
                site_id, trigger = next(iter(self._plans_wanted.items()))
                started_s = self._real_s()
                try:
                    await self._plan(self._platform.cores[site_id], trigger)
                finally:
                    self._plans_wanted.pop(site_id, None)
                busy_s = self._real_s() - started_s
                await asyncio.sleep(busy_s * (1.0 / PLAN_DUTY_RATIO - 1.0))

    async def _plan(self, core: SiteCore, trigger: Trigger) -> None:
        now = self._clock.now()
        board = self._board.site(core.site_id)
        sample = core.latest
        assert sample is not None
        events = await self._platform.store.journal.events(
            core.site_id, limit=HISTORY_EVENTS, kinds=(EventKind.SESSION_ENDED.value,)
        )
        request = plan_request(
            core.config,
            sample,
            self._platform.prices.published(now.at),
            now=now.at,
            version=await self._platform.store.master.next_number(f"schedule_{core.site_id}"),
            recent=board.recent,
            events=events,
            observed_since=await self._platform.store.telemetry.first_at(core.site_id),
            peak_so_far_kw=await self._month_peak_kw(core.site_id, now),
        )
        try:
            planned = await self._job.make(request)
        except (PlanUnavailable, OutOfBounds) as error:
            log.warning("plan_failed", site_id=core.site_id, trigger=trigger.value, error=str(error))
            await self._platform.alerts.raise_alert(
                "plan_failed", core.site_id, f"no new plan: {error}; the last one stays in force", Severity.WARNING
            )
            return
        made = PlanMade(schedule=planned.schedule, plan=planned.report, trigger=trigger.value)
        await self._platform.plan_made(made, self._clock.now())
        await self._platform.alerts.clear("plan_failed", core.site_id)
        log.info(
            "plan_made",
            site_id=core.site_id,
            version=planned.schedule.version,
            trigger=trigger.value,
            method=planned.report.method,
            solve_s=round(planned.report.solve_s, 4),
            total_eur=round(planned.report.costs_eur.get("total_eur", 0.0), 3),
        )

    async def _month_peak_kw(self, site_id: str, now: Moment) -> float:
        """The highest quarter-hour mean of this month so far, which the demand charge has already paid for."""
        first = now.at.astimezone(MARKET_ZONE).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        points = await self._platform.store.telemetry.points(site_id, first, now.at, resolution_s=900)
        return max((each.grid_kw for each in points if each.grid_kw is not None), default=0.0)

    # ---- watching ---------------------------------------------------------------------------------------------------

    async def watching(self) -> None:
        """Ask the middleware for its health, and raise or clear the alerts that follow from silence."""
        while True:
            await self._ask_health()
            pause_s = max(WATCH_EVERY_S, WATCH_EVERY_REAL_S * self._clock.speed)
            asked_s = self._clock.now().s
            await self._tick_alarms(self._clock.now())
            # Before anybody is alarmed we ask once more: the last answer may be half a minute old.
            due_s = max(self._alarm("middleware_silent", None).due_s, asked_s + pause_s)
            until_s = min(asked_s + (self._watch_backoff.wait_s() or pause_s), due_s)
            heard, silent = self._heard(), False
            while (left_s := until_s - self._clock.now().s) > 0.0:
                await self._clock.sleep(min(left_s, pause_s))
                if left_s > pause_s:
                    await self._tick_alarms(self._clock.now())
                before, heard = heard, self._heard()
                if silent and heard != before:
                    break  # it speaks to us again, so there is no reason to wait the rest of a minute
                silent = heard == before

    def _heard(self) -> list[datetime | None]:
        """When each site's newest sample was taken: it moves while the middleware reaches us."""
        latest = [self._board.site(site_id).latest for site_id in self._platform.cores]
        return [each.sample.timestamp if each is not None else None for each in latest]

    async def _ask_health(self) -> None:
        before = self._board.middleware
        try:
            health = await self._amperio.health(self._anchor())
        except SiteError as error:
            self._watch_backoff = self._watch_backoff.failed()
            now = self._clock.now()
            if before.reachable or before.since is None:
                log.warning("middleware_lost", error=str(error))
            since = before.since if not before.reachable and before.since is not None else now.at
            self._board.middleware = MiddlewareView(
                reachable=False, since=since, health=None, last_error=str(error)[:300], checked_at=now.at
            )
            for core in self._platform.cores.values():
                core.on_link(now, up=False)
            return
        self._watch_backoff = self._watch_backoff.cleared()
        now = self._clock.now()
        if not before.reachable:
            log.info("middleware_back" if before.since is not None else "middleware_found", health=health.status)
        self._board.middleware = MiddlewareView(
            reachable=True,
            since=before.since if before.reachable else now.at,
            health=health.status,
            last_error=None,
            checked_at=now.at,
        )
        for core in self._platform.cores.values():
            core.on_link(now, up=True)

    def _anchor(self) -> str:
        """Once a minute the audit log's head is told elsewhere: the id under which the middleware keeps it, or none."""
        now, head = self._clock.now(), self._platform.store.audit.head
        if now.s - self._anchored_s < EVERY_S or head.seq == 0:
            return ""
        self._anchored_s = now.s
        try:
            self._platform.anchors.add(head)
        except StoreFailed as error:
            log.warning("anchor_not_kept", error=str(error))
        log.info("audit_anchored", seq=head.seq, digest=head.digest)
        return head.request_id

    async def _tick_alarms(self, now: Moment) -> None:
        alerts, view = self._platform.alerts, self._board.middleware
        silent = not view.reachable and view.checked_at is not None
        turn = self._alarm("middleware_silent", None).tick(now, failing=silent)
        text = f"Amperio does not answer: {view.last_error or 'no answer'}; commands wait, the site runs on its own"
        await alerts.turn(turn, "middleware_silent", None, text)
        for site_id in self._platform.cores:
            board = self._board.site(site_id)
            latest = board.latest.sample.timestamp if board.latest else None
            age_s = (now.at - latest).total_seconds() if latest is not None else float("inf")
            turn = self._alarm("telemetry_silent", site_id).tick(now, failing=age_s > SILENT_AFTER_S)
            seen = f"for {age_s:.0f} s" if latest is not None else "since the platform was started"
            await alerts.turn(turn, "telemetry_silent", site_id, f"no live sample of {site_id} {seen}")

    def _alarm(self, code: str, site_id: str | None) -> Alarm:
        key = f"{code}/{site_id}"
        if key not in self._alarms:
            self._alarms[key] = self._platform.alerts.alarm(code, site_id)
        return self._alarms[key]

    # ---- new sites ---------------------------------------------------------------------------------------------------

    async def inviting(self) -> None:
        """Look for sites that a person has added."""
        tried: set[str] = set()
        while True:
            files = {key: each for key, each in self._inbox.sites().items() if key not in self._platform.sites}
            for site_id, path in files.items():
                if site_id in tried:
                    continue
                tried.add(site_id)
                try:
                    await take_sites(self._platform.store, {site_id: path}, self._clock.now().at)
                except BadInput as error:
                    log.warning("site_not_added", site_id=site_id, error=str(error))
            if files:
                await self._platform.look_for_sites()
            await asyncio.sleep(INBOX_EVERY_REAL_S)

    # ---- housekeeping -----------------------------------------------------------------------------------------------

    async def housekeeping(self) -> None:
        """Pack hours that are over. Retention: samples for a month, minute means for a year, quarter hours for ever."""
        while True:
            now = self._clock.now().at
            try:
                while await self._platform.store.packing.pack_due(now) >= HOURS_AT_ONCE:
                    pass
                await self._platform.store.telemetry.forget(now - self._platform.raw_kept)
                await self._platform.store.telemetry.forget(now - self._platform.raw_kept * 12, resolution_s=60)
                await self._platform.store.journal.forget(now - self._platform.raw_kept * 12)
            except StoreFailed as error:
                log.warning("housekeeping_failed", error=str(error))
            await self._clock.sleep(HOUSEKEEPING_EVERY_S)


def _retry_after_s(error: SiteError) -> float:
    given = error.facts.get("retry_after_s")
    return float(given) if isinstance(given, int | float) else 0.0
