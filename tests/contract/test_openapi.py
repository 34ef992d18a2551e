"""The OpenAPI documents tell the truth: a fuzzer finds no other status, no other shape and no leniency."""

import re
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
from tests.contract.fuzz import fuzz
from tests.integration.amperio import stage as amperio_stage
from tests.integration.enexa import stage as enexa_stage

FAST: dict[str, Any] = {
    f"rate_{budget}_{unit}": 1_000_000.0
    for budget in ("telemetry", "command", "general")
    for unit in ("per_s", "burst")
}
CASES = re.compile(r"(\d+) generated")
Fuzz = Callable[[Path, int, str], Awaitable[tuple[int, str]]]


async def bearers(url: str, who: Mapping[Scope, str]) -> dict[Scope, str]:
    """A token for each scope."""
    found = {}
    async with aiohttp.ClientSession() as session:
        for scope, name in who.items():
            form = {"grant_type": "client_credentials", "client_id": name, "client_secret": f"{name}-secret"}
            async with session.post(f"{url}/v1/oauth/token", data=form) as reply:
                found[scope] = msgspec.json.decode(await reply.read(), type=TokenReply).access_token
    return found


async def fuzz_enexa(directory: Path, examples: int, phases: str) -> tuple[int, str]:
    stage = enexa_stage.Stage(directory, **FAST)
    async with enexa_stage.enexa(stage):
        who = {Scope.MIDDLEWARE: "CTRL001", Scope.OPERATOR: "operator", Scope.VIEWER: "viewer"}
        tokens = await bearers(stage.url, who)
        return await fuzz(directory, Host.ENEXA, stage.url, tokens, examples=examples, phases=phases)


async def fuzz_amperio(directory: Path, examples: int, phases: str) -> tuple[int, str]:
    clock = SystemClock(origin_sim=amperio_stage.START)
    stage = amperio_stage.Stage(directory, enexa_url="http://127.0.0.1:9", clock=clock)
    stage.settings = msgspec.structs.replace(stage.settings, **FAST)
    async with stage.playing():
        url = f"http://127.0.0.1:{stage.port}"
        who = {Scope.PLATFORM: "enexa", Scope.OPERATOR: "operator", Scope.VIEWER: "viewer"}
        tokens = await bearers(url, who)
        return await fuzz(directory, Host.AMPERIO, url, tokens, examples=examples, phases=phases)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("fuzz_it", [fuzz_enexa, fuzz_amperio])
async def test_a_few_requests_to_each_operation_find_nothing_that_the_document_does_not_say(
    tmp_path: Path, fuzz_it: Fuzz
) -> None:
    code, report = await fuzz_it(tmp_path, 1, "fuzzing")

    assert code == 0, report


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("fuzz_it", [fuzz_enexa, fuzz_amperio])
async def test_g1_two_hundred_examples_each_find_nothing(tmp_path: Path, fuzz_it: Fuzz) -> None:
    code, report = await fuzz_it(tmp_path, 200, "examples,coverage,fuzzing,stateful")

    assert code == 0, report
    found = CASES.search(report)
    assert found is not None, report
    assert int(found.group(1)) > 1000


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
