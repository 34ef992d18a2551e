"""A site's configuration: read with its ETag, replaced with If-Match, acknowledged by the middleware."""

from services.enexa.platform import Platform
from services.enexa.registry.configs import diff, etag, limits_of, parse_etag
from shared.contract.config import (
    ConfigAck,
    ConfigAckReply,
    ConfigAcks,
    ConfigDiff,
    ConfigDocument,
    ConfigVersion,
    ConfigVersions,
    ControllerConfig,
    RollBack,
)
from shared.contract.operations import (
    ACK_CONFIG,
    GET_CONFIG,
    GET_CONFIG_ACKS,
    GET_CONFIG_DIFF,
    GET_CONFIG_VERSIONS,
    GET_CONTROLLER_CONFIG,
    GET_CONTROLLER_CONFIG_VERSION,
    PUT_CONFIG,
    ROLL_BACK_CONFIG,
)
from shared.errors import InvalidMessage, UnknownController
from shared.rest.auth import Principal
from shared.rest.gate import Answer, Call, Route, serves


def routes(platform: Platform) -> list[Route]:
    @serves(GET_CONFIG)
    async def get_config(call: Call[None]) -> Answer:
        config = platform.config(call.path["site_id"])
        tag = etag(config.version)
        if _matches(call.headers.get("if-none-match"), config.version):
            return Answer(status=304, headers={"ETag": tag})
        return Answer(config, headers={"ETag": tag})

    @serves(PUT_CONFIG)
    async def put_config(call: Call[ConfigDocument]) -> Answer:
        assert call.principal is not None
        made = await platform.put_config(
            call.path["site_id"],
            call.body,
            if_match=call.headers.get("if-match"),
            author=call.principal.client_id,
        )
        return Answer(made, headers={"ETag": etag(made.version)})

    @serves(GET_CONFIG_VERSIONS)
    async def get_versions(call: Call[None]) -> ConfigVersions:
        site_id = call.path["site_id"]
        platform.site(site_id)
        below = _cursor(call.query.cursor)
        limit = call.query.limit
        found = await platform.store.master.config_versions(site_id, limit=limit + 1, below_version=below)
        shown = tuple(found[:limit])
        cursor = str(shown[-1].version) if len(found) > limit else None
        return ConfigVersions(site_id=site_id, versions=shown, cursor=cursor)

    @serves(GET_CONFIG_DIFF)
    async def get_diff(call: Call[None]) -> ConfigDiff:
        site_id, wanted = call.path["site_id"], call.query
        newest = platform.config(site_id).version
        to = wanted.to if wanted.to is not None else newest
        before = wanted.from_ if wanted.from_ is not None else max(to - 1, 1)
        old, new = await platform.config_version(site_id, before), await platform.config_version(site_id, to)
        return diff(old, new)

    @serves(ROLL_BACK_CONFIG)
    async def roll_back(call: Call[RollBack]) -> Answer:
        assert call.principal is not None
        made = await platform.roll_back(
            call.path["site_id"],
            call.body.version,
            if_match=call.headers.get("if-match"),
            author=call.principal.client_id,
        )
        return Answer(made, headers={"ETag": etag(made.version)})

    @serves(GET_CONFIG_ACKS)
    async def get_acks(call: Call[None]) -> ConfigAcks:
        site_id = call.path["site_id"]
        wanted = platform.config(site_id).version
        return ConfigAcks(
            site_id=site_id,
            wanted_version=wanted,
            applied_version=platform.board.site(site_id).applied_config_version,
            acks=tuple(await platform.store.master.config_acks(site_id)),
        )

    @serves(ACK_CONFIG)
    async def ack_config(call: Call[ConfigAck]) -> ConfigAckReply:
        applied = await platform.ack_config(call.body)
        return ConfigAckReply(wanted_version=platform.config(call.body.site_id).version, applied_version=applied)

    @serves(GET_CONTROLLER_CONFIG)
    async def controller_config(call: Call[None]) -> Answer:
        config = platform.config(_site_of(platform, call.path["id"], call.principal))
        if _matches(call.headers.get("if-none-match"), config.version):
            return Answer(status=304, headers={"ETag": etag(config.version)})
        view = ControllerConfig(
            version=config.version, settings={config.site_id: config}, limits={config.site_id: limits_of(config)}
        )
        return Answer(view, headers={"ETag": etag(config.version)})

    @serves(GET_CONTROLLER_CONFIG_VERSION)
    async def controller_config_version(call: Call[None]) -> ConfigVersion:
        config = platform.config(_site_of(platform, call.path["id"], call.principal))
        return ConfigVersion(version=config.version, updated_at=config.updated_at)

    return [
        get_config,
        put_config,
        get_versions,
        get_diff,
        roll_back,
        get_acks,
        ack_config,
        controller_config,
        controller_config_version,
    ]


def _site_of(platform: Platform, controller_id: str, principal: Principal | None) -> str:
    controller = platform.controller(controller_id)
    if principal is not None and not principal.may_see(controller.site_id):
        raise UnknownController("no such controller")
    return controller.site_id


def _matches(header: str | None, version: int) -> bool:
    if header is None:
        return False
    return header.strip() == "*" or version in {parse_etag(each) for each in header.split(",")}


def _cursor(given: str | None) -> int | None:
    if given is None:
        return None
    if not given.isdigit() or len(given) > 9:
        raise InvalidMessage("unknown cursor", field="cursor")
    return int(given)
