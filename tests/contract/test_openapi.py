"""The OpenAPI documents tell the truth: a fuzzer finds no other status, no other shape and no leniency."""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from shared.clock import SystemClock
from shared.contract.openapi import document, statuses
from shared.contract.operations import OPERATIONS, Host, Scope
from shared.contract.tokens import TokenReply
from tests.contract.fuzz import ENDLESS, Found, fuzz
from tests.integration.amperio import stage as amperio_stage
from tests.integration.enexa import stage as enexa_stage

FAST: dict[str, Any] = {
    f"rate_{budget}_{unit}": 1_000_000.0
    for budget in ("telemetry", "command", "general")
    for unit in ("per_s", "burst")
}
Fuzz = Callable[..., Awaitable[Found]]


async def bearers(url: str, who: Mapping[Scope, str]) -> dict[Scope, str]:
    """A token for each scope."""
    found = {}
    async with aiohttp.ClientSession() as session:
        for scope, name in who.items():
            form = {"grant_type": "client_credentials", "client_id": name, "client_secret": f"{name}-secret"}
            async with session.post(f"{url}/v1/oauth/token", data=form) as reply:
                found[scope] = msgspec.json.decode(await reply.read(), type=TokenReply).access_token
    return found


async def fuzz_enexa(directory: Path, *, examples: int, phases: str, only: str | None = None) -> Found:
    stage = enexa_stage.Stage(directory, **FAST)
    async with enexa_stage.enexa(stage):
        who = {Scope.MIDDLEWARE: "CTRL001", Scope.OPERATOR: "operator", Scope.VIEWER: "viewer"}
        tokens = await bearers(stage.url, who)
        return await fuzz(directory, Host.ENEXA, stage.url, tokens, examples=examples, phases=phases, only=only)


async def fuzz_amperio(directory: Path, *, examples: int, phases: str, only: str | None = None) -> Found:
    clock = SystemClock(origin_sim=amperio_stage.START)
    stage = amperio_stage.Stage(directory, enexa_url="http://127.0.0.1:9", clock=clock)
    stage.settings = msgspec.structs.replace(stage.settings, **FAST)
    async with stage.playing():
        url = f"http://127.0.0.1:{stage.port}"
        who = {Scope.PLATFORM: "enexa", Scope.OPERATOR: "operator", Scope.VIEWER: "viewer"}
        tokens = await bearers(url, who)
        return await fuzz(directory, Host.AMPERIO, url, tokens, examples=examples, phases=phases, only=only)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("fuzz_it", [fuzz_enexa, fuzz_amperio])
async def test_a_few_requests_to_each_operation_find_nothing_that_the_document_does_not_say(
    tmp_path: Path, fuzz_it: Fuzz
) -> None:
    found = await fuzz_it(tmp_path, examples=1, phases="fuzzing")

    assert found.code == 0, found.report


FUZZ = {Host.ENEXA: fuzz_enexa, Host.AMPERIO: fuzz_amperio}
PIECES = [(each.host, each.name) for each in OPERATIONS if each.served and each.name not in ENDLESS]
"""One piece for each operation, so that a run of all of them can be made in pieces: `-k post_telemetry`."""


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("host", "name"), PIECES, ids=[f"{host}-{name}" for host, name in PIECES])
async def test_g1_two_hundred_examples_of_each_operation_find_nothing(tmp_path: Path, host: Host, name: str) -> None:
    found = await FUZZ[host](tmp_path, examples=200, phases="examples,coverage,fuzzing", only=name)

    print(f"G1 {host}-{name}: {found.cases} requests")
    assert found.code == 0, found.report
    assert found.cases >= 1


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("host", list(Host))
async def test_g1_two_hundred_chains_of_operations_find_nothing(tmp_path: Path, host: Host) -> None:
    """What one operation answers is what the next is asked for."""
    found = await FUZZ[host](tmp_path, examples=200, phases="stateful")

    print(f"G1 {host} chained: {found.cases} requests")
    assert found.code == 0, found.report


@pytest.mark.parametrize("host", list(Host))
def test_every_operation_is_described_with_its_scopes_and_every_status_as_a_problem(host: Host) -> None:
    paths = document(host)["paths"]
    for each in (operation for operation in OPERATIONS if operation.host is host):
        described = paths[each.path][each.method.lower()]
        assert described["x-scopes"] == sorted(each.scopes)
        assert {int(status) for status in described["responses"]} == {each.status, *statuses(each)}
        for status, response in described["responses"].items():
            if int(status) >= 400:
                assert "application/problem+json" in response["content"]
