"""Enexa as a process: what it loads, how it refuses unusable input, and that it dies and comes back without a loss."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.enexa.app import build
from services.enexa.settings import settings_from
from shared.contract.operations import ENEXA_HEALTH, GET_SERIES, POST_TELEMETRY
from shared.errors import BadInput
from shared.rest.server import Listener, serve
from tests.integration.enexa.stage import Stage, eventually

ROOT = Path(__file__).parents[3]
HEAVY = ("cvxpy", "numba", "pvlib", "highspy", "scipy", "pandas")
pytestmark = pytest.mark.timeout(240)


def environment(stage: Stage, **more: str) -> dict[str, str]:
    given = stage.settings
    own = {
        "ENEXA_PORT": str(given.port),
        "ENEXA_DATA_DIR": str(given.data_dir),
        "ENEXA_AMPERIO_URL": given.amperio_url,
        "ENEXA_AMPERIO_SECRET_FILE": str(given.amperio_secret_file),
        "ENEXA_CREDENTIALS_FILE": str(given.credentials_file),
        "ENEXA_ORIGIN_REAL": stage.origin_real.isoformat(),
        "ENEXA_ORIGIN_SIM": "2024-01-15T10:00:01+00:00",
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ENEXA_")}
    return {**inherited, **own, **more}


def test_unusable_input_is_one_sentence_and_exit_code_2(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "services.enexa", "serve"],
        env=environment(Stage(tmp_path), ENEXA_PRICES="/no/such/prices.csv"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.strip().splitlines() if line.startswith("enexa:")]
    assert "prices.csv" in line


def test_the_server_loads_no_solver_and_no_compiler() -> None:
    program = "import services.enexa.commands, sys, json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)

    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert not loaded & set(HEAVY)


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"ENEXA_COLOUR": "red"}, "ENEXA_COLOUR"),
        ({"ENEXA_SPEED": "fast"}, "ENEXA_SPEED"),
        ({"ENEXA_SPEED": "-1"}, "ENEXA_SPEED"),
        ({"ENEXA_STATION": "windmill"}, "windmill"),
        ({"ENEXA_SCENARIO": "no_such_story"}, "no_such_story"),
        ({"ENEXA_ALLOWLIST": "everybody"}, "ENEXA_ALLOWLIST"),
        ({"ENEXA_PRICES": "/no/such/prices.csv"}, "prices.csv"),
        ({"ENEXA_CREDENTIALS_FILE": "/no/such/clients.json"}, "clients.json"),
        ({"ENEXA_AMPERIO_SECRET_FILE": "/no/such/secret"}, "ENEXA_AMPERIO_SECRET_FILE"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_setting_that_cannot_be_used_is_named(tmp_path: Path, more: dict[str, str], named: str) -> None:
    stage = Stage(tmp_path)

    with pytest.raises(BadInput, match=re.escape(named)):
        build(settings_from(environment(stage, **more)), stage.clock)


def test_prices_that_do_not_cover_the_start_are_refused_with_what_they_cover(tmp_path: Path) -> None:
    prices = tmp_path / "prices.csv"
    rows = [f"2023-05-01T{hour:02}:00:00Z,3600,{50 + hour}" for hour in range(24)]
    prices.write_text("timestamp_utc,interval_s,price_eur_per_mwh\n" + "\n".join(rows) + "\n")
    stage = Stage(tmp_path)

    with pytest.raises(BadInput, match=r"prices\.csv.*2023-05-01"):
        build(settings_from(environment(stage, ENEXA_PRICES=str(prices))), stage.clock)


async def test_a_busy_port_is_named_with_the_remedy(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", stage.port))
        taken.listen()
        with pytest.raises(BadInput, match=rf"{stage.port}.*set another port"):
            await serve(build(stage.settings, stage.clock), [Listener("127.0.0.1", stage.port)])


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    made = Stage(tmp_path)
    yield made
    await made.close()


async def start(stage: Stage) -> asyncio.subprocess.Process:
    process = await run(stage, "serve")

    async def answers() -> bool:
        assert process.returncode is None
        await stage.caller("viewer").call(ENEXA_HEALTH)
        return True

    await eventually(answers, within_s=60)
    return process


async def run(stage: Stage, *words: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.enexa",
        *words,
        env=environment(stage),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE if words[0] == "audit" else asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )


async def test_no_confirmed_sample_is_lost_when_the_process_is_killed(stage: Stage) -> None:
    confirmed: list[int] = []
    process = await start(stage)
    for number in range(1, 61):
        await stage.caller("CTRL001").call(POST_TELEMETRY, stage.peer.sample(number))
        confirmed.append(number)
    process.send_signal(signal.SIGKILL)
    await process.wait()

    process = await start(stage)
    query = {"resolution": "raw", "from": "2024-01-15T10:00:00Z"}
    series = await stage.caller("viewer").call(GET_SERIES, path={"site_id": "SITE001"}, query=query)
    process.send_signal(signal.SIGTERM)
    code = await process.wait()
    verify = await run(stage, "audit", "verify")
    said, _ = await verify.communicate()

    assert len(series.message.points) == len(confirmed)
    assert code == 0
    assert verify.returncode == 0
    assert b"unbroken" in said
