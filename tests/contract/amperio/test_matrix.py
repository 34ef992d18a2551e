"""Every route of the middleware with every kind of credential, address and rate; the same matrix as the platform's."""

from pathlib import Path

import pytest

from shared.contract.operations import Host, Scope
from tests.contract.enexa.http import http
from tests.contract.matrix import (
    each_scope_reaches_what_the_map_says,
    only_public_routes_answer_strangers,
    other_sites_are_not_there,
    routes_are_those_of_the_map,
    tries,
)
from tests.integration.amperio.stage import playing

SCOPES = {"enexa": Scope.PLATFORM, "operator": Scope.OPERATOR, "viewer": Scope.VIEWER}
pytestmark = pytest.mark.timeout(90)


async def test_the_whole_matrix_of_the_middleware(tmp_path: Path) -> None:
    async with playing(tmp_path) as stage, http(stage) as link:
        await routes_are_those_of_the_map(link, Host.AMPERIO)
        await only_public_routes_answer_strangers(link, Host.AMPERIO)
        await each_scope_reaches_what_the_map_says(link, Host.AMPERIO, SCOPES)
        await other_sites_are_not_there(link, Host.AMPERIO, SCOPES)


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
