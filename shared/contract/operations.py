"""The REST map: every operation of the page and of the contract, once; servers, clients, docs and tests read it."""

from enum import StrEnum
from typing import Any

from msgspec import Struct

from shared.contract.config import (
    ConfigAck,
    ConfigAckReply,
    ConfigAcks,
    ConfigDiff,
    ConfigDocument,
    ConfigVersion,
    ConfigVersions,
    ControllerConfig,
    DiffQuery,
    RollBack,
    SiteConfig,
)
from shared.contract.dispatch import DispatchAck, DispatchCommand, DispatchRecord, GridOperatorLimit
from shared.contract.events import EventAck, EventBatch, SiteStatus, StatusAck
from shared.contract.reads import (
    AlertPage,
    AuditPage,
    CommandPage,
    CommandRecord,
    CommandsQuery,
    Health,
    Impact,
    LatestTelemetry,
    MiddlewareSites,
    PageQuery,
    PeriodQuery,
    ReplanReply,
    Series,
    SeriesQuery,
    SiteState,
)
from shared.contract.registry import (
    Activate,
    Activated,
    Bootstrap,
    Controller,
    EquipmentSpecs,
    Firmware,
    FirmwareStatus,
    FirmwareStatusAck,
    RegisterController,
    Registered,
    RenewedKey,
    SiteAssets,
    SitePage,
)
from shared.contract.schedule import SiteSchedule
from shared.contract.telemetry import Telemetry, TelemetryAck, TelemetryBatch, TelemetryBatchAck
from shared.contract.tokens import TokenReply, TokenRequest


class Host(StrEnum):
    ENEXA = "enexa"
    AMPERIO = "amperio"


class Scope(StrEnum):
    """What a token may do. An operator may read whatever a viewer may."""

    MIDDLEWARE = "middleware"
    PLATFORM = "platform"
    OPERATOR = "operator"
    VIEWER = "viewer"
    ENROLMENT = "enrolment"


class Budget(StrEnum):
    """Rate limits are counted apart, so that telemetry cannot consume what commands need."""

    TELEMETRY = "telemetry"
    COMMAND = "command"
    GENERAL = "general"


KIB = 1024
READERS = frozenset({Scope.VIEWER, Scope.OPERATOR})
ANY_READER = frozenset({Scope.MIDDLEWARE, Scope.VIEWER, Scope.OPERATOR})
MIDDLEWARE = frozenset({Scope.MIDDLEWARE})
OPERATOR = frozenset({Scope.OPERATOR})
PUBLIC: frozenset[Scope] = frozenset()
CONFLICT = frozenset({409})
OPENAPI_TYPE = "application/vnd.oai.openapi+json"


class Operation(Struct, frozen=True, kw_only=True):
    """One line of the map. `scopes` empty = no token asked; `served` says whether a route exists in this release."""

    name: str
    host: Host
    method: str
    path: str
    summary: str
    scopes: frozenset[Scope]
    reply: Any = None
    request: Any = None
    query: Any = None
    status: int = 200
    body_limit_bytes: int = 64 * KIB
    budget: Budget = Budget.GENERAL
    idempotent: bool = False
    """Whether a caller may repeat it blindly after a lost reply."""
    served: bool = True
    media: str = "application/json"
    etag: bool = False
    """Whether it answers with an ETag and understands If-None-Match."""
    if_match: bool = False
    """Whether it demands If-Match."""
    refuses: frozenset[int] = frozenset()
    """Statuses beyond those that follow from the operation's shape."""


def _enexa(name: str, method: str, path: str, summary: str, scopes: frozenset[Scope], **rest: Any) -> Operation:
    return Operation(
        name=name,
        host=Host.ENEXA,
        method=method,
        path=path,
        summary=summary,
        scopes=scopes,
        **{"idempotent": method == "GET", **rest},
    )


def _amperio(name: str, method: str, path: str, summary: str, scopes: frozenset[Scope], **rest: Any) -> Operation:
    return Operation(
        name=name,
        host=Host.AMPERIO,
        method=method,
        path=path,
        summary=summary,
        scopes=scopes,
        **{"idempotent": method == "GET", **rest},
    )


