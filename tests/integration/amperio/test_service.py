"""Amperio over its real sockets: HTTP in, Modbus out; Enexa is not there."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from services.amperio.app import Amperio
from shared.chargepost.registers import MANAGEMENT
from shared.contract.dispatch import (
    BatteryPower,
    CommandStatus,
    GridOperatorLimit,
    ImportKw,
    SetBatteryPower,
    SetGridLimit,
)
from shared.contract.operations import (
    AMPERIO_HEALTH,
    AMPERIO_SITES,
    DELETE_GRID_LIMIT,
    DISPATCH,
    GET_DISPATCH,
    PUT_GRID_LIMIT,
    SITE_STATE,
)
from shared.contract.telemetry import Mode
from shared.errors import BadInput, Forbidden, IdempotencyMismatch, Locked, NotFound, StaleCommand, Unreachable
from tests.integration.amperio.stage import SITE, Stage, eventually, playing

pytestmark = pytest.mark.timeout(90)  # real sockets, a real disk, and a machine that may be busy


def limit(stage: Stage, import_kw: float, **more: Any) -> SetGridLimit:
    return SetGridLimit(site_id=SITE, timestamp=stage.clock.now().at, params=ImportKw(import_kw=import_kw), **more)


def register(stage: Stage, name: str) -> Any:
    management = stage.lane.agent.image.management if stage.lane.agent.image else None
    return getattr(management, name)


async def test_without_enexa_the_site_is_safe_and_a_limit_is_applied_and_read_back(tmp_path: Path) -> None:
    async with playing(tmp_path) as stage:
        reply = await stage.call("enexa", DISPATCH, limit(stage, 25.0, command_id="limit-1"))

        assert reply.message.status is CommandStatus.APPLIED
        assert reply.message.applied_kw == 25.0
        record = await stage.call("viewer", GET_DISPATCH, command_id="limit-1")
        assert record.message.status is CommandStatus.APPLIED
        state = await stage.call("viewer", SITE_STATE, site_id=SITE)
        assert (state.message.mode, state.message.link_up) == (Mode.SAFE, True)
        await eventually(lambda: register(stage, "clearance_kw") == 25.0)
        sites = await stage.call("viewer", AMPERIO_SITES)
        assert [site.id for site in sites.message.sites] == [SITE]


async def test_the_same_command_in_parallel_is_carried_out_once(tmp_path: Path) -> None:
    async with playing(tmp_path) as stage:
        command = limit(stage, 30.0, command_id="once")

        answers = await asyncio.gather(
            *(stage.call("enexa", DISPATCH, command) for _ in range(20)), return_exceptions=True
        )

        good = [answer for answer in answers if not isinstance(answer, BaseException)]
        assert {answer.message.status for answer in good} == {CommandStatus.APPLIED}
        assert {getattr(answer, "code", "") for answer in answers if isinstance(answer, BaseException)} <= {
            "in_progress"
        }
        again = await stage.call("enexa", DISPATCH, command)
        assert again.message == good[0].message
        with pytest.raises(IdempotencyMismatch):
            await stage.call("enexa", DISPATCH, limit(stage, 31.0, command_id="once"))


async def test_the_grid_operators_cap_is_put_and_withdrawn_by_an_operator_only(tmp_path: Path) -> None:
    async with playing(tmp_path) as stage:
        cap = GridOperatorLimit(import_kw=12.0, from_=stage.clock.now().at)
        with pytest.raises(Forbidden):
            await stage.call("enexa", PUT_GRID_LIMIT, cap, site_id=SITE)

        await stage.call("operator", PUT_GRID_LIMIT, cap, site_id=SITE)
        await eventually(lambda: register(stage, "clearance_kw") == 12.0)
        withdrawn = await stage.call("operator", DELETE_GRID_LIMIT, site_id=SITE)

        assert withdrawn.status == 204
        await eventually(lambda: register(stage, "clearance_kw") == 40.0)


async def test_limits_and_commands_survive_a_restart(tmp_path: Path) -> None:
    async with playing(tmp_path) as stage:
        command = limit(stage, 22.0, command_id="before", epoch=7, seq=1)
        first = await stage.call("enexa", DISPATCH, command)
        await stage.call(
            "operator", PUT_GRID_LIMIT, GridOperatorLimit(import_kw=21.0, from_=stage.clock.now().at), site_id=SITE
        )
        clock = stage.clock

    async with playing(tmp_path, clock=clock) as stage:
        assert (await stage.call("enexa", DISPATCH, command)).message == first.message
        await eventually(lambda: register(stage, "clearance_kw") == 21.0)
        with pytest.raises(StaleCommand):
            await stage.call("enexa", DISPATCH, limit(stage, 50.0, epoch=6, seq=9))


async def test_a_locked_site_answers_409_and_no_link_503(tmp_path: Path) -> None:
    async with playing(tmp_path) as stage:
        stage.station.post.begin_fault("half_open")
        await eventually(lambda: not stage.lane.agent.link_up)
        with pytest.raises(Unreachable):
            await stage.call("enexa", DISPATCH, limit(stage, 10.0))

        stage.lane._locks.lock(SITE, "test")
        await eventually(lambda: stage.lane.agent.mode is Mode.LOCKED)
        with pytest.raises(Locked):
            await stage.call("enexa", DISPATCH, limit(stage, 10.0))
        health = await stage.call("viewer", AMPERIO_HEALTH)
        assert health.message.status == "degraded"


Ask = Callable[[Stage], Awaitable[Any]]


async def test_whoever_may_not_see_a_site_finds_none(tmp_path: Path) -> None:
    async with playing(tmp_path) as stage:
        await stage.call("enexa", DISPATCH, limit(stage, 25.0, command_id="mine"))
        asks: list[Ask] = [
            lambda stage: stage.call("other", GET_DISPATCH, command_id="mine"),
            lambda stage: stage.call("other", SITE_STATE, site_id=SITE),
            lambda stage: stage.call("other", DISPATCH, limit(stage, 5.0)),
        ]

        for ask in asks:
            with pytest.raises(NotFound):
                await ask(stage)
        with pytest.raises(Forbidden):
            await stage.call("viewer", DISPATCH, limit(stage, 5.0))


async def test_telemetry_is_kept_once_a_second_while_nobody_takes_it(tmp_path: Path) -> None:
    async with playing(tmp_path) as stage:
        await eventually(lambda: stage.lane.outbox.pending_count >= 3)
        clock = stage.clock

    async with playing(tmp_path, clock=clock) as stage:
        assert stage.lane.outbox.pending_count >= 3
        await eventually(lambda: stage.lane.outbox.rows >= 5)


async def test_a_second_instance_on_the_same_data_is_refused(tmp_path: Path) -> None:
    async with playing(tmp_path) as stage:
        with pytest.raises(BadInput, match="another Amperio"):
            Amperio(stage.settings, stage.clock)


async def test_a_command_in_safe_mode_is_answered_as_accepted_within_the_deadline(tmp_path: Path) -> None:
    async with playing(tmp_path) as stage:
        command = SetBatteryPower(
            site_id=SITE, timestamp=stage.clock.now().at, params=BatteryPower(power_kw=-10.0), command_id="held"
        )

        reply = await stage.call("enexa", DISPATCH, command)

        assert reply.message.status is CommandStatus.ACCEPTED
        assert MANAGEMENT.decode(words(stage)).request_kw is None


def words(stage: Stage) -> tuple[int, ...]:
    reply = stage.station.request(
        stage.clock.now(), 1, b"\x03" + MANAGEMENT.address.to_bytes(2, "big") + MANAGEMENT.count.to_bytes(2, "big")
    )
    return tuple(int.from_bytes(reply[at : at + 2], "big") for at in range(2, len(reply), 2))
