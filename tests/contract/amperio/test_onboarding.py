"""A site is enrolled from the middleware's side: the real command, the real platform, a real station on its socket."""

import asyncio
import contextlib
import io
import json
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from services.amperio.__main__ import main
from services.amperio.app import Amperio
from services.amperio.controllers import CONTROLLERS, Controllers
from services.amperio.runtime import Lanes
from services.amperio.settings import Settings
from services.enexa.inbox import Inbox
from shared.contract.operations import GET_CONTROLLER, Scope
from shared.contract.registry import OnboardingState
from shared.rest.auth import digest
from shared.rest.server import Listener, serve
from tests.integration.amperio.stage import eventually, eventually_async, free_port
from tests.integration.enexa.stage import Stage, enexa
from tests.integration.modbus.served import Served, serving

pytestmark = pytest.mark.timeout(120)  # two services and a station, on a machine that may be busy


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with enexa(Stage(tmp_path, speed=10.0)) as running:
        yield running


@pytest.fixture
async def station() -> AsyncIterator[Served]:
    async with serving() as served:
        yield served


class Command:
    """`amperio enrol`, run as a person does: settings in the environment, the token on stdin."""

    def __init__(self, stage: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._stage, self._monkeypatch, self._capsys = stage, monkeypatch, capsys
        self.controllers = Controllers(stage.directory / "amperio" / CONTROLLERS)
        for name, value in {
            "DATA_DIR": stage.directory / "amperio",
            "ENEXA_URL": stage.url,
            "SPEED": stage.clock.speed,
            "ORIGIN_REAL": stage.origin_real.isoformat(),
            "ORIGIN_SIM": stage.clock.now().at.isoformat(),
        }.items():
            monkeypatch.setenv(f"AMPERIO_{name}", str(value))

    async def enrol(self, site_id: str, port: int, token: str = "") -> tuple[int, str, str]:
        """Exit code, stdout, stderr."""
        self._monkeypatch.setattr("sys.stdin", io.StringIO(token + "\n"))
        return await self.run("enrol", site_id, "--station", f"127.0.0.1:{port}")

    async def run(self, *words: str) -> tuple[int, str, str]:
        code = await asyncio.to_thread(main, list(words))
        said = self._capsys.readouterr()
        return code, said.out, said.err

    def token(self, site_id: str = "SITE001") -> str:
        return Inbox(self._stage.settings.data_dir).invite(site_id, self._stage.clock.now().at)


@pytest.fixture
def command(stage: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(stage, monkeypatch, capsys)


async def state_at_enexa(stage: Stage, controller_id: str) -> OnboardingState:
    reply = await stage.caller("viewer").call(GET_CONTROLLER, path={"controller_id": controller_id})
    state: OnboardingState = reply.message.state
    return state


async def test_one_command_registers_tests_the_station_and_goes_live(
    stage: Stage, station: Served, command: Command
) -> None:
    token = command.token()

    code, out, err = await command.enrol("SITE001", station.port, token)

    assert (code, err) == (0, "")
    assert "ok     writes" in out
    assert "is live" in out
    controller = command.controllers.find("SITE001")
    assert controller is not None
    assert controller.state is OnboardingState.ACTIVE
    assert await state_at_enexa(stage, controller.controller_id) is OnboardingState.ACTIVE
    assert not {token, controller.api_key} & set(out.split())
    path = stage.directory / "amperio" / CONTROLLERS / "SITE001.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert station.station.post.levers.external is False, "a self-test takes no control"


async def test_a_station_that_fails_its_tests_does_not_go_live_and_is_tried_again_without_a_token(
    stage: Stage, station: Served, command: Command
) -> None:
    station.station.post.begin_fault("string_offline")
    station.run(3)

    code, out, err = await command.enrol("SITE001", station.port, command.token())

    assert code == 1
    assert "FAILED faults: the station reports string_offline" in out
    assert "run the same command again" in err
    controller = command.controllers.find("SITE001")
    assert controller is not None
    assert await state_at_enexa(stage, controller.controller_id) is OnboardingState.BOOTSTRAPPED

    station.station.post.end_fault("string_offline")
    station.run(60)
    code, out, err = await command.enrol("SITE001", station.port)

    assert (code, err) == (0, ""), out
    assert await state_at_enexa(stage, controller.controller_id) is OnboardingState.ACTIVE


@pytest.mark.parametrize("fault", ["meter_sign_flipped", "words_swapped", "scale_changed"])
async def test_a_map_that_does_not_match_the_station_is_noticed_before_it_goes_live(
    stage: Stage, station: Served, command: Command, fault: str
) -> None:
    station.charge()
    station.station.post.begin_fault(fault)
    station.run(2)

    code, out, _ = await command.enrol("SITE001", station.port, command.token())

    assert code == 1, out


async def test_a_station_that_is_more_dangerous_alone_than_with_us_does_not_go_live(
    stage: Stage, command: Command
) -> None:
    async with serving("reference_day") as alone:
        code, out, _ = await command.enrol("SITE001", alone.port, command.token())

    assert code == 1
    assert "FAILED fallback: without control it would import up to 80 kW, allowed 40" in out


async def test_a_wrong_token_and_an_absent_station_say_what_is_wrong_and_keep_nothing_wrong(
    stage: Stage, station: Served, command: Command
) -> None:
    code, _, err = await command.enrol("SITE001", station.port, "not-a-token")
    assert (code, command.controllers.find("SITE001")) == (2, None)
    assert err.startswith("amperio: ")

    code, _, err = await command.enrol("SITE001", free_port(), command.token())
    assert code == 2
    assert "no connection" in err

    code, _, err = await command.enrol("SITE001", station.port)
    assert (code, err) == (0, ""), "registered and bootstrapped already: only the address was wrong"


async def test_a_lost_answer_to_the_last_step_is_healed_by_asking_again(
    stage: Stage, station: Served, command: Command
) -> None:
    await command.enrol("SITE001", station.port, command.token())
    live = command.controllers.find("SITE001")
    assert live is not None
    path = stage.directory / "amperio" / CONTROLLERS / "SITE001.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "state": "bootstrapped"}))

    code, _, _ = await command.enrol("SITE001", station.port)

    assert (code, command.controllers.find("SITE001")) == (0, live)


@contextlib.asynccontextmanager
async def amperio(stage: Stage, **more: Any) -> AsyncIterator[tuple[Amperio, Lanes]]:
    """The middleware on the data directory that the command wrote to."""
    credentials = stage.directory / "amperio_clients.json"
    who = {"client_id": "enexa", "secret_sha256": digest("enexa-secret"), "scope": Scope.PLATFORM}
    credentials.write_text(json.dumps([who]))
    settings = Settings(data_dir=stage.directory / "amperio", credentials_file=credentials, enexa_url=stage.url, **more)
    middleware = Amperio(settings, stage.clock)
    lanes = await middleware.lanes()
    stop = asyncio.Event()
    app = middleware.application(lanes)
    served = asyncio.create_task(serve(app, [Listener("127.0.0.1", free_port())], stop=stop))
    try:
        yield middleware, lanes
    finally:
        stop.set()
        await served


async def test_a_site_enrolled_beside_a_running_middleware_is_served_within_seconds(
    stage: Stage, station: Served, command: Command
) -> None:
    Inbox(stage.settings.data_dir).put_site("SITE002", "chargepost")
    await command.enrol("SITE001", station.port, command.token())
    async with amperio(stage) as (_, lanes), serving() as second:
        assert [lane.site_id for lane in lanes] == ["SITE001"]

        async def enrolled() -> bool:
            return (await command.enrol("SITE002", second.port, command.token("SITE002")))[0] == 0

        await eventually_async(enrolled)
        await eventually(lambda: {lane.site_id for lane in lanes} == {"SITE001", "SITE002"})
        lane = lanes.of("SITE002")
        await eventually(lambda: lane.agent.config is not None and lane.agent.config.site_id == "SITE002")
        await eventually(lambda: lane.outbox.stored_through >= 1)

        before = command.controllers.key("SITE002")
        assert await command.run("renew-key", "SITE009") != (0, "", "")
        code, out, err = await command.run("renew-key", "SITE002")
        assert (code, err) == (0, "")
        renewed = command.controllers.key("SITE002")
        assert renewed != before
        assert renewed not in out
        through = lane.outbox.stored_through
        await eventually(lambda: lane.outbox.stored_through > through)

    async with amperio(stage) as (again, lanes):
        assert sorted(again.stations) == ["SITE001", "SITE002"]
        assert again.stations["SITE002"].secret() == renewed
        through = lanes.of("SITE002").outbox.stored_through
        await eventually(lambda: lanes.of("SITE002").outbox.stored_through > through)
