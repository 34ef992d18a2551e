"""What people and tools read: series, the dispatch log, impact, alerts, audit, and the middleware's own view."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from shared.contract.config import Buffering, EnergyBook
from shared.contract.dispatch import CommandStatus
from shared.contract.events import Severity
from shared.contract.telemetry import LimitedBy, Mode, Telemetry
from shared.contract.wire import Count, Eur, Id, Instant, Message, OneWayKw, Pct, PowerKw, Seconds, Text, Version

PageLimit = Annotated[int, Meta(ge=1, le=1000)]
SeriesLimit = Annotated[int, Meta(ge=1, le=10_000)]


class PageQuery(Message, frozen=True, kw_only=True):
    limit: PageLimit = 100
    cursor: Annotated[str, Meta(max_length=200)] | None = None


class SeriesQuery(Message, frozen=True, kw_only=True):
    """`from` <= time < `to`, at most 31 days; default the last hour."""

    from_: Instant | None = msgspec.field(name="from", default=None)
    to: Instant | None = None
    resolution: Literal["raw", "1m", "15m"] = "1m"
    limit: SeriesLimit = 5000
    cursor: Annotated[str, Meta(max_length=200)] | None = None


class PeriodQuery(Message, frozen=True, kw_only=True):
    from_: Instant | None = msgspec.field(name="from", default=None)
    to: Instant | None = None


class CommandsQuery(Message, frozen=True, kw_only=True):
    from_: Instant | None = msgspec.field(name="from", default=None)
    status: CommandStatus | None = None
    limit: PageLimit = 100
    cursor: Annotated[str, Meta(max_length=200)] | None = None


class LatestTelemetry(Message, frozen=True, kw_only=True):
    """The newest sample by its own time; `age_s` is clock time, so a stale one is seen to be stale."""

    sample: Telemetry
    age_s: float
    received_at: Instant


class Point(Message, frozen=True, kw_only=True):
    """One interval of a series; a mean over the samples in it. `samples` 0 never occurs: an empty interval is a gap."""

    at: Instant
    samples: Count = 1
    battery_kw: PowerKw | None = None
    grid_kw: PowerKw | None = None
    ev_kw: OneWayKw | None = None
    pv_kw: OneWayKw | None = None
    aux_kw: OneWayKw | None = None
    soc_pct: Pct | None = None


class SeriesGap(Message, frozen=True, kw_only=True):
    from_: Instant = msgspec.field(name="from")
    until: Instant
    reason: Text


class Series(Message, frozen=True, kw_only=True):
    site_id: Id
    resolution: Text
    points: tuple[Point, ...]
    gaps: tuple[SeriesGap, ...] = ()
    completeness_pct: Pct
    cursor: Text | None = None


class StatusChange(Message, frozen=True, kw_only=True):
    status: CommandStatus
    at: Instant
    note: Text = ""


class CommandRecord(Message, frozen=True, kw_only=True):
    """One line of the dispatch log: requested, applied and measured, with the way it took."""

    command_id: Id
    site_id: Id
    command: Text
    status: CommandStatus
    reason: Text
    planned_at: Instant
    valid_until: Instant
    requested_kw: PowerKw | None = None
    applied_kw: PowerKw | None = None
    measured_kw: PowerKw | None = None
    limited_by: tuple[LimitedBy, ...] = ()
    code: Text | None = None
    detail: Text | None = None
    schedule_version: Version | None = None
    slot_start: Instant | None = None
    attempts: Count = 0
    history: tuple[StatusChange, ...] = ()


class CommandPage(Message, frozen=True, kw_only=True):
    commands: tuple[CommandRecord, ...]
    cursor: Text | None = None


class Impact(Message, frozen=True, kw_only=True):
    """Savings over a period with their bounds; what is not known is null, never estimated silently.

    The three costs of the bounds are of one kind: energy, fees and wear less export up to `bounds_until`, with the
    energy left in the battery valued alike. Where they are null, `bounds_note` says why, or that they are computed now.
    """

    site_id: Id
    from_: Instant = msgspec.field(name="from")
    to: Instant
    coverage_pct: Pct
    energy: EnergyBook
    cost_eur: Eur
    flat_tariff_cost_eur: Eur
    wear_eur: Eur
    reactive_cost_eur: Eur | None = None
    actual_cost_eur: Eur | None = None
    perfect_cost_eur: Eur | None = None
    uplift_captured_pct: float | None = None
    bounds_until: Instant | None = None
    bounds_note: Text = ""
    peak_15min_kw: OneWayKw = 0.0
    sessions: Count = 0


class ReplanReply(Message, frozen=True, kw_only=True):
    accepted: bool
    reason: Text = "operator"


class Alert(Message, frozen=True, kw_only=True):
    alert_id: Id
    site_id: Id | None
    severity: Severity
    code: Text
    text: Text
    raised_at: Instant
    cleared_at: Instant | None = None


class AlertPage(Message, frozen=True, kw_only=True):
    alerts: tuple[Alert, ...]
    cursor: Text | None = None


class AuditEntry(Message, frozen=True, kw_only=True):
    """One API call; `digest` chains each entry to the one before, so that tampering shows."""

    seq: Count
    at: Instant
    source: Text
    principal: Text
    action: Text
    outcome: Text
    status: Annotated[int, Meta(ge=100, le=599)]
    latency_ms: float
    request_id: Text
    digest: Text


class AuditPage(Message, frozen=True, kw_only=True):
    entries: tuple[AuditEntry, ...]
    cursor: Text | None = None


class SiteState(Message, frozen=True, kw_only=True):
    """What the middleware sees now."""

    site_id: Id
    mode: Mode
    telemetry: Telemetry | None
    image_age_s: Seconds | None
    watchdog_s: Seconds | None
    buffer: Buffering
    active_command_id: Id | None = None
    config_version: Version | None = None
    schedule_version: Version | None = None
    schedule_valid_until: Instant | None = None
    link_up: bool = False


class MiddlewareSite(Message, frozen=True, kw_only=True):
    id: Id
    online: bool
    mode: Mode


class MiddlewareSites(Message, frozen=True, kw_only=True):
    sites: tuple[MiddlewareSite, ...]
    cursor: Text | None = None


class SiteHealth(Message, frozen=True, kw_only=True):
    site_id: Id
    modbus_up: bool
    last_read_age_s: Seconds | None
    pending_commands: Count
    mode: Mode


class Check(Message, frozen=True, kw_only=True):
    name: Text
    ok: bool
    detail: Text = ""


class Health(Message, frozen=True, kw_only=True):
    """Liveness and readiness without secrets; `degraded` still serves."""

    status: Literal["ok", "degraded", "unhealthy"]
    service: Text
    version: Text
    clock: Instant
    speed: float = 1.0
    checks: tuple[Check, ...] = ()
    sites: tuple[SiteHealth, ...] = ()
