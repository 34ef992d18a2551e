"""The whole loop of the platform over real sockets: sample, plan, command, verification, and an outage."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from services.enexa.dispatching.reconcile import ReconcileView
from services.enexa.planning_request import plan_request
from services.enexa.store.journal import Journal
from shared.contract.config import Buffering
from shared.contract.dispatch import CommandStatus, SetBatteryPower
from shared.contract.events import SiteStatus
from shared.contract.operations import (
    GET_LATEST,
    GET_SCHEDULE,
    GET_SERIES,
    LIST_ALERTS,
    LIST_COMMANDS,
    POST_STATUS,
    POST_TELEMETRY,
)
from shared.contract.reads import Alert, CommandRecord
from shared.errors import StoreFailed
from tests.contract.enexa.http import http
from tests.integration.enexa.stage import Stage, enexa, eventually, healthy, middleware

PLACE = {"site_id": "SITE001"}
pytestmark = pytest.mark.timeout(150)  # a worker process starts and plans, on a machine that may be busy


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with enexa(Stage(tmp_path, speed=10.0)) as running:
        yield running


@contextlib.asynccontextmanager
async def pushing(stage: Stage) -> AsyncIterator[None]:
    """The middleware's lane: a sample each clock second until the block ends."""
    lane = asyncio.create_task(_push(stage))
    try:
        yield
    finally:
        lane.cancel()
        await asyncio.gather(lane, return_exceptions=True)


async def _push(stage: Stage) -> None:
    sequence = 1
    while True:
        await stage.caller("CTRL001").call(POST_TELEMETRY, stage.peer.sample(sequence))
        if sequence % 5 == 0:
            status = SiteStatus(site_id="SITE001", online=True, buffer=Buffering(samples=0))
            await stage.caller("CTRL001").call(POST_STATUS, status)
        sequence += 1
        await stage.clock.sleep(1.0)


async def commands(stage: Stage, **query: str) -> list[CommandRecord]:
    reply = await stage.caller("viewer").call(LIST_COMMANDS, path=PLACE, query=query)
    return list(reply.message.commands)


async def test_a_sample_becomes_a_plan_and_the_plan_a_verified_command(stage: Stage) -> None:
    async with middleware(stage) as peer, pushing(stage):
        await eventually(lambda: _verified_setpoint(stage), within_s=60)
        plan = (await stage.caller("viewer").call(GET_SCHEDULE, path=PLACE)).message
        latest = (await stage.caller("viewer").call(GET_LATEST, path=PLACE)).message
        series = (await stage.caller("viewer").call(GET_SERIES, path=PLACE, query={"resolution": "raw"})).message

    assert plan.version >= 1
    assert len(plan.slots) > 90
    assert latest.age_s < 60.0
    assert len(series.points) >= 3
    assert any(isinstance(each, SetBatteryPower) for each in peer.commands)


async def test_a_platform_whose_middleware_is_missing_serves_waits_alerts_and_heals(stage: Stage) -> None:
    seen: list[ReconcileView] = []
    async with pushing(stage), watching(stage, seen):
        alert = (await eventually(lambda: _alerts(stage, open_=True), within_s=60))[0]
        async with middleware(stage):
            await eventually(lambda: _verified_setpoint(stage), within_s=60)
            cleared = (await eventually(lambda: _alerts(stage, open_=False), within_s=60))[0]
            await eventually(lambda: _finished(seen), within_s=60)

    assert cleared.alert_id == alert.alert_id
    assert cleared.cleared_at is not None
    record = seen[-1]
    assert [each.state for each in record.steps] == ["done"] * 4, record.steps
    assert record.schedule_version is not None
    assert record.commands_verified
    assert (record.expected_soc_pct, record.actual_soc_pct) == (50.0, 50.0)
    assert record.metrics_before is not None
    assert record.metrics_after is not None
    assert record.metrics_after.coverage_pct >= record.metrics_before.coverage_pct > 0.0
    assert record.metrics_after.import_kwh > 0.0


@contextlib.asynccontextmanager
async def watching(stage: Stage, seen: list[ReconcileView]) -> AsyncIterator[None]:
    """A viewer of the site's stream that keeps every state of a reconciliation, until the block ends."""
    viewer = asyncio.create_task(_watch(stage, seen))
    try:
        yield
    finally:
        viewer.cancel()
        await asyncio.gather(viewer, return_exceptions=True)


async def _watch(stage: Stage, seen: list[ReconcileView]) -> None:
    async with http(stage) as link, aiohttp.ClientSession() as session:
        headers = {"Authorization": f"Bearer {await link.token('viewer')}"}
        timeout = aiohttp.ClientTimeout(total=None)
        async with session.get(f"{stage.url}/v1/sites/SITE001/stream", headers=headers, timeout=timeout) as stream:
            kind = b""
            async for line in stream.content:
                if line.startswith(b"event: "):
                    kind = line.removeprefix(b"event: ").strip()
                elif kind == b"reconciliation" and line.startswith(b"data: "):
                    seen.append(msgspec.json.decode(line.removeprefix(b"data: "), type=ReconcileView))


async def _finished(seen: list[ReconcileView]) -> bool:
    return bool(seen) and seen[-1].finished_at is not None and not seen[-1].interrupted


async def test_health_says_why_there_is_no_plan(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*given: Any, **named: Any) -> Any:
        return msgspec.structs.replace(plan_request(*given, **named), plant=None)

    async def reason() -> str:
        checks = {each.name: each for each in (await healthy(stage)).checks}
        return checks["plan_SITE001"].detail

    assert "no sample" in await reason()
    monkeypatch.setattr("services.enexa.runtime.plan_request", broken)
    async with middleware(stage), pushing(stage):
        await eventually(lambda: _contains(reason, "the planner crashed"), within_s=90)


async def _contains(told: Callable[[], Awaitable[str]], words: str) -> bool:
    return words in await told()


async def _verified_setpoint(stage: Stage) -> bool:
    found = await commands(stage, status=CommandStatus.VERIFIED.value)
    return any(each.requested_kw is not None for each in found)


async def _alerts(stage: Stage, *, open_: bool) -> list[Alert]:
    page = (await stage.caller("viewer").call(LIST_ALERTS)).message
    return [each for each in page.alerts if each.code == "middleware_silent" and (each.cleared_at is None) is open_]


async def test_while_the_store_fails_no_command_leaves_and_afterwards_the_log_is_whole(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = True
    save = Journal.save_commands

    async def failing(journal: Journal, records: Sequence[CommandRecord]) -> None:
        if broken:
            raise StoreFailed("the disk is full")
        await save(journal, records)

    monkeypatch.setattr(Journal, "save_commands", failing)
    async with middleware(stage) as peer, pushing(stage):
        await eventually(lambda: _planned(stage), within_s=60)
        assert peer.commands == []
        broken = False
        await eventually(lambda: _verified_setpoint(stage), within_s=60)

    found = await commands(stage)
    assert {each.command_id for each in peer.commands} <= {each.command_id for each in found}


async def _planned(stage: Stage) -> bool:
    """Enough has happened for commands to be due."""
    latest = (await stage.caller("viewer").call(GET_LATEST, path=PLACE)).message
    return bool(latest.sample.sequence >= 15)