# fmt: off -- a table reads best with one operation a line or two
# ---- Enexa hosts, Amperio calls ------------------------------------------------------------------------------------
ENEXA_TOKEN = _enexa(
    "enexa_token",
    "POST",
    "/v1/oauth/token",
    "An access token for client credentials or a refresh token.",
    PUBLIC,
    request=TokenRequest,
    reply=TokenReply,
    body_limit_bytes=8 * KIB,
)
POST_TELEMETRY = _enexa(
    "post_telemetry",
    "POST",
    "/v1/telemetry",
    "One sample, each second; stored before the answer.",
    MIDDLEWARE,
    request=Telemetry,
    reply=TelemetryAck,
    budget=Budget.TELEMETRY,
    idempotent=True,
)
POST_TELEMETRY_BATCH = _enexa(
    "post_telemetry_batch",
    "POST",
    "/v1/telemetry/batch",
    "Samples after an outage, oldest first, with declared gaps.",
    MIDDLEWARE,
    request=TelemetryBatch,
    reply=TelemetryBatchAck,
    budget=Budget.TELEMETRY,
    body_limit_bytes=1024 * KIB,
    idempotent=True,
)
POST_EVENTS = _enexa(
    "post_events",
    "POST",
    "/v1/events",
    "Events in order, at least once; deduplicated by event id.",
    MIDDLEWARE,
    request=EventBatch,
    reply=EventAck,
    budget=Budget.TELEMETRY,
    body_limit_bytes=1024 * KIB,
    idempotent=True,
)
POST_STATUS = _enexa(
    "post_status",
    "POST",
    "/v1/status",
    "A site's status, every ten seconds.",
    MIDDLEWARE,
    request=SiteStatus,
    reply=StatusAck,
    budget=Budget.TELEMETRY,
    idempotent=True,
)
GET_CONFIG = _enexa(
    "get_config",
    "GET",
    "/v1/config/{site_id}",
    "The configuration in force; ETag is its version.",
    ANY_READER,
    reply=SiteConfig,
    etag=True,
)
PUT_CONFIG = _enexa(
    "put_config",
    "PUT",
    "/v1/config/{site_id}",
    "A new version; If-Match names the version it replaces.",
    OPERATOR,
    request=ConfigDocument,
    reply=SiteConfig,
    if_match=True,
)
GET_CONFIG_VERSIONS = _enexa(
    "get_config_versions",
    "GET",
    "/v1/config/{site_id}/versions",
    "All versions, newest first.",
    READERS,
    query=PageQuery,
    reply=ConfigVersions,
)
GET_CONFIG_DIFF = _enexa(
    "get_config_diff",
    "GET",
    "/v1/config/{site_id}/diff",
    "What changed between two versions, field by field.",
    READERS,
    query=DiffQuery,
    reply=ConfigDiff,
    refuses=frozenset({422}),
)
GET_CONFIG_ACKS = _enexa(
    "get_config_acks",
    "GET",
    "/v1/config/{site_id}/acks",
    "The wanted and the applied version, and the middleware's word on each with what it read back.",
    READERS,
    reply=ConfigAcks,
)
ROLL_BACK_CONFIG = _enexa(
    "roll_back_config",
    "POST",
    "/v1/config/{site_id}/rollback",
    "An old version in force again, under a new number.",
    OPERATOR,
    request=RollBack,
    reply=SiteConfig,
    status=201,
    if_match=True,
)
ACK_CONFIG = _enexa(
    "ack_config",
    "POST",
    "/v1/config/{site_id}/ack",
    "The middleware's word on a version.",
    MIDDLEWARE,
    request=ConfigAck,
    reply=ConfigAckReply,
    idempotent=True,
    refuses=CONFLICT,
)
LIST_SITES = _enexa(
    "list_sites", "GET", "/v1/sites", "Sites that this token may see.", ANY_READER, query=PageQuery, reply=SitePage
)
GET_ASSETS = _enexa(
    "get_assets", "GET", "/v1/sites/{site_id}/assets", "All equipment of a site.", ANY_READER, reply=SiteAssets
)
GET_CONTROLLER = _enexa(
    "get_controller",
    "GET",
    "/v1/controllers/{controller_id}",
    "A controller and its assets.",
    ANY_READER,
    reply=Controller,
)
GET_SPECS = _enexa(
    "get_specs",
    "GET",
    "/v1/equipment/{type}/{id}/specs",
    "Nameplate of a piece of equipment.",
    ANY_READER,
    reply=EquipmentSpecs,
)
GET_CONTROLLER_CONFIG = _enexa(
    "get_controller_config",
    "GET",
    "/v1/controllers/{id}/config",
    "A view of its sites' configuration.",
    ANY_READER,
    reply=ControllerConfig,
    etag=True,
)
GET_CONTROLLER_CONFIG_VERSION = _enexa(
    "get_controller_config_version",
    "GET",
    "/v1/controllers/{id}/config/version",
    "For polling.",
    ANY_READER,
    reply=ConfigVersion,
)
GET_FIRMWARE = _enexa(
    "get_firmware",
    "GET",
    "/v1/firmware/latest/{device_type}",
    "The newest firmware with its sha256.",
    ANY_READER,
    reply=Firmware,
)
GET_FIRMWARE_FILE = _enexa(
    "get_firmware_file",
    "GET",
    "/v1/firmware/files/{sha256}",
    "The file of a release, as bytes.",
    ANY_READER,
    media="application/octet-stream",
)
POST_FIRMWARE_STATUS = _enexa(
    "post_firmware_status",
    "POST",
    "/v1/controllers/{id}/firmware/status",
    "The version that runs.",
    MIDDLEWARE,
    request=FirmwareStatus,
    reply=FirmwareStatusAck,
    idempotent=True,
)
REGISTER_CONTROLLER = _enexa(
    "register_controller",
    "POST",
    "/v1/controllers/register",
    "Step 1: a one-time enrolment token buys an API key.",
    frozenset({Scope.ENROLMENT}),
    request=RegisterController,
    reply=Registered,
    status=201,
    refuses=CONFLICT,
)
BOOTSTRAP_CONTROLLER = _enexa(
    "bootstrap_controller",
    "GET",
    "/v1/controllers/{id}/bootstrap",
    "Step 2: the first configuration and the assets.",
    MIDDLEWARE,
    reply=Bootstrap,
    refuses=CONFLICT,
)
ACTIVATE_CONTROLLER = _enexa(
    "activate_controller",
    "POST",
    "/v1/controllers/{id}/activate",
    "Step 3: set up and tested, go live.",
    MIDDLEWARE,
    request=Activate,
    reply=Activated,
    refuses=CONFLICT,
)
RENEW_KEY = _enexa(
    "renew_key",
    "POST",
    "/v1/controllers/{id}/key",
    "A new API key for the controller that asks; the ones before it hold for an overlap, so that no call fails.",
    MIDDLEWARE,
    reply=RenewedKey,
    status=201,
)
SUSPEND_CONTROLLER = _enexa(
    "suspend_controller",
    "POST",
    "/v1/controllers/{id}/suspend",
    "Shut a controller out: its key and its tokens are void at once.",
    OPERATOR,
    reply=Controller,
    refuses=CONFLICT,
)
RESUME_CONTROLLER = _enexa(
    "resume_controller",
    "POST",
    "/v1/controllers/{id}/resume",
    "Let a suspended controller in again with the key it had; it bootstraps and activates anew.",
    OPERATOR,
    reply=Controller,
    refuses=CONFLICT,
)
GET_SCHEDULE = _enexa(
    "get_schedule",
    "GET",
    "/v1/sites/{site_id}/schedule",
    "The current plan, kept by the middleware as last known schedule.",
    ANY_READER,
    reply=SiteSchedule,
)
ENEXA_HEALTH = _enexa("enexa_health", "GET", "/v1/health", "Liveness and readiness.", PUBLIC, reply=Health)

