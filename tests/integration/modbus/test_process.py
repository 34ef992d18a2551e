"""The program itself: start, side door, commands, kill and restart, busy port, bad input."""

import io
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pyModbusTCP.client import ModbusClient

from emulator.__main__ import main
from emulator.ledger import FILE

START_S = 60.0
pytestmark = pytest.mark.timeout(120)  # several interpreters start, beside whatever else the machine does
ROOT = Path(__file__).resolve().parents[3]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Emulator:
    """One process of `chargepost serve`, on a winter noon, thirty times as fast."""

    def __init__(self, data: Path, **settings: str) -> None:
        self.port, self.api_port = free_port(), free_port()
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("CHARGEPOST_")},
            "CHARGEPOST_PORT": str(self.port),
            "CHARGEPOST_API_PORT": str(self.api_port),
            "CHARGEPOST_SPEED": "30",
            "CHARGEPOST_DATA_DIR": str(data),
            "CHARGEPOST_LOG_FORMAT": "json",
            **{f"CHARGEPOST_{name.upper()}": value for name, value in settings.items()},
        }
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> "Emulator":
        self.process = subprocess.Popen(
            [sys.executable, "-m", "emulator", "serve"],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.until(lambda: self.get("/v1/health")["steps"] > 0)
        return self

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(how)
        return self.process.wait(timeout=10)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "emulator", *words],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=25,
            check=False,
        )

    def in_process(self, *words: str) -> subprocess.CompletedProcess[str]:
        """The same without a new interpreter, for commands that end by themselves."""
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            for name in [name for name in os.environ if name.startswith("CHARGEPOST_")]:
                patch.delenv(name)
            for name, value in self.environment.items():
                patch.setenv(name, value)
            code = main(words)
        return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.api_port}{path}", timeout=5) as reply:
            return json.load(reply)

    def post(self, path: str, body: bytes) -> tuple[int, Any]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.api_port}{path}", body)
        try:
            with urllib.request.urlopen(request, timeout=5) as reply:
                return reply.status, json.load(reply)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def until(self, holds: Any) -> None:
        """Ask again and again, for a bounded time."""
        deadline = time.monotonic() + START_S
        while True:
            try:
                if holds():
                    return
            except OSError:
                assert self.process is None or self.process.poll() is None, "the emulator ended"
            assert time.monotonic() < deadline, "it did not come true in time"
            time.sleep(0.05)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    emulator = Emulator(tmp_path_factory.mktemp("chargepost")).start()
    yield emulator
    assert emulator.stop() == 0


def test_health_tells_speed_steps_and_stations(running: Emulator) -> None:
    health = running.get("/v1/health")

    assert (health["status"], health["speed"]) == ("ok", 30.0)
    assert health["stations"][0]["port"] == running.port


def test_a_car_that_arrives_by_command_charges_and_is_in_the_truth(running: Emulator) -> None:
    assert running.command("car", "--max-kw", "60", "--soc-pct", "30").returncode == 0

    running.until(lambda: max(running.get("/v1/truth")["values"][f"ev_{n}_kw"] for n in (1, 2)) > 30.0)
    notes = running.get("/v1/truth/notes")["notes"]
    assert any(note["kind"] == "car" and note["name"] == "plugged" for note in notes)


def test_the_truth_is_a_series_without_holes(running: Emulator) -> None:
    running.until(lambda: running.get("/v1/health")["steps"] > 40)
    series = running.get("/v1/truth/series?after=0&limit=30")

    times = [row[0] for row in series["rows"]]
    assert (series["first"], series["last"], len(times)) == (1, 30, 30)
    assert [round(b - a, 3) for a, b in pairwise(times)] == [1.0] * 29
    values = [dict(zip(series["columns"], row, strict=True)) for row in series["rows"]]
    for v in values:
        into = v["grid_kw"] + v["battery_1_kw"] + v["battery_2_kw"] + v["pv_kw"]
        assert abs(into - v["ev_1_kw"] - v["ev_2_kw"] - v["own_kw"]) < 1e-9


