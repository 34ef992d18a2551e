"""Events: what happened once (sessions, faults, mode changes, alerts), and the status that a site reports of itself."""

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from shared.contract.config import Buffering
from shared.contract.telemetry import Mode
from shared.contract.wire import Count, Id, Instant, Message, Sequence, Text, Version

EVENTS_PER_CALL_MAX = 500


class EventKind(StrEnum):
    SESSION_STARTED = "session_started"
    SESSION_ENDED = "session_ended"
    FAULT_RAISED = "fault_raised"
    FAULT_CLEARED = "fault_cleared"
    MODE_CHANGED = "mode_changed"
    OPERATOR_ACTION = "operator_action"
    COMMAND_RESULT = "command_result"
    ALERT_RAISED = "alert_raised"
    ALERT_CLEARED = "alert_cleared"
    CONFIG_APPLIED = "config_applied"
    CONFIG_REJECTED = "config_rejected"
    WATCHDOG_TRIPPED = "watchdog_tripped"
    CONTROL_LOST = "control_lost"
    CONTROL_REGAINED = "control_regained"
    LINK_LOST = "link_lost"
    LINK_BACK = "link_back"
    SAMPLER_GAP = "sampler_gap"
    CLOCK_STEP = "clock_step"
    FOREIGN_WRITE = "foreign_write"


class Severity(StrEnum):
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class Event(Message, frozen=True, kw_only=True):
    """`event_id` makes it exactly-once; `sequence` orders the events of one site."""

    event_id: Id
    site_id: Id
    timestamp: Instant
    kind: EventKind
    severity: Severity = Severity.INFO
    sequence: Sequence | None = None
    text: Text = ""
    facts: Annotated[dict[str, str | int | float | bool | None], Meta(max_length=64)] = msgspec.field(
        default_factory=dict
    )


class EventBatch(Message, frozen=True, kw_only=True):
    """Events of one site in order; the reply confirms by id."""

    site_id: Id
    events: Annotated[tuple[Event, ...], Meta(min_length=1, max_length=EVENTS_PER_CALL_MAX)]


class EventAck(Message, frozen=True, kw_only=True):
    accepted: Count
    duplicates: Count = 0
    stored_through: Sequence | None = None


class SiteStatus(Message, frozen=True, kw_only=True):
    """What the middleware reports of a site every ten seconds; the page's example has only `site_id` and `online`."""

    site_id: Id
    online: bool
    timestamp: Instant | None = None
    mode: Mode | None = None
    firmware: Text | None = None
    config_version: Version | None = None
    buffer: Buffering | None = None
    detail: Text | None = None


class StatusAck(Message, frozen=True, kw_only=True):
    received: bool = True
