"""One site's dispatching as one object: samples, plans and answers go in, one step a second comes out (pure).

A shell drives it, whether that is the platform with its sockets or a simulation that plays a day in seconds:

    core.on_sample(now, sample)             each live sample
    core.on_schedule(now, schedule)         each new plan
    step = core.step(now)                   once a second, then carry out step.orders and report with core.on_...
"""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from services.enexa.dispatching.dispatcher import Dispatcher, Limits, Orders
from services.enexa.dispatching.gates import Intent, View, decide
from services.enexa.dispatching.ledger import Ledger
from services.enexa.dispatching.reconcile import Reconciliation, StepName
from services.enexa.dispatching.triggers import Trigger, Triggers, expected_soc_pct, slot_index
from shared.contract.config import SiteConfig
from shared.contract.dispatch import CommandStatus, DispatchAck, DispatchRecord
from shared.contract.reads import CommandRecord, SiteState
from shared.contract.schedule import ScheduleSlot, SiteSchedule
from shared.contract.telemetry import Telemetry
from shared.moment import Moment

OUTAGE_AFTER_S = 20.0
"""A link that was silent for longer is reconciled before anything is sent."""
SILENCE_AFTER_S = 60.0
"""Telemetry that was missing for longer is reconciled as well."""
STATE_EVERY_S = 5.0
NOTHING_TO_SAY = frozenset({"operator", "not_ours"})
"""Gates that leave the site to itself for good reason; a missing sample or plan is waited for instead."""


class Step(Struct, frozen=True, kw_only=True):
    """What one second brought: exchanges to carry out, a plan to make, records and facts to keep."""

    orders: Orders
    intent: Intent
    fetch_state: bool = False
    replan: Trigger | None = None
    changed: tuple[CommandRecord, ...] = ()
    reconciliation_changed: bool = False


