"""Every route of the middleware is served and no other; what stands before them. Who may call: test_access_matrix."""

from pathlib import Path

import pytest

from shared.contract.operations import Host
from tests.contract.enexa.http import http
from tests.contract.matrix import routes_are_those_of_the_map, tries
from tests.integration.amperio.stage import playing

pytestmark = pytest.mark.timeout(90)


async def test_every_served_operation_has_a_route_and_no_other_has(tmp_path: Path) -> None:
    async with playing(tmp_path) as stage, http(stage) as link:
        await routes_are_those_of_the_map(link, Host.AMPERIO)


async def test_an_address_that_is_not_allowed_reaches_nothing_not_even_health(tmp_path: Path) -> None:
    async with playing(tmp_path, allowlist="10.9.0.0/16") as stage, http(stage) as link:
        for each in tries(Host.AMPERIO):
            for headers in ({}, {"X-Forwarded-For": "10.9.0.1"}, {"X-Real-IP": "10.9.0.1"}):
                rest = {**each.rest, "headers": {**each.rest.get("headers", {}), **headers}}
                got = await link.send(each.operation.method, each.path, **rest)
                assert got.status == 403, (each.operation.name, headers)


async def test_commands_are_limited_apart_from_everything_else(tmp_path: Path) -> None:
    async with playing(tmp_path, rate_command_per_s=0.1, rate_command_burst=5.0) as stage, http(stage) as link:
        await link.token("enexa")
        asked = [await link.send("GET", "/v1/dispatch/none", as_="enexa") for _ in range(12)]
        other = await link.send("GET", "/v1/sites", as_="enexa")

    refused = [got for got in asked if got.status == 429]
    assert {got.status for got in asked} == {404, 429}
    assert refused
    assert all(int(got.headers["retry-after"]) >= 1 for got in refused)
    assert other.status == 200