def test_a_register_write_is_in_the_truth_with_its_peer(running: Emulator) -> None:
    client = ModbusClient(host="127.0.0.1", port=running.port, unit_id=1, timeout=3.0)
    assert client.write_single_register(515, 88)
    assert client.write_single_register(515, 90)
    client.close()

    notes = [note for note in running.get("/v1/truth/notes")["notes"] if note["name"] == "config.soc_max_pct"]
    assert [(note["old"], note["new"]) for note in notes[-2:]] == [("90", "88"), ("88", "90")]
    assert notes[-1]["peer"].startswith("127.0.0.1:")


def test_faults_are_raised_listed_and_cleared_by_command(running: Emulator) -> None:
    assert running.in_process("inject", "exception_04", "--for", "100000", "--set", "function=3").returncode == 0
    assert [fault["name"] for fault in running.get("/v1/faults")["active"]] == ["exception_04"]
    client = ModbusClient(host="127.0.0.1", port=running.port, unit_id=1, timeout=3.0)
    assert client.read_holding_registers(2500, 1) is None
    assert client.last_except == 4

    assert running.in_process("clear").returncode == 0

    assert running.get("/v1/faults")["active"] == []
    assert client.read_holding_registers(2500, 1) is not None
    client.close()


BAD_BODIES = [
    ("/v1/faults", b'{"fault": "no_such_fault"}', 422, "there is no fault"),
    ("/v1/faults", b'{"fault": "estop", "for_s": -1}', 422, "for_s"),
    ("/v1/faults", b'{"fault": "estop", "strength": 1}', 422, "unknown field"),
    ("/v1/faults", b'{"fault": ', 400, "truncated"),
    ("/v1/faults", b'{"fault": "string_offline", "options": {"unit": 3}}', 422, "from 1 to 2, not 3"),
    ("/v1/cars", b'{"capacity_kwh": 0, "soc_start_pct": 20}', 422, "capacity_kwh"),
    ("/v1/cars", b'{"capacity_kwh": 60, "soc_start_pct": 80, "soc_target_pct": 20}', 422, "must lie above"),
    ("/v1/events", b'{"event": "meteorite", "at_s": 0}', 422, "meteorite"),
    ("/v1/cars?station=other", b'{"capacity_kwh": 60, "soc_start_pct": 20}', 404, "no such station"),
]


@pytest.mark.parametrize(("path", "body", "status", "word"), BAD_BODIES)
def test_a_bad_body_is_refused_with_the_reason(
    running: Emulator, path: str, body: bytes, status: int, word: str
) -> None:
    code, problem = running.post(path, body)

    assert code == status
    assert word in problem["detail"]


def test_an_unknown_fault_by_command_is_one_sentence_and_exit_code_two(running: Emulator) -> None:
    done = running.in_process("inject", "no_such_fault")

    assert done.returncode == 2
    assert "no_such_fault" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_busy_port_is_one_sentence_with_port_and_remedy(running: Emulator, tmp_path: Path) -> None:
    second = Emulator(tmp_path)
    second.environment["CHARGEPOST_PORT"] = str(running.port)
    done = second.command("serve")

    assert done.returncode == 2
    assert str(running.port) in done.stderr
    assert "another port" in done.stderr
    assert len(done.stderr.splitlines()) == 1


BAD_SETTINGS = [
    ({"station": "no_such_station"}, "no station 'no_such_station'"),
    ({"scenario": "no_such_scenario"}, "no scenario 'no_such_scenario'"),
    ({"sessions": "/no/such/file.csv"}, "/no/such/file.csv"),
    ({"speed": "-1"}, "CHARGEPOST_SPEED"),
    ({"sped": "2"}, "CHARGEPOST_SPED"),
    ({"tls_cert": "/no/such/cert.pem"}, "CHARGEPOST_TLS_KEY"),
    ({"tls_cert": "/no/such/cert.pem", "tls_key": "/no/such/key.pem"}, "/no/such/cert.pem"),
]


