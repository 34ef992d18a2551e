"""Amperio over its real sockets: HTTP in, Modbus out; Enexa is not there."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
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


COMMAND = b'{"site_id":"SITE001","command":"set_battery_power","timestamp":"2024-06-15T10:00:00Z","params":'
BAD = [
    # what is wrong, the body, the status
    ("not json", b"{", 400),
    ("not utf-8", b'{"site_id": "\xff"}', 400),
    ("a list", b"[]", 400),
    ("no command", {"site_id": SITE, "timestamp": "NOW", "params": {}}, 400),
    ("an unknown command", {"command": "explode"}, 400),
    ("a string for a number", {"params": {"power_kw": "5"}}, 400),
    ("nan", COMMAND + b'{"power_kw":NaN}}', 400),
    ("infinity", COMMAND + b'{"power_kw":1e999}}', 400),
    ("an unknown field", {"colour": "red"}, 400),
    ("an unknown parameter", {"params": {"power_kw": 1.0, "power": 2.0}}, 400),
    ("a naive time", {"timestamp": "2024-06-15T10:00:00"}, 400),
    ("an epoch for a time", {"timestamp": 1718445600}, 400),
    ("another site", {"site_id": "SITE009"}, 404),
    ("an empty site", {"site_id": ""}, 422),
    ("a far too large power", {"params": {"power_kw": 99999.0}}, 422),
    ("beyond the nameplate", {"params": {"power_kw": 300.0}}, 422),
    ("watts for kilowatts", {"params": {"power_kw": -2500.0}}, 422),
    ("an old time", {"timestamp": "2024-06-14T10:00:00Z"}, 422),
    ("a time to come", {"timestamp": "2024-06-16T10:00:00Z"}, 422),
    ("an end before the start", {"valid_until": "2024-06-14T10:00:00Z"}, 422),
    ("valid for an hour", {"valid_until": "LATER"}, 422),
    ("twice the same key", COMMAND + b'{"power_kw":1.0},"params":{"power_kw":2.0}}', 400),
    ("deep nesting", b"[" * 9_000, 400),
    ("seventeen kilobytes", {"reason": "x" * 17_000}, 413),
]  # fmt: skip


async def test_b11_b12_bad_input_has_its_status_and_writes_and_stores_nothing(tmp_path: Path) -> None:
    async with playing(tmp_path) as stage, aiohttp.ClientSession() as session:
        token = await stage.caller("enexa")._bearer(renew=False)
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        before = (register(stage, "request_kw"), register(stage, "clearance_kw"))

        answers = [
            (what, await posted(session, stage, headers, filled(stage, body)), status) for what, body, status in BAD
        ]

        wrong = [(what, got, wanted) for what, got, wanted in answers if got != wanted]
        assert not wrong
        assert (register(stage, "request_kw"), register(stage, "clearance_kw")) == before
        assert not stage.lane.agent.ledger.open_entries()


def filled(stage: Stage, body: Any) -> Any:
    if isinstance(body, bytes):
        return body
    now = stage.clock.now()
    whole = {
        "site_id": SITE,
        "command": "set_battery_power",
        "params": {"power_kw": -25},
        "timestamp": now.at.isoformat(),
        **body,
    }
    if whole["timestamp"] == "NOW":
        del whole["command"]
        whole["timestamp"] = now.at.isoformat()
    if whole.get("valid_until") == "LATER":
        whole["valid_until"] = now.later(3600.0).at.isoformat()
    return whole


async def posted(session: aiohttp.ClientSession, stage: Stage, headers: dict[str, str], body: Any) -> int:
    sent = {"data": body} if isinstance(body, bytes) else {"json": body}
    async with session.post(f"http://127.0.0.1:{stage.port}/v1/dispatch", headers=headers, **sent) as reply:
        assert reply.content_type == "application/problem+json"
        return reply.status


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
