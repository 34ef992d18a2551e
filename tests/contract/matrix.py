"""The generated matrix of who may call what, for either host: every route of the map with every kind of credential."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from shared.contract.operations import OPERATIONS, Host, Operation, Scope
from tests.contract.enexa.http import Http

IDS = {
    "site_id": "SITE001",
    "controller_id": "CTRL001",
    "id": "CTRL001",
    "type": "battery",
    "command_id": "none",
    "device_type": "controller",
    "sha256": "0" * 64,
    "version": "1",
}


class Try(Struct, frozen=True):
    """A request that is well formed except, perhaps, for its credential."""

    operation: Operation
    path: str
    rest: dict[str, Any]


def tries(host: Host) -> list[Try]:
    """One request for each served route; a stream that never ends is tried elsewhere."""
    return [
        Try(
            each,
            each.path.format(**IDS),
            {"data": b"{}", "headers": {"Content-Type": "application/json"}} if each.request is not None else {},
        )
        for each in OPERATIONS
        if each.host is host and each.served and each.name != "stream"
    ]


async def credentials(link: Http) -> dict[str, str | None]:
    """None of these is one."""
    token = await link.token("operator")
    form = {"grant_type": "client_credentials", "client_id": "operator", "client_secret": "operator-secret"}
    refresh = (await link.send("POST", "/v1/oauth/token", data=form)).json["refresh_token"]
    return {
        "none": None,
        "garbage": "garbage",
        "cut short": token[:-1],
        "an operator's secret as bearer": "operator-secret",
        "a refresh token as bearer": refresh,
        "an unsigned JWT": "eyJhbGciOiJub25lIn0.eyJzdWIiOiJvcGVyYXRvciJ9.",
        "8 KB": "A" * 8000,
    }


async def only_public_routes_answer_strangers(link: Http, host: Host) -> None:
    for kind, bearer in (await credentials(link)).items():
        for each in tries(host):
            if not each.operation.scopes:
                continue
            got = await link.send(each.operation.method, each.path, bearer=bearer, **each.rest)
            assert got.status == 401, (kind, each.operation.name, got.status)
            assert got.headers["www-authenticate"].startswith("Bearer")
            assert got.headers["content-type"] == "application/problem+json"


async def each_scope_reaches_what_the_map_says(link: Http, host: Host, scopes: Mapping[str, Scope]) -> None:
    for who, scope in scopes.items():
        for each in tries(host):
            if not each.operation.scopes:
                continue
            got = await link.send(each.operation.method, each.path, as_=who, **each.rest)
            allowed = scope in each.operation.scopes
            assert (got.status != 403) is allowed, (who, each.operation.name, got.status)
            assert got.status not in (401, 500), (who, each.operation.name, got.body)


async def other_sites_are_not_there(link: Http, host: Host, scopes: Mapping[str, Scope]) -> None:
    for each in tries(host):
        if "{site_id}" not in each.operation.path:
            continue
        for who, scope in scopes.items():
            if scope not in each.operation.scopes:
                continue
            path = each.path.replace("SITE001", "SITE002")
            got = await link.send(each.operation.method, path, as_=who, **each.rest)
            assert got.status == 404, (who, each.operation.name, got.status)


async def routes_are_those_of_the_map(link: Http, host: Host) -> None:
    for each in OPERATIONS:
        if each.host is not host:
            continue
        got = await link.send(each.method, each.path.format(**IDS))
        assert (got.status not in (404, 405)) is each.served, (each.name, got.status)