class SiteCore:
    """Everything that dispatching knows of one site."""

    def __init__(self, config: SiteConfig, *, epoch: int, resume: Sequence[CommandRecord] = ()) -> None:
        self.site_id = config.site_id
        self.config = config
        self.ledger = Ledger()
        self.triggers = Triggers()
        self.schedule: SiteSchedule | None = None
        self.latest: Telemetry | None = None
        self.reconciliation: Reconciliation | None = None
        self._dispatcher = Dispatcher(config.site_id, epoch=epoch, ledger=self.ledger)
        self._epoch = epoch
        self._resume: tuple[CommandRecord, ...] | None = tuple(resume)
        self._limits_version: int | None = None
        self._down_since: Moment | None = None
        self._state_asked_s = float("-inf")
        self._reconciliations = 0
        self._plan_asked_for: str | None = None

    # ---- what comes in ----------------------------------------------------------------------------------------------

    def on_sample(self, now: Moment, sample: Telemetry) -> bool:
        """A sample; False where it is history and not news."""
        if self.latest is not None and sample.timestamp <= self.latest.timestamp:
            if self.reconciliation is not None:
                self.reconciliation.replayed(1)
            return False
        before, self.latest = self.latest, sample
        if before is not None:
            self._after_silence(now, (sample.timestamp - before.timestamp).total_seconds())
        self.ledger.saw(now, sample)
        self.triggers.saw(now, sample, self.config, self.schedule)
        return True

    def on_schedule(self, now: Moment, schedule: SiteSchedule) -> None:
        self.schedule = schedule
        if self.reconciliation is not None:
            self.reconciliation.planned(now, schedule.version)

    def on_config(self, config: SiteConfig) -> None:
        self.config = config
        self.triggers.ask(Trigger.CONFIG)

    def on_ack(self, now: Moment, ack: DispatchAck) -> None:
        self._link_up(now)
        self._dispatcher.on_ack(now, ack)

    def on_refused(self, now: Moment, command_id: str, code: str, sentence: str) -> None:
        self._link_up(now)
        self._dispatcher.on_refused(now, command_id, code, sentence)

    def on_send_failed(self, now: Moment, command_id: str, *, jitter: float = 0.0) -> None:
        """No answer to a command: it is unknown whether it arrived."""
        self._link_down(now)
        self._dispatcher.on_lost(now, command_id, jitter=jitter)

    def on_busy(
        self, now: Moment, command_id: str, sentence: str, *, retry_after_s: float = 0.0, jitter: float = 0.0
    ) -> None:
        self._link_up(now)
        self._dispatcher.on_busy(now, command_id, sentence, retry_after_s=retry_after_s, jitter=jitter)

    def on_told(self, now: Moment, command_id: str, record: DispatchRecord | None) -> None:
        self._link_up(now)
        self._dispatcher.on_told(now, command_id, record)

    def on_ask_failed(self, now: Moment, command_id: str, *, retry_after_s: float = 0.0, jitter: float = 0.0) -> None:
        self._link_down(now)
        self._dispatcher.on_ask_failed(now, command_id, retry_after_s=retry_after_s, jitter=jitter)

    def on_state(self, now: Moment, state: SiteState) -> None:
        """What the middleware sees now, fetched after an outage."""
        self._link_up(now)
        seen = state.telemetry
        if seen is not None:
            self.on_sample(now, seen)
        if self.reconciliation is not None:
            self.reconciliation.state_known(now, seen.battery.soc_pct if seen is not None else None)

    def on_link(self, now: Moment, *, up: bool) -> None:
        """What the watch on the middleware's health found."""
        if up:
            self._link_up(now)
        else:
            self._link_down(now)

    def begin_reconciliation(self, now: Moment, cause: str, outage_s: float | None) -> Reconciliation:
        """Start the four steps; one that is still running is interrupted."""
        if self.reconciliation is not None:
            self.reconciliation.interrupt(now, "a new reconnection began")
        self._reconciliations += 1
        self.reconciliation = Reconciliation(
            now,
            record_id=f"{self.site_id}-{self._epoch}-r{self._reconciliations}",
            site_id=self.site_id,
            cause=cause,
            outage_s=outage_s,
            expected_soc_pct=self._expected_soc_pct(now),
        )
        self._state_asked_s = float("-inf")
        return self.reconciliation

    # ---- what comes out ---------------------------------------------------------------------------------------------

    def step(self, now: Moment, *, exchange_free: bool = True) -> Step:
        """Look, decide, act; nothing changes between look and act.

        `exchange_free` False while the last exchange is in the air: then nothing is ordered, for an order that nobody
        carries out would be waited for without end.
        """
        self._resume_once(now)
        self.ledger.tick(now)
        intent = decide(self.view(now))
        version = self.schedule.version if self.schedule is not None else None
        self._ask_for_limits(now)
        self._dispatcher.wish(now, intent, version)
        fetch_state = self._reconcile(now, intent, may_fetch=exchange_free)
        holds = self.reconciliation is not None and self.reconciliation.holds_commands_back
        orders = self._dispatcher.next(now, intent, version, may_send=not holds) if exchange_free else Orders()
        trigger = self.triggers.due(now) if self.config.planner.enabled else None
        changed = tuple(self.ledger.take_changed())
        self._note_verified(now, changed)
        return Step(
            orders=orders,
            intent=intent,
            fetch_state=fetch_state,
            replan=trigger if self.latest is not None else None,
            changed=changed,
            reconciliation_changed=self.reconciliation is not None and self.reconciliation.take_changed(),
        )

    def view(self, now: Moment) -> View:
        """What the gates look at in this second."""
        slot, ends_at = self._slot(now)
        sample = self.latest
        return View(
            at=now.at,
            config=self.config,
            slot=slot,
            slot_ends_at=ends_at,
            sample=sample,
            sample_age_s=(now.at - sample.timestamp).total_seconds() if sample is not None else float("inf"),
        )

    # ---- inside -----------------------------------------------------------------------------------------------------

    def _expected_soc_pct(self, now: Moment) -> float | None:
        """What the plan expects now; in its first slot, and without a plan, what was seen last."""
        planned = expected_soc_pct(self.schedule, now) if self.schedule is not None else None
        if planned is not None:
            return planned
        return self.latest.battery.soc_pct if self.latest is not None else None

    def _slot(self, now: Moment) -> tuple[ScheduleSlot | None, datetime | None]:
        schedule = self.schedule
        if schedule is None or not schedule.valid_from <= now.at < schedule.valid_until:
            return None, None
        index = slot_index(schedule, now)
        if index is None:
            return None, None
        following = schedule.slots[index + 1].start if index + 1 < len(schedule.slots) else schedule.valid_until
        return schedule.slots[index], following

    def _resume_once(self, now: Moment) -> None:
        if self._resume is None:
            return
        self.ledger.resume(now, self._resume)
        if self._resume or self.schedule is not None:
            silent_s = (now.at - self.latest.timestamp).total_seconds() if self.latest is not None else None
            self.begin_reconciliation(now, "the platform was restarted", silent_s)
        self._resume = None

    def _ask_for_limits(self, now: Moment) -> None:
        """Limits follow the configuration; the middleware gets each version's once."""
        if self._limits_version == self.config.version or self.latest is None:
            return
        self._limits_version = self.config.version
        limits = Limits(
            import_kw=self.config.grid.import_limit_kw,
            reserve_pct=self.config.battery.soc_reserve_pct,
            max_pct=self.config.battery.soc_max_pct,
        )
        self._dispatcher.limit(now, limits, f"configuration {self.config.version}")

    def _reconcile(self, now: Moment, intent: Intent, *, may_fetch: bool) -> bool:
        """Move the procedure on; True where the middleware's state must be fetched."""
        running = self.reconciliation
        if running is None or running.step is None:
            return False
        if self._down_since is None:
            running.tick(now)
        if running.step is StepName.REPLAN:
            self._want_plan(running)
        if running.step is StepName.REDISPATCH and intent.gate in NOTHING_TO_SAY:
            running.nothing_to_dispatch(now, intent.detail)
        if running.step is not StepName.STATE_SYNC or not may_fetch or now.s - self._state_asked_s < STATE_EVERY_S:
            return False
        self._state_asked_s = now.s
        return True

    def _want_plan(self, running: Reconciliation) -> None:
        if not self.config.planner.enabled:
            return
        if running.view.record_id != self._plan_asked_for:
            self._plan_asked_for = running.view.record_id
            self.triggers.ask(Trigger.RECONNECTION)

    def _note_verified(self, now: Moment, changed: Sequence[CommandRecord]) -> None:
        if self.reconciliation is None:
            return
        for record in changed:
            if record.status is CommandStatus.VERIFIED and record.requested_kw is not None:
                self.reconciliation.verified(now, record.command_id)

    def _after_silence(self, now: Moment, silent_s: float) -> None:
        """The other direction may fail alone: commands arrive, telemetry does not. Its end is reconciled too."""
        running = self.reconciliation
        if silent_s < SILENCE_AFTER_S or (running is not None and running.holds_commands_back):
            return
        if self._resume is None and self._down_since is None:
            self.begin_reconciliation(now, "telemetry is back", silent_s)

    def _link_up(self, now: Moment) -> None:
        down, self._down_since = self._down_since, None
        if down is None:
            return
        outage_s = now.since(down)
        self._dispatcher.on_link_back()
        if outage_s >= OUTAGE_AFTER_S:
            self.begin_reconciliation(now, "the middleware answers again", outage_s)

    def _link_down(self, now: Moment) -> None:
        if self._down_since is None:
            self._down_since = now
        if self.reconciliation is not None and now.since(self._down_since) >= OUTAGE_AFTER_S:
            self.reconciliation.interrupt(now, "the middleware is silent again")
