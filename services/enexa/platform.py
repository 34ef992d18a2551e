"""The platform as one object: what the API and the loops share, and every change that either of them may make.

It holds the store (the past), the board (the present) and one pure `SiteCore` for each site (the next second). All of
it lives on one event loop.
"""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import msgspec
import structlog
from msgspec import Struct

from services.enexa.acceptance import NEWEST, ReadBatch, refusal_of
from services.enexa.alerts import AlertBook
from services.enexa.dispatching.core import SiteCore
from services.enexa.dispatching.reconcile import ReconcileView, ended_by_restart
from services.enexa.dispatching.triggers import Trigger
from services.enexa.insight.balance import BalanceWatch
from services.enexa.messengers import Messenger
from services.enexa.pricing import PriceSource
from services.enexa.registry.assets import AssetRecord, ControllerRecord, SiteRecord
from services.enexa.registry.configs import changes, document_of, next_version
from services.enexa.state import Board, PlanMade, PlanReport
from services.enexa.store.anchors import Anchors
from services.enexa.store.journal import EventsKept
from services.enexa.store.store import Store
from services.enexa.store.telemetry import NO_EPOCH, Ingest, Stored
from shared.clock import Clock
from shared.contract.config import ConfigAck, ConfigDocument, SiteConfig
from shared.contract.dispatch import CommandStatus
from shared.contract.events import Event, Severity, SiteStatus
from shared.contract.telemetry import Gap, Rejected, Telemetry
from shared.errors import Conflict, NotFound, SiteError, UnknownController, UnknownSite
from shared.moment import Moment, moment_at

RECENT = timedelta(minutes=30)
ANCHORS = "audit_anchors.jsonl"
"""The file in the data directory that `enexa audit verify` holds against the log."""
UNFINISHED = (
    CommandStatus.PLANNED,
    CommandStatus.SENT,
    CommandStatus.UNKNOWN,
    CommandStatus.ACKNOWLEDGED,
    CommandStatus.APPLIED,
)

log = structlog.get_logger()


class BatchOutcome(Struct, frozen=True, kw_only=True):
    stored: Stored
    rejected: tuple[Rejected, ...]