ENEXA_OPENAPI = _enexa(
    "enexa_openapi",
    "GET",
    "/v1/openapi.json",
    "This document.",
    ANY_READER,
    media=OPENAPI_TYPE,
)

# ---- What people and tools read from Enexa -------------------------------------------------------------------------
GET_LATEST = _enexa(
    "get_latest",
    "GET",
    "/v1/sites/{site_id}/telemetry/latest",
    "The newest sample and its age.",
    READERS,
    reply=LatestTelemetry,
)
GET_SERIES = _enexa(
    "get_series",
    "GET",
    "/v1/sites/{site_id}/telemetry",
    "A series; gaps are explicit.",
    READERS,
    query=SeriesQuery,
    reply=Series,
    refuses=frozenset({422}),
)
LIST_COMMANDS = _enexa(
    "list_commands",
    "GET",
    "/v1/sites/{site_id}/commands",
    "The dispatch log, newest first.",
    READERS,
    query=CommandsQuery,
    reply=CommandPage,
)
GET_COMMAND = _enexa(
    "get_command", "GET", "/v1/commands/{command_id}", "One command's whole life.", READERS, reply=CommandRecord
)
GET_IMPACT = _enexa(
    "get_impact",
    "GET",
    "/v1/sites/{site_id}/impact",
    "Savings with bounds and coverage.",
    READERS,
    query=PeriodQuery,
    reply=Impact,
    refuses=frozenset({422}),
)
REPLAN = _enexa(
    "replan", "POST", "/v1/sites/{site_id}/replan", "Ask for a new plan now.", OPERATOR, reply=ReplanReply, status=202
)
LIST_ALERTS = _enexa(
    "list_alerts", "GET", "/v1/alerts", "Open and past alerts, newest first.", READERS, query=PageQuery, reply=AlertPage
)
LIST_AUDIT = _enexa(
    "list_audit", "GET", "/v1/audit", "The audit log, newest first.", OPERATOR, query=PageQuery, reply=AuditPage
)
STREAM = _enexa(
    "stream",
    "GET",
    "/v1/sites/{site_id}/stream",
    "Server-sent events: samples, commands, plan, alerts.",
    READERS,
    media="text/event-stream",
)

