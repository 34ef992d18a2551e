"""Every route of the map is served and no other; each request leaves its line. Who may call: test_access_matrix.py."""

from shared.contract.operations import Host
from tests.contract.enexa.http import http
from tests.contract.matrix import routes_are_those_of_the_map
from tests.integration.enexa.stage import Stage


async def test_every_served_operation_has_a_route_and_no_other_has(stage: Stage) -> None:
    async with http(stage) as link:
        await routes_are_those_of_the_map(link, Host.ENEXA)


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
        await link.send("GET", "/v1/nothing", as_="viewer", headers={"X-Request-ID": "mark-404"})
        await link.send("PUT", "/v1/sites", as_="viewer", headers={"X-Request-ID": "mark-405"})
        entries = (await link.send("GET", "/v1/audit", as_="operator")).json["entries"]

    marks = {each["request_id"]: each["status"] for each in entries if each["request_id"].startswith("mark")}
    assert marks == {
        **{f"mark-{number}": 200 for number in range(5)},
        "mark-401": 401,
        "mark-403": 403,
        "mark-404": 404,
        "mark-405": 405,
    }
    who = {each["request_id"]: each["principal"] for each in entries}
    assert [who[f"mark-{status}"] for status in (401, 403, 404, 405)] == ["-", "viewer", "viewer", "viewer"]
    assert all("secret" not in str(each) for each in entries)
