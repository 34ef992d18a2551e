"""Everything the dashboards know of one site at one instant; the web layer gathers it, the views read it."""

from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from shared.contract.config import SiteConfig
from shared.contract.events import SiteStatus
from shared.contract.reads import Alert, CommandRecord, LatestTelemetry
from shared.contract.schedule import SiteSchedule


class LinkState(StrEnum):
    """What is known of a connection."""

    UP = "up"
    DEGRADED = "degraded"
    DOWN = "down"
    UNKNOWN = "unknown"


class Link(Struct, frozen=True, kw_only=True):
    """One connection of the chain; `age_s` is the age of the last good exchange, in clock seconds."""

    name: str
    label: str
    state: LinkState
    detail: str = ""
    age_s: float | None = None


class IntentFacts(Struct, frozen=True, kw_only=True):
    """What the gates want this second, and which gate said so."""

    setpoint_kw: float | None
    reason: str
    gate: str
    detail: str = ""


class SiteFacts(Struct, frozen=True, kw_only=True):
    """The newest of everything; None where nothing was ever received."""

    site_id: str
    name: str
    at: datetime
    speed: float
    latest: LatestTelemetry | None = None
    status: SiteStatus | None = None
    config: SiteConfig | None = None
    schedule: SiteSchedule | None = None
    commands: tuple[CommandRecord, ...] = ()
    alerts: tuple[Alert, ...] = ()
    intent: IntentFacts | None = None
    price_eur_per_mwh: float | None = None
    applied_config_version: int | None = None
    middleware: Link | None = None
    modbus: Link | None = None
    balance_alarm: str | None = None