# ---- Amperio hosts, Enexa calls ------------------------------------------------------------------------------------
PLATFORM = frozenset({Scope.PLATFORM})
COMMANDERS = frozenset({Scope.PLATFORM, Scope.OPERATOR})
AMPERIO_READERS = frozenset({Scope.PLATFORM, Scope.OPERATOR, Scope.VIEWER})

AMPERIO_TOKEN = _amperio(
    "amperio_token",
    "POST",
    "/v1/oauth/token",
    "An access token for client credentials or a refresh token.",
    PUBLIC,
    request=TokenRequest,
    reply=TokenReply,
    body_limit_bytes=8 * KIB,
)
DISPATCH = _amperio(
    "dispatch",
    "POST",
    "/v1/dispatch",
    "One command; answers when its registers are read back, at most 2 s later.",
    COMMANDERS,
    request=DispatchCommand,
    reply=DispatchAck,
    budget=Budget.COMMAND,
    body_limit_bytes=256 * KIB,
    idempotent=True,
    refuses=CONFLICT,
)
GET_DISPATCH = _amperio(
    "get_dispatch",
    "GET",
    "/v1/dispatch/{command_id}",
    "The record of a command.",
    AMPERIO_READERS,
    reply=DispatchRecord,
    budget=Budget.COMMAND,
)
PUT_GRID_LIMIT = _amperio(
    "put_grid_limit",
    "PUT",
    "/v1/sites/{site_id}/grid-limit",
    "The grid operator's cap, above everything remote.",
    OPERATOR,
    request=GridOperatorLimit,
    reply=GridOperatorLimit,
    budget=Budget.COMMAND,
    idempotent=True,
)
DELETE_GRID_LIMIT = _amperio(
    "delete_grid_limit",
    "DELETE",
    "/v1/sites/{site_id}/grid-limit",
    "Withdraw the grid operator's cap.",
    OPERATOR,
    status=204,
    budget=Budget.COMMAND,
    idempotent=True,
)
AMPERIO_SITES = _amperio(
    "amperio_sites",
    "GET",
    "/v1/sites",
    "Sites of this middleware.",
    AMPERIO_READERS,
    query=PageQuery,
    reply=MiddlewareSites,
)
SITE_STATE = _amperio(
    "site_state", "GET", "/v1/sites/{site_id}/state", "What the middleware sees now.", AMPERIO_READERS, reply=SiteState
)
AMPERIO_HEALTH = _amperio(
    "amperio_health", "GET", "/v1/health", "Health of the middleware and of each site.", PUBLIC, reply=Health
)
AMPERIO_OPENAPI = _amperio(
    "amperio_openapi",
    "GET",
    "/v1/openapi.json",
    "This document.",
    AMPERIO_READERS,
    media=OPENAPI_TYPE,
)

# fmt: on

COMMAND_BODY_LIMIT_BYTES = 16 * KIB
"""Every command but `apply_schedule`, which may take the operation's whole limit."""

OPERATIONS: tuple[Operation, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Operation))