@pytest.mark.parametrize(("settings", "word"), BAD_SETTINGS)
def test_a_wrong_setting_is_one_sentence_that_names_it(settings: dict[str, str], word: str, tmp_path: Path) -> None:
    done = Emulator(tmp_path, **settings).in_process("serve")

    assert done.returncode == 2
    assert word in done.stderr
    assert len(done.stderr.splitlines()) == 1


STORY = """
name = "jumps"
story = "The state of charge jumps once, soon after the start."
soc_start_pct = 60
[[timeline]]
at_s = 20
event = "fault"
fault = "soc_jump"
options = { unit = 2, points = 20 }
[[timeline]]
at_s = 25
event = "fault"
fault = "soc_sentinel"
"""


def test_killed_and_started_again_it_is_a_rebooted_station_in_the_same_story(tmp_path: Path) -> None:
    (tmp_path / "jumps.toml").write_text(STORY)
    emulator = Emulator(tmp_path, scenario=str(tmp_path / "jumps.toml")).start()
    try:
        emulator.in_process("car", "--max-kw", "100")
        client = ModbusClient(host="127.0.0.1", port=emulator.port, unit_id=1, timeout=3.0, auto_close=True)
        assert client.write_multiple_registers(2500, [60, 1])
        emulator.until(lambda: emulator.get("/v1/truth")["values"]["ev_1_kw"] > 50.0)
        emulator.until(lambda: emulator.get("/v1/health")["stations"][0]["faults"] == ["soc_sentinel"])
        emulator.until(lambda: _kept(tmp_path, "soc_sentinel") > 20)
        before = emulator.get("/v1/truth")
        emulator.stop(signal.SIGKILL)

        emulator.start()

        assert client.read_holding_registers(2500, 2) == [60, 0]
        assert client.read_input_registers(2100, 1) == [2]
        after = emulator.get("/v1/truth")
        assert after["values"]["imported_kwh"] >= before["values"]["imported_kwh"] > 0.0
        assert after["outlets"][0]["lifetime_kwh"] >= before["outlets"][0]["lifetime_kwh"] > 0.0
        assert after["soc_pct"][0] == pytest.approx(before["soc_pct"][0], abs=2.0)
        assert [fault["name"] for fault in after["faults"]] == ["soc_sentinel"]
        notes = emulator.get("/v1/truth/notes?after=0")["notes"]
        assert [note["seq"] for note in notes] == list(range(1, len(notes) + 1))
        assert [note["name"] for note in notes if note["kind"] == "fault"].count("soc_jump") == 1
        assert any(note["name"] == "management.operation_mode" and note["peer"] for note in notes)
        series = emulator.get("/v1/truth/series?after=0&limit=20")
        assert (series["first"], series["last"]) == (1, 20)
        since = series["rows"][10][0]
        stretch = emulator.get(f"/v1/truth/series?from={_instant(since)}&to={_instant(since + 5)}")
        assert stretch["rows"] == series["rows"][10:15]
    finally:
        emulator.stop(signal.SIGKILL)


def _kept(data: Path, note: str) -> int:
    """The seconds in the ledger of that directory, once it holds this note."""
    ledger = sqlite3.connect(data / FILE)
    try:
        noted = ledger.execute("SELECT COUNT(*) FROM notes WHERE name = ?", (note,)).fetchone()[0]
        seconds: int = ledger.execute("SELECT COUNT(*) FROM seconds").fetchone()[0]
        return seconds if noted else 0
    finally:
        ledger.close()


def _instant(epoch_s: float) -> str:
    return datetime.fromtimestamp(epoch_s, UTC).isoformat()


def test_the_map_is_printed_in_three_forms(tmp_path: Path) -> None:
    emulator = Emulator(tmp_path)
    as_json = json.loads(emulator.in_process("registers", "--format", "json").stdout)
    as_csv = emulator.in_process("registers", "--format", "csv").stdout.splitlines()
    as_table = emulator.in_process("registers").stdout.splitlines()

    assert len(as_json) == len(as_csv) - 1 == len(as_table) - 1 == 92
    assert next(row for row in as_json if row["vendor"] == "station.mgmt.P_grid_clearance")["address"] == "2506"
