"""The stack in containers, for real: healthy, closed where it should be closed, and alive again after a kill."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.stack.containers import project
from services.stack.places import ROOT
from tests.live.stack import PROGRAMS, Stack, free_ports

pytestmark = [pytest.mark.compose, pytest.mark.timeout(900)]

START_WITHIN_S = 600
REACH = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3).close()"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The variables under which a container engine answers: the machine's, else one started for these tests."""
    if _answers({}):
        yield {}
        return
    directory = tmp_path_factory.mktemp("engine")
    script = [str(ROOT / "tests" / "live" / "engine.sh")]
    try:
        started = subprocess.run(
            [*script, "start", directory],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            text=True,
            timeout=START_WITHIN_S,
        )
        found = dict(line.split("=", 1) for line in started.stdout.splitlines() if "=" in line)
        if started.returncode != 0 or not _answers(found):
            reason = (started.stderr.strip().splitlines() or ["no reason was given"])[-1]
            pytest.skip(f"no container engine answers here and none could be started: {reason}")
        yield found
    except subprocess.TimeoutExpired:
        pytest.skip(f"a container engine did not start within {START_WITHIN_S} s")
    finally:
        subprocess.run([*script, "stop", directory], stdin=subprocess.DEVNULL, check=False, timeout=60)


def _answers(engine: dict[str, str]) -> bool:
    commands = (["docker", "info"], ["docker", "compose", "version"])
    try:
        return all(
            subprocess.run(
                command, env={**os.environ, **engine}, capture_output=True, check=False, timeout=10
            ).returncode
            == 0
            for command in commands
        )
    except (OSError, subprocess.TimeoutExpired):
        return False


class Containers(Stack):
    """The same stack, in containers."""

    def __init__(self, directory: Path, engine: dict[str, str]) -> None:
        super().__init__(directory, free_ports())
        self._engine = engine
        self.timeout_s = START_WITHIN_S

    def environment(self) -> dict[str, str]:
        return {**super().environment(), **self._engine}

    def docker(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["docker", *words], env=self.environment(), capture_output=True, check=False, text=True, timeout=60
        )

    def inside(self, service: str, *command: str) -> "subprocess.CompletedProcess[str]":
        return self.docker("exec", self.container(service), *command)

    def python(self, service: str, script: str, *words: object) -> bool:
        """Whether a script succeeds inside a container."""
        return self.inside(service, "python", "-S", "-c", script, *(str(word) for word in words)).returncode == 0

    def tails(self) -> str:
        """The end of each program's log, for the reader of a failed test."""
        told = (self.docker("logs", "--tail", "12", self.container(service)) for service in PROGRAMS)
        return "\n".join(each.stdout + each.stderr for each in told)

    def container(self, service: str) -> str:
        return f"{project(self.places)}-{service}-1"

    def inspect(self, service: str) -> Any:
        return json.loads(self.docker("inspect", self.container(service)).stdout)[0]

    def addresses(self, service: str) -> list[str]:
        return [each["IPAddress"] for each in self.inspect(service)["NetworkSettings"]["Networks"].values()]


@pytest.fixture(scope="module")
def containers(engine: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containers]:
    stack = Containers(tmp_path_factory.mktemp("compose") / "stack", engine)
    try:
        done = stack.make("up", "ENGINE=containers")
        assert done.returncode == 0, f"{done.stdout}{done.stderr}"
        assert "containers" in done.stdout
        yield stack
    finally:
        stack.make("down")
        listed = stack.docker("volume", "ls", "--quiet", "--filter", f"name={project(stack.places)}").stdout.split()
        stack.docker("volume", "rm", *listed)


def test_all_three_are_healthy(containers: Containers) -> None:
    for service in PROGRAMS:
        assert containers.inspect(service)["State"]["Health"]["Status"] == "healthy"


def test_the_loop_closes_in_containers_too(containers: Containers) -> None:
    containers.wait_for(lambda: containers.latest().age_s < 5, "a fresh sample")
    containers.wait_for(containers.verified, "a verified setpoint")


def test_enexa_cannot_reach_modbus_and_amperio_can(containers: Containers) -> None:
    assert containers.python("amperio", REACH, "chargepost", 5020)
    for address in ("chargepost", "side-door", *containers.addresses("emulator")):
        assert not containers.python("enexa", REACH, address, 5020), f"Enexa reaches Modbus at {address}"


def test_the_side_door_is_open_to_enexa_alone(containers: Containers) -> None:
    assert containers.python("enexa", REACH, "side-door", 8200)
    for address in ("side-door", *containers.addresses("emulator")):
        assert not containers.python("amperio", REACH, address, 8200), f"Amperio reaches the side door at {address}"


@pytest.mark.parametrize("service", PROGRAMS)
def test_each_program_is_locked_down(containers: Containers, service: str) -> None:
    status = containers.inside(service, "cat", "/proc/1/status").stdout
    fields = {name: value.split() for name, _, value in (line.partition(":") for line in status.splitlines())}

    assert fields["Uid"] == ["10001"] * 4
    assert fields["Gid"] == ["10001"] * 4
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(fields[kind][0], 16) == 0, kind
    assert fields["NoNewPrivs"] == ["1"]
    for place in ("/app/x", "/venv/x", "/etc/x", "/x"):
        assert containers.inside(service, "touch", place).returncode != 0, f"{place} could be written"
    assert containers.inside(service, "touch", "/data/x").returncode == 0


@pytest.mark.parametrize("service", PROGRAMS)
def test_each_program_sees_its_own_secrets_alone(containers: Containers, service: str) -> None:
    seen = set(containers.inside(service, "ls", "/run/secrets").stdout.split())

    expected = {
        "emulator": set(),
        "amperio": {"ca.pem", "amperio.pem", "amperio.key", "amperio_at_enexa", "amperio_clients.json"},
        "enexa": {"ca.pem", "enexa.pem", "enexa.key", "enexa_at_amperio", "enexa_clients.json"},
    }[service]
    assert seen == expected
    environment = "\n".join(containers.inspect(service)["Config"]["Env"])
    for secret in containers.places.secrets.iterdir():
        assert secret.read_text().strip() not in environment, f"{secret.name} stands in the environment"


@pytest.mark.parametrize("service", PROGRAMS)
def test_ports_are_published_on_loopback_alone(containers: Containers, service: str) -> None:
    published = containers.inspect(service)["NetworkSettings"]["Ports"]
    hosts = {binding["HostIp"] for bindings in published.values() for binding in bindings or ()}

    assert hosts == {"127.0.0.1"}
    assert "5020/tcp" not in {port for port, bindings in published.items() if bindings}


def test_a_killed_container_comes_back_by_itself(containers: Containers) -> None:
    before = containers.inspect("amperio")
    os.kill(before["State"]["Pid"], signal.SIGKILL)

    containers.wait_for(lambda: containers.inspect("amperio")["RestartCount"] > before["RestartCount"], "a restart")
    containers.wait_for(lambda: containers.latest().age_s < 3, "fresh samples again")
