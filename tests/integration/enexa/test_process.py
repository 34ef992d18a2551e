"""Enexa as a process: what it loads, how it refuses unusable input, and that it dies and comes back without a loss."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from services.enexa.app import build
from services.enexa.settings import settings_from
from shared.contract.operations import ENEXA_HEALTH, GET_SERIES, POST_TELEMETRY
from shared.errors import BadInput
from shared.rest.server import Listener, serve
from tests.contract.enexa.http import http
from tests.integration.enexa.stage import Stage, eventually

ROOT = Path(__file__).parents[3]
HEAVY = ("cvxpy", "numba", "pvlib", "highspy", "scipy", "pandas")
pytestmark = pytest.mark.timeout(400)


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
    process = await run(stage, "serve", **NO_LIMITS)

    async def answers() -> bool:
        assert process.returncode is None
        await stage.caller("viewer").call(ENEXA_HEALTH)
        return True

    await eventually(answers, within_s=100)
    return process


NO_LIMITS = {
    f"ENEXA_RATE_{budget}_{what}": "1000000" for budget in ("TELEMETRY", "GENERAL") for what in ("PER_S", "BURST")
}
"""These tests count lines, whatever the rate; the limits have tests of their own."""


async def run(stage: Stage, *words: str, **settings: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.enexa",
        *words,
        env=environment(stage, **settings),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE if words[0] == "audit" else asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )


async def test_a1_h1_no_confirmed_sample_and_no_answered_requests_audit_line_is_lost_in_a_kill(stage: Stage) -> None:
    """Between two kills -9 come samples, and requests that are refused in every way there is."""
    process = await start(stage)
    answered = await _mixed(stage, 60)
    process.send_signal(signal.SIGKILL)
    await process.wait()

    process = await start(stage)
    query = {"resolution": "raw", "from": "2024-01-15T10:00:00Z"}
    series = await stage.caller("viewer").call(GET_SERIES, path={"site_id": "SITE001"}, query=query)
    audited = await _audited(stage)
    process.send_signal(signal.SIGTERM)
    code = await process.wait()
    verify = await run(stage, "audit", "verify")
    said, _ = await verify.communicate()

    assert len(series.message.points) == sum(name.startswith("sample-") for name in answered)
    assert [audited.count(name) for name in answered] == [1] * len(answered)
    assert code == 0
    assert verify.returncode == 0
    assert b"unbroken" in said


@pytest.mark.soak
@pytest.mark.timeout(3600)
async def test_h1_a_hundred_thousand_requests_with_a_kill_every_five_thousand(stage: Stage) -> None:
    answered: list[str] = []
    for life in range(20):
        process = await start(stage)
        answered += await _mixed(stage, 5000, life=life)
        process.send_signal(signal.SIGKILL)
        await process.wait()
    process = await start(stage)
    audited = Counter(await _audited(stage))
    process.send_signal(signal.SIGTERM)
    await process.wait()

    assert len(answered) == 100_000
    assert {name: audited[name] for name in answered if audited[name] != 1} == {}


WAYS_TO_BE_REFUSED: list[tuple[str, str, bytes | None, bool, int]] = [
    ("GET", "/v1/sites", None, False, 401),
    ("GET", "/v1/nothing", None, True, 404),
    ("PUT", "/v1/sites", b"{}", True, 405),
    ("POST", "/v1/telemetry", b"x" * (POST_TELEMETRY.body_limit_bytes + 1), True, 413),
    ("POST", "/v1/telemetry", b"{", True, 400),
]


async def _mixed(stage: Stage, count: int, *, life: int = 0) -> list[str]:
    """Half samples, half refusals, several at a time; the ids of the requests that were answered."""
    async with http(stage) as link:
        token = await link.token("CTRL001")

        async def one(number: int) -> str:
            if number % 2:
                name, sequence = f"sample-{life}-{number}", life * count + number // 2 + 1
                content = msgspec.json.encode(stage.peer.sample(sequence))
                method, path, signed, expected = "POST", "/v1/telemetry", True, 200
            else:
                name = f"refused-{life}-{number}"
                method, path, body, signed, expected = WAYS_TO_BE_REFUSED[number // 2 % len(WAYS_TO_BE_REFUSED)]
                content = body or b""
            headers = {"X-Request-ID": name, "Content-Type": "application/json"}
            got = await link.send(method, path, bearer=token if signed else None, headers=headers, data=content)
            assert got.status == expected, got
            return name

        answered: list[str] = []
        for first in range(0, count, 20):
            answered += await asyncio.gather(*(one(number) for number in range(first, min(first + 20, count))))
        return answered


async def _audited(stage: Stage) -> list[str]:
    """The request ids of the whole audit log."""
    async with http(stage) as link:
        found: list[str] = []
        path = "/v1/audit?limit=1000"
        while path:
            page = (await link.send("GET", path, as_="operator")).json
            found += [each["request_id"] for each in page["entries"]]
            path = f"/v1/audit?limit=1000&cursor={page['cursor']}" if page.get("cursor") else ""
        return found
