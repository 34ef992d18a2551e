"""Every route with every kind of credential: only what the map allows answers, and nothing else leaks."""

from typing import Any

from msgspec import Struct

from shared.contract.operations import OPERATIONS, Host, Operation, Scope
from tests.contract.enexa.http import Http, http
from tests.integration.enexa.stage import Stage

SERVED = [each for each in OPERATIONS if each.host is Host.ENEXA and each.served]
SCOPES = {"CTRL001": Scope.MIDDLEWARE, "operator": Scope.OPERATOR, "viewer": Scope.VIEWER}
IDS = {
    "site_id": "SITE001",
    "controller_id": "CTRL001",
    "id": "CTRL001",
    "type": "battery",
    "command_id": "none",
    "device_type": "controller",
    "sha256": "0" * 64,
}


class Try(Struct, frozen=True):
    """A request that is well formed except, perhaps, for its credential."""

    operation: Operation
    path: str
    rest: dict[str, Any]


def tries() -> list[Try]:
    return [
        Try(
            each,
            each.path.format(**IDS),
            {"data": b"{}", "headers": {"Content-Type": "application/json"}} if each.request is not None else {},
        )
        for each in SERVED
        if each.name != "stream"
    ]


async def credentials(link: Http) -> dict[str, str | None]:
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


async def test_only_public_routes_answer_without_a_good_credential(stage: Stage) -> None:
    async with http(stage) as link:
        for kind, bearer in (await credentials(link)).items():
            for each in tries():
                if not each.operation.scopes:
                    continue
                got = await link.send(each.operation.method, each.path, bearer=bearer, **each.rest)
                assert got.status == 401, (kind, each.operation.name, got.status)
                assert got.headers["www-authenticate"].startswith("Bearer")
                assert got.headers["content-type"] == "application/problem+json"


async def test_each_scope_reaches_exactly_what_the_map_says(stage: Stage) -> None:
    async with http(stage) as link:
        for who, scope in SCOPES.items():
            for each in tries():
                if not each.operation.scopes:
                    continue
                got = await link.send(each.operation.method, each.path, as_=who, **each.rest)
                allowed = scope in each.operation.scopes
                assert (got.status != 403) is allowed, (who, each.operation.name, got.status)
                assert got.status not in (401, 500), (who, each.operation.name, got.body)


async def test_another_sites_paths_are_not_found_whoever_asks(stage: Stage) -> None:
    async with http(stage) as link:
        for each in tries():
            if "{site_id}" not in each.operation.path:
                continue
            for who, scope in SCOPES.items():
                if scope not in each.operation.scopes:
                    continue
                path = each.path.replace("SITE001", "SITE002")
                got = await link.send(each.operation.method, path, as_=who, **each.rest)
                assert got.status == 404, (who, each.operation.name, got.status)


async def test_every_served_operation_has_a_route_and_no_other_has(stage: Stage) -> None:
    async with http(stage) as link:
        for each in OPERATIONS:
            if each.host is not Host.ENEXA:
                continue
            path = each.path.format(**IDS)
            got = await link.send(each.method, path)
            expected = got.status not in (404, 405)
            assert expected is each.served, (each.name, got.status)


async def test_an_api_key_of_a_middleware_is_accepted_as_bearer(stage: Stage) -> None:
    async with http(stage) as link:
        got = await link.send("GET", "/v1/sites", bearer="CTRL001-secret")

    assert got.status == 200


async def test_every_request_leaves_one_audit_line_and_the_chain_holds(stage: Stage) -> None:
    async with http(stage) as link:
        for number in range(5):
            await link.send("GET", "/v1/sites", as_="viewer", headers={"X-Request-ID": f"mark-{number}"})
        await link.send("GET", "/v1/sites", headers={"X-Request-ID": "mark-401"})
        await link.send("GET", "/v1/audit", as_="viewer", headers={"X-Request-ID": "mark-403"})
        entries = (await link.send("GET", "/v1/audit", as_="operator")).json["entries"]

    marks = {each["request_id"]: each["status"] for each in entries if each["request_id"].startswith("mark")}
    assert marks == {**{f"mark-{number}": 200 for number in range(5)}, "mark-401": 401, "mark-403": 403}
    assert all("secret" not in str(each) for each in entries)