class Platform:
    """Everything but the loops, the routes and the pages."""

    def __init__(
        self,
        *,
        clock: Clock,
        store: Store,
        prices: PriceSource,
        messengers: Sequence[Messenger] = (),
        raw_days: float = 31.0,
        data_dir: Path = Path(),
    ) -> None:
        self.clock = clock
        self.store = store
        self.prices = prices
        self.board = Board()
        self.alerts = AlertBook(store, self.board, clock, messengers)
        self.cores: dict[str, SiteCore] = {}
        self.sites: dict[str, SiteRecord] = {}
        self.assets: list[AssetRecord] = []
        self.controllers: dict[str, ControllerRecord] = {}
        self.names: dict[str, str] = {}
        self._balances: dict[str, BalanceWatch] = {}
        self.raw_kept = timedelta(days=raw_days)
        self.anchors = Anchors(data_dir / ANCHORS)
        self.epoch = 0
        self.ready = False

    async def load(self) -> None:
        """Bring the present back from the store; called once, before anything is served."""
        self.epoch = await self.store.master.next_number("platform_epoch")
        await self.alerts.load()
        self.assets = await self.store.master.assets()
        for controller in await self.store.master.controllers():
            self.controllers[controller.id] = controller
        for site in await self.store.master.sites():
            await self._load_site(site)
        self.ready = True

    # ---- ingest -----------------------------------------------------------------------------------------------------

    async def keep_sample(self, sample: Telemetry, now: Moment) -> Stored:
        """One live sample: stored, then shown; OutOfBounds is the caller's business."""
        stored = await self.store.telemetry.keep(
            Ingest(
                site_id=sample.site_id,
                epoch=(sample.stream_epoch or NO_EPOCH) if sample.sequence is not None else NO_EPOCH,
                samples=(sample,),
                gaps=(),
                received_at=now.at,
            )
        )
        await self._show(stored.fresh, now)
        return stored

    async def keep_batch(self, batch: ReadBatch, now: Moment) -> BatchOutcome:
        """Samples after an outage: the good ones are stored, the others named; both count as accounted for."""
        good: list[Telemetry] = []
        rejected = list(batch.unreadable)
        for sample in sorted(batch.samples, key=lambda each: each.sequence or 0):
            code = refusal_of(sample, batch.site_id, batch.stream_epoch, now)
            if code is None:
                good.append(sample)
            elif sample.sequence is not None:
                rejected.append(Rejected(sequence=sample.sequence, code=code))
        refused = [
            Gap(from_sequence=each.sequence, to_sequence=each.sequence, reason=f"rejected: {each.code}")
            for each in rejected
        ]
        stored = await self.store.telemetry.keep(
            Ingest(
                site_id=batch.site_id,
                epoch=batch.stream_epoch,
                samples=tuple(good),
                gaps=(*batch.gaps, *refused),
                received_at=now.at,
            )
        )
        await self._show(stored.fresh, now)
        return BatchOutcome(stored=stored, rejected=tuple(sorted(rejected, key=lambda each: each.sequence)))

    async def keep_events(self, events: Sequence[Event]) -> EventsKept:
        kept = await self.store.journal.add_events(events)
        for event in kept.fresh:
            self.board.site(event.site_id).happened(event)
        return kept

    async def keep_status(self, status: SiteStatus, now: Moment) -> None:
        at = status.timestamp or now.at
        self.board.site(status.site_id).heard_at = now.at
        await self.store.journal.add_status(status, at)
        self.board.site(status.site_id).reported(status, at)

    # ---- configuration ----------------------------------------------------------------------------------------------

    def site(self, site_id: str) -> SiteRecord:
        known = self.sites.get(site_id)
        if known is None:
            raise UnknownSite("no such site", site_id=site_id)
        return known

    def config(self, site_id: str) -> SiteConfig:
        self.site(site_id)
        return self.cores[site_id].config

    def controller(self, controller_id: str) -> ControllerRecord:
        known = self.controllers.get(controller_id)
        if known is None:
            raise UnknownController("no such controller")
        return known

    async def put_config(
        self, site_id: str, document: ConfigDocument, *, if_match: str | None, author: str
    ) -> SiteConfig:
        """A new version in force; LostUpdate, InvalidMessage or OutOfBounds where it cannot be."""
        current = self.config(site_id)
        made = next_version(current, document, if_match=if_match, at=self.clock.now().at, author=author)
        await self.store.master.add_config(made)
        self._in_force(made)
        log.info(
            "config_changed",
            site_id=site_id,
            version=made.version,
            author=author,
            fields=[each.field for each in changes(current, made)][:20],
        )
        return made

    async def config_version(self, site_id: str, version: int) -> SiteConfig:
        """One version, old or in force; NotFound where there is none of this number."""
        self.site(site_id)
        found = await self.store.master.config_versions(site_id, limit=1, below_version=version + 1)
        if not found or found[0].version != version:
            raise NotFound("no such version", version=version)
        return found[0]

    async def roll_back(self, site_id: str, version: int, *, if_match: str | None, author: str) -> SiteConfig:
        """An old version in force again, under a new number."""
        old = await self.config_version(site_id, version)
        return await self.put_config(site_id, document_of(old), if_match=if_match, author=author)

    async def ack_config(self, ack: ConfigAck) -> int | None:
        """The middleware's word on a version; answers the version that is applied as far as is known."""
        current = self.config(ack.site_id)
        if ack.version > current.version:
            raise Conflict("this version does not exist", version=ack.version, current_version=current.version)
        board = self.board.site(ack.site_id)
        applied = board.applied_config_version
        if applied is not None and ack.version < applied and ack.status == "applied":
            raise Conflict("a newer version was applied already", version=ack.version, applied_version=applied)
        await self.store.master.add_config_ack(ack)
        if ack.status == "applied":
            board.applied_config_version = ack.version
            await self.alerts.clear("config_rejected", ack.site_id)
        else:
            await self.alerts.raise_alert(
                "config_rejected",
                ack.site_id,
                f"the middleware rejected configuration {ack.version}: {ack.reason or 'no reason given'}",
                Severity.WARNING,
            )
        return board.applied_config_version

    async def store_works(self) -> tuple[bool, str]:
        """Whether the store answers, and what it says if not."""
        try:
            await self.store.ping()
        except SiteError as error:
            return False, error.sentence[:200]
        return True, ""

    def why_no_plan(self, site_id: str, now: Moment) -> str:
        """What stands in the way of a plan, in a sentence; empty where there is one."""
        if self.has_plan(site_id, now):
            return ""
        failed = self.alerts.find("plan_failed", site_id)
        if failed is not None:
            return failed.text
        if self.board.site(site_id).latest is None:
            return "nothing to plan from: no sample was received yet"
        return "the last plan has run out" if self.cores[site_id].schedule is not None else "no plan was made yet"

    def has_plan(self, site_id: str, now: Moment) -> bool:
        schedule = self.cores[site_id].schedule
        return schedule is not None and now.at < schedule.valid_until

    # ---- planning ---------------------------------------------------------------------------------------------------

    def ask_replan(self, site_id: str, trigger: Trigger = Trigger.OPERATOR) -> None:
        self.site(site_id)
        self.cores[site_id].triggers.ask(trigger)

    async def plan_made(self, made: PlanMade, now: Moment) -> None:
        """A new schedule in force: stored first, then followed."""
        schedule = made.schedule
        report = msgspec.json.encode(made.plan) if made.plan is not None else None
        await self.store.journal.add_schedule(schedule, trigger=made.trigger, plan=report)
        self.board.site(schedule.site_id).planned(made)
        self.cores[schedule.site_id].on_schedule(now, schedule)

    # ---- inside -----------------------------------------------------------------------------------------------------

    async def _show(self, fresh: Sequence[Telemetry], now: Moment) -> None:
        """Live samples become the present; history only counts as replayed."""
        for sample in fresh:
            core = self.cores.get(sample.site_id)
            if core is not None and core.on_sample(now, sample):
                self.board.site(sample.site_id).saw(sample, now.at)
                await self._watch_balance(sample)

    async def _watch_balance(self, sample: Telemetry) -> None:
        """A balance that stays open is an alert: a wrong sign or a meter that lies."""
        site_id = sample.site_id
        watch = self._balances.get(site_id)
        if watch is None:
            watch = self._balances[site_id] = BalanceWatch()
            watch.raised = self.alerts.find("balance_open", site_id) is not None
        turn = watch.step(moment_at(sample.timestamp, sample.timestamp.timestamp()), sample)
        if turn is not None and turn.raised:
            await self.alerts.raise_alert("balance_open", site_id, turn.sentence, Severity.WARNING)
        elif turn is not None:
            await self.alerts.clear("balance_open", site_id)

    def _in_force(self, config: SiteConfig) -> None:
        self.cores[config.site_id].on_config(config)
        self.board.site(config.site_id).reconfigured(config)

    async def adopt(self, controller: ControllerRecord) -> None:
        """A new controller takes over what has none at its site."""
        await self.store.master.assign_assets(controller.site_id, controller.id)
        self.assets = await self.store.master.assets()
        self.controllers[controller.id] = controller

    async def look_for_sites(self) -> None:
        """Sites that were put into the store since."""
        for site in await self.store.master.sites():
            if site.id not in self.sites:
                self.assets = await self.store.master.assets()
                await self._load_site(site)
                log.info("site_added", site_id=site.id)

    async def _load_site(self, site: SiteRecord) -> None:
        config = await self.store.master.current_config(site.id)
        assert config is not None, "a site never exists without a configuration"
        board = self.board.site(site.id)
        unfinished = await self.store.journal.commands(site.id, limit=1000, statuses_=UNFINISHED)
        core = SiteCore(config, epoch=self.epoch, resume=unfinished[::-1])
        self.sites[site.id], self.names[site.id], self.cores[site.id] = site, site.name, core
        board.config = config
        await self._load_past(site.id, core)

    async def _load_past(self, site_id: str, core: SiteCore) -> None:
        now = self.clock.now()
        board = self.board.site(site_id)
        applied = [each.version for each in await self.store.master.config_acks(site_id) if each.status == "applied"]
        board.applied_config_version = max(applied, default=None)
        for record in reversed(await self.store.journal.commands(site_id, limit=100)):
            board.commanded(record)
        for event in reversed(await self.store.journal.events(site_id, limit=100)):
            board.happened(event)
        await self._load_reconciliation(site_id, now)
        newest = await self.store.journal.newest_plan(site_id)
        if newest is not None and newest[0].valid_until > now.at:
            schedule, report, trigger = newest
            plan = msgspec.json.decode(report, type=PlanReport) if report is not None else None
            board.planned(PlanMade(schedule=schedule, plan=plan, trigger=trigger))
            core.schedule = schedule
        latest = await self.store.telemetry.latest(site_id)
        if latest is not None and latest[0].timestamp <= now.at + NEWEST:
            for sample in await self.store.telemetry.raw(site_id, latest[0].timestamp - RECENT, latest[0].timestamp):
                board.saw(sample, latest[1])
            board.saw(*latest)
            core.latest = latest[0]

    async def _load_reconciliation(self, site_id: str, now: Moment) -> None:
        """The newest one is shown; where it had not ended, it ends here, and the site's core begins another."""
        known = await self.store.journal.reconciliations(site_id, limit=1)
        if not known:
            return
        view = msgspec.json.decode(known[0], type=ReconcileView)
        if view.finished_at is None:
            view = ended_by_restart(view, now)
            await self.keep_reconciliation(view)
        self.board.site(site_id).reconciliation = view

    async def keep_reconciliation(self, view: ReconcileView) -> None:
        body = msgspec.json.encode(view)
        await self.store.journal.save_reconciliation(view.record_id, view.site_id, view.started_at, body)
