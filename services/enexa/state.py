"""What the platform knows right now, in memory: one board per site, read by pages, streams and loops.

The store is the truth of the past; the board is the truth of this second. Loops write it, everybody reads it, and each
write is told to the hub. All of it lives on one event loop, so there are no locks.
"""

from collections import OrderedDict, deque
from datetime import datetime

import msgspec
from msgspec import Struct

from services.enexa.dispatching.reconcile import ReconcileView
from services.enexa.hub import Hub, Notice
from services.enexa.market.prices import PriceSeries
from shared.contract.config import SiteConfig
from shared.contract.dispatch import CommandStatus
from shared.contract.events import Event, SiteStatus
from shared.contract.reads import Alert, CommandRecord
from shared.contract.schedule import SiteSchedule
from shared.contract.telemetry import Telemetry
from shared.moment import Moment

RECENT_SAMPLES = 1800
RECENT_COMMANDS = 300
RECENT_EVENTS = 200
RECENT_PLANS = 24

FINAL = frozenset(
    {
        CommandStatus.VERIFIED,
        CommandStatus.REJECTED,
        CommandStatus.FAILED,
        CommandStatus.SUPERSEDED,
        CommandStatus.EXPIRED,
    }
)


class Received(Struct, frozen=True, kw_only=True):
    """A sample and when it became known."""

    sample: Telemetry
    received_at: datetime


class PlanReport(Struct, frozen=True, kw_only=True):
    """What is worth knowing about how a plan came to be; `explanations` has one sentence per slot.

    The planner's own `Plan` stays in the worker process, with the solver that its module loads.
    """

    explanations: tuple[str, ...] = ()
    price_published: tuple[bool, ...] = ()
    costs_eur: dict[str, float] = {}
    breaches: tuple[str, ...] = ()
    gap_eur: float = 0.0
    solve_s: float = 0.0
    method: str = ""
    scenario_count: int = 0


class PlanMade(Struct, frozen=True, kw_only=True):
    """A plan in force: as the contract shows it, and with its costs and explanations."""

    schedule: SiteSchedule
    plan: PlanReport | None
    trigger: str


class IntentView(Struct, frozen=True, kw_only=True):
    """What the gates want this second, and which gate said so."""

    at: datetime
    setpoint_kw: float | None
    reason: str
    gate: str
    detail: str = ""


class MiddlewareView(Struct, frozen=True, kw_only=True):
    """How Enexa sees Amperio: the last answer, since when it is silent, and its own word on its health."""

    reachable: bool = False
    since: datetime | None = None
    health: str | None = None
    last_error: str | None = None
    checked_at: datetime | None = None


class SiteBoard:
    """The present of one site. Attributes are for reading; the methods are for the loops that own them."""

    def __init__(self, site_id: str, hub: Hub) -> None:
        self.site_id = site_id
        self.config: SiteConfig | None = None
        self.applied_config_version: int | None = None
        self.latest: Received | None = None
        self.recent: deque[Telemetry] = deque(maxlen=RECENT_SAMPLES)
        self.status: SiteStatus | None = None
        self.status_at: datetime | None = None
        self.heard_at: datetime | None = None
        self.plan: PlanMade | None = None
        self.past_plans: deque[PlanMade] = deque(maxlen=RECENT_PLANS)
        self.prices: PriceSeries | None = None
        self.intent: IntentView | None = None
        self.commands: OrderedDict[str, CommandRecord] = OrderedDict()
        self.events: deque[Event] = deque(maxlen=RECENT_EVENTS)
        self.reconciliation: ReconcileView | None = None
        self._hub = hub

    # ---- written by ingest ------------------------------------------------------------------------------------------

    def saw(self, sample: Telemetry, received_at: datetime) -> bool:
        """Take a live sample; False where it is not newer than the newest one: history never becomes 'now'."""
        if self.latest is not None and sample.timestamp <= self.latest.sample.timestamp:
            return False
        self.latest = Received(sample=sample, received_at=received_at)
        self.recent.append(sample)
        self._tell("sample", sample)
        return True

    def reported(self, status: SiteStatus, at: datetime) -> bool:
        """Take a status report; False where a newer one is already known."""
        stamp = status.timestamp or at
        if self.status_at is not None and stamp < self.status_at:
            return False
        self.status, self.status_at = status, stamp
        self._tell("status", status)
        return True

    def happened(self, event: Event) -> None:
        self.events.append(event)
        self._tell("event", event)

    # ---- written by planning and dispatching ------------------------------------------------------------------------

    def planned(self, made: PlanMade) -> None:
        """A new plan; the one before is kept as a ghost."""
        if self.plan is not None:
            self.past_plans.append(self.plan)
        self.plan = made
        self._tell("plan", made.schedule)

    def intends(self, intent: IntentView) -> None:
        """What the gates want now; told on change only."""
        before = self.intent
        self.intent = intent
        if before is None or (before.setpoint_kw, before.reason) != (intent.setpoint_kw, intent.reason):
            self._tell("intent", intent)

    def commanded(self, record: CommandRecord) -> None:
        """A line of the dispatch log is new or has changed."""
        self.commands[record.command_id] = record
        while len(self.commands) > RECENT_COMMANDS:
            self.commands.popitem(last=False)
        self._tell("command", record)

    def reconfigured(self, config: SiteConfig) -> None:
        self.config = config
        self._tell("config", config)

    def reconciled(self, record: ReconcileView) -> None:
        self.reconciliation = record
        self._tell("reconciliation", record)

    # ---- read by pages ----------------------------------------------------------------------------------------------

    def online(self, now: Moment, stale_after_s: float = 15.0) -> bool:
        """Whether a live sample is recent by clock time."""
        return self.latest is not None and (now.at - self.latest.sample.timestamp).total_seconds() <= stale_after_s

    def dispatch_log(self, limit: int = 50) -> list[CommandRecord]:
        """The newest commands first."""
        return list(self.commands.values())[-limit:][::-1]

    def _tell(self, kind: str, body: Struct) -> None:
        if self._hub.watched(self.site_id):
            self._hub.publish(Notice(kind=kind, site_id=self.site_id, body=msgspec.json.encode(body)))


class Board:
    """All sites, the middleware, the open alerts, and the hub that tells of changes."""

    def __init__(self) -> None:
        self.hub = Hub()
        self.sites: dict[str, SiteBoard] = {}
        self.middleware = MiddlewareView()
        self.alerts: dict[str, Alert] = {}

    def site(self, site_id: str) -> SiteBoard:
        """The board of a known site; made on first use."""
        board = self.sites.get(site_id)
        if board is None:
            board = self.sites[site_id] = SiteBoard(site_id, self.hub)
        return board

    def alerted(self, alert: Alert) -> None:
        """An alert was raised or cleared; only open ones are kept here."""
        if alert.cleared_at is None:
            self.alerts[alert.alert_id] = alert
        else:
            self.alerts.pop(alert.alert_id, None)
        for site_id in self.sites if alert.site_id is None else (alert.site_id,):
            if self.hub.watched(site_id):
                self.hub.publish(Notice(kind="alert", site_id=site_id, body=msgspec.json.encode(alert)))

    def open_alerts(self, site_id: str | None = None) -> list[Alert]:
        """Open alerts of a site (and those of the platform), newest first; all of them where no site is named."""
        chosen = [alert for alert in self.alerts.values() if site_id is None or alert.site_id in (None, site_id)]
        return sorted(chosen, key=lambda alert: alert.raised_at, reverse=True)
