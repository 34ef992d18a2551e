"""Typed calls of every operation of Enexa; made by docs/build.py from the table."""

from typing import cast

from shared.clients.base import Api
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
from shared.contract.events import (
    EventAck,
    EventBatch,
    SiteStatus,
    StatusAck,
)
from shared.contract.operations import (
    ACK_CONFIG,
    ACTIVATE_CONTROLLER,
    BOOTSTRAP_CONTROLLER,
    ENEXA_HEALTH,
    ENEXA_TOKEN,
    GET_ASSETS,
    GET_COMMAND,
    GET_CONFIG,
    GET_CONFIG_ACKS,
    GET_CONFIG_DIFF,
    GET_CONFIG_VERSIONS,
    GET_CONTROLLER,
    GET_CONTROLLER_CONFIG,
    GET_CONTROLLER_CONFIG_VERSION,
    GET_FIRMWARE,
    GET_IMPACT,
    GET_LATEST,
    GET_SCHEDULE,
    GET_SERIES,
    GET_SPECS,
    LIST_ALERTS,
    LIST_AUDIT,
    LIST_COMMANDS,
    LIST_SITES,
    POST_EVENTS,
    POST_FIRMWARE_STATUS,
    POST_STATUS,
    POST_TELEMETRY,
    POST_TELEMETRY_BATCH,
    PUT_CONFIG,
    REGISTER_CONTROLLER,
    RENEW_KEY,
    REPLAN,
    RESUME_CONTROLLER,
    ROLL_BACK_CONFIG,
    SUSPEND_CONTROLLER,
)
from shared.contract.reads import (
    AlertPage,
    AuditPage,
    CommandPage,
    CommandRecord,
    CommandsQuery,
    Health,
    Impact,
    LatestTelemetry,
    PageQuery,
    PeriodQuery,
    ReplanReply,
    Series,
    SeriesQuery,
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
from shared.contract.schedule import (
    SiteSchedule,
)
from shared.contract.telemetry import (
    Telemetry,
    TelemetryAck,
    TelemetryBatch,
    TelemetryBatchAck,
)
from shared.contract.tokens import (
    TokenReply,
    TokenRequest,
)


class EnexaApi(Api):
    """Each method is one operation; its name is the table's."""

    async def enexa_token(self, body: TokenRequest) -> TokenReply:
        """An access token for client credentials or a refresh token."""
        return cast("TokenReply", await self._call(ENEXA_TOKEN, body))

    async def post_telemetry(self, body: Telemetry) -> TelemetryAck:
        """One sample, each second; stored before the answer."""
        return cast("TelemetryAck", await self._call(POST_TELEMETRY, body))

    async def post_telemetry_batch(self, body: TelemetryBatch) -> TelemetryBatchAck:
        """Samples after an outage, oldest first, with declared gaps."""
        return cast("TelemetryBatchAck", await self._call(POST_TELEMETRY_BATCH, body))

    async def post_events(self, body: EventBatch) -> EventAck:
        """Events in order, at least once; deduplicated by event id."""
        return cast("EventAck", await self._call(POST_EVENTS, body))

    async def post_status(self, body: SiteStatus) -> StatusAck:
        """A site's status, every ten seconds."""
        return cast("StatusAck", await self._call(POST_STATUS, body))

    async def get_config(self, site_id: str, *, if_none_match: str | None = None) -> SiteConfig | None:
        """The configuration in force; ETag is its version."""
        found = await self._call(
            GET_CONFIG,
            path={"site_id": site_id},
            headers={"If-None-Match": if_none_match},
        )
        return cast("SiteConfig | None", found)

    async def put_config(self, site_id: str, body: ConfigDocument, *, if_match: str) -> SiteConfig:
        """A new version; If-Match names the version it replaces."""
        found = await self._call(
            PUT_CONFIG,
            body,
            path={"site_id": site_id},
            headers={"If-Match": if_match},
        )
        return cast("SiteConfig", found)

    async def get_config_versions(self, site_id: str, *, query: PageQuery | None = None) -> ConfigVersions:
        """All versions, newest first."""
        return cast("ConfigVersions", await self._call(GET_CONFIG_VERSIONS, path={"site_id": site_id}, query=query))

    async def get_config_diff(self, site_id: str, *, query: DiffQuery | None = None) -> ConfigDiff:
        """What changed between two versions, field by field."""
        return cast("ConfigDiff", await self._call(GET_CONFIG_DIFF, path={"site_id": site_id}, query=query))

    async def get_config_acks(self, site_id: str) -> ConfigAcks:
        """The wanted and the applied version, and the middleware's word on each with what it read back."""
        return cast("ConfigAcks", await self._call(GET_CONFIG_ACKS, path={"site_id": site_id}))

    async def roll_back_config(
        self, site_id: str, body: RollBack, *, if_match: str, idempotency_key: str | None = None
    ) -> SiteConfig:
        """An old version in force again, under a new number."""
        found = await self._call(
            ROLL_BACK_CONFIG,
            body,
            path={"site_id": site_id},
            headers={"If-Match": if_match, "Idempotency-Key": idempotency_key},
        )
        return cast("SiteConfig", found)

    async def ack_config(self, site_id: str, body: ConfigAck) -> ConfigAckReply:
        """The middleware's word on a version."""
        return cast("ConfigAckReply", await self._call(ACK_CONFIG, body, path={"site_id": site_id}))

    async def list_sites(self, *, query: PageQuery | None = None) -> SitePage:
        """Sites that this token may see."""
        return cast("SitePage", await self._call(LIST_SITES, query=query))

    async def get_assets(self, site_id: str) -> SiteAssets:
        """All equipment of a site."""
        return cast("SiteAssets", await self._call(GET_ASSETS, path={"site_id": site_id}))

    async def get_controller(self, controller_id: str) -> Controller:
        """A controller and its assets."""
        return cast("Controller", await self._call(GET_CONTROLLER, path={"controller_id": controller_id}))

    async def get_specs(self, type_: str, id_: str) -> EquipmentSpecs:
        """Nameplate of a piece of equipment."""
        return cast("EquipmentSpecs", await self._call(GET_SPECS, path={"type": type_, "id": id_}))

    async def get_controller_config(self, id_: str, *, if_none_match: str | None = None) -> ControllerConfig | None:
        """A view of its sites' configuration."""
        found = await self._call(
            GET_CONTROLLER_CONFIG,
            path={"id": id_},
            headers={"If-None-Match": if_none_match},
        )
        return cast("ControllerConfig | None", found)

    async def get_controller_config_version(self, id_: str) -> ConfigVersion:
        """For polling."""
        return cast("ConfigVersion", await self._call(GET_CONTROLLER_CONFIG_VERSION, path={"id": id_}))

    async def get_firmware(self, device_type: str) -> Firmware:
        """The newest firmware with its sha256."""
        return cast("Firmware", await self._call(GET_FIRMWARE, path={"device_type": device_type}))

    async def post_firmware_status(self, id_: str, body: FirmwareStatus) -> FirmwareStatusAck:
        """The version that runs."""
        return cast("FirmwareStatusAck", await self._call(POST_FIRMWARE_STATUS, body, path={"id": id_}))

    async def register_controller(self, body: RegisterController, *, idempotency_key: str | None = None) -> Registered:
        """Step 1: a one-time enrolment token buys an API key."""
        found = await self._call(
            REGISTER_CONTROLLER,
            body,
            headers={"Idempotency-Key": idempotency_key},
        )
        return cast("Registered", found)

    async def bootstrap_controller(self, id_: str) -> Bootstrap:
        """Step 2: the first configuration and the assets."""
        return cast("Bootstrap", await self._call(BOOTSTRAP_CONTROLLER, path={"id": id_}))

    async def activate_controller(self, id_: str, body: Activate) -> Activated:
        """Step 3: set up and tested, go live."""
        return cast("Activated", await self._call(ACTIVATE_CONTROLLER, body, path={"id": id_}))

    async def renew_key(self, id_: str, *, idempotency_key: str | None = None) -> RenewedKey:
        """A new API key for the controller that asks; the ones before it hold for an overlap, so that no call fails."""
        found = await self._call(
            RENEW_KEY,
            path={"id": id_},
            headers={"Idempotency-Key": idempotency_key},
        )
        return cast("RenewedKey", found)

    async def suspend_controller(self, id_: str) -> Controller:
        """Shut a controller out: its key and its tokens are void at once."""
        return cast("Controller", await self._call(SUSPEND_CONTROLLER, path={"id": id_}))

    async def resume_controller(self, id_: str) -> Controller:
        """Let a suspended controller in again with the key it had; it bootstraps and activates anew."""
        return cast("Controller", await self._call(RESUME_CONTROLLER, path={"id": id_}))

    async def get_schedule(self, site_id: str) -> SiteSchedule:
        """The current plan, kept by the middleware as last known schedule."""
        return cast("SiteSchedule", await self._call(GET_SCHEDULE, path={"site_id": site_id}))

    async def enexa_health(self) -> Health:
        """Liveness and readiness."""
        return cast("Health", await self._call(ENEXA_HEALTH))

    async def get_latest(self, site_id: str) -> LatestTelemetry:
        """The newest sample and its age."""
        return cast("LatestTelemetry", await self._call(GET_LATEST, path={"site_id": site_id}))

    async def get_series(self, site_id: str, *, query: SeriesQuery | None = None) -> Series:
        """A series; gaps are explicit."""
        return cast("Series", await self._call(GET_SERIES, path={"site_id": site_id}, query=query))

    async def list_commands(self, site_id: str, *, query: CommandsQuery | None = None) -> CommandPage:
        """The dispatch log, newest first."""
        return cast("CommandPage", await self._call(LIST_COMMANDS, path={"site_id": site_id}, query=query))

    async def get_command(self, command_id: str) -> CommandRecord:
        """One command's whole life."""
        return cast("CommandRecord", await self._call(GET_COMMAND, path={"command_id": command_id}))

    async def get_impact(self, site_id: str, *, query: PeriodQuery | None = None) -> Impact:
        """Savings with bounds and coverage."""
        return cast("Impact", await self._call(GET_IMPACT, path={"site_id": site_id}, query=query))

    async def replan(self, site_id: str, *, idempotency_key: str | None = None) -> ReplanReply:
        """Ask for a new plan now."""
        found = await self._call(
            REPLAN,
            path={"site_id": site_id},
            headers={"Idempotency-Key": idempotency_key},
        )
        return cast("ReplanReply", found)

    async def list_alerts(self, *, query: PageQuery | None = None) -> AlertPage:
        """Open and past alerts, newest first."""
        return cast("AlertPage", await self._call(LIST_ALERTS, query=query))

    async def list_audit(self, *, query: PageQuery | None = None) -> AuditPage:
        """The audit log, newest first."""
        return cast("AuditPage", await self._call(LIST_AUDIT, query=query))
