"""compose.yaml and the Dockerfile as far as they can be judged without a container engine."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from services.stack.places import ROOT


def test_the_dockerfile_has_nothing_that_hadolint_would_change() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], check=False, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout


def test_the_dockerfile_needs_no_frontend_and_no_fixed_base() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()

    assert not any(line.startswith("# syntax=") for line in lines)
    assert [line for line in lines if line.startswith("FROM")] == [
        "FROM ${BASE_IMAGE} AS environment",
        "FROM ${BASE_IMAGE}",
    ]


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """The services as Compose understands them."""
    if shutil.which("docker") is None:
        pytest.skip("there is no docker client here, so Compose cannot read compose.yaml")
    if subprocess.run(["docker", "compose", "version"], check=False, capture_output=True).returncode != 0:
        pytest.skip("the docker client here has no Compose, so it cannot read compose.yaml")
    done = subprocess.run(
        ["docker", "compose", "--profile", "postgres", "config", "--format", "json"],
        cwd=ROOT,
        env={**os.environ, "STACK_DIR": ".stack"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert set(found["services"]) == {"enexa", "amperio", "emulator", "postgres"}
    return dict(found["services"])


def test_every_container_is_hardened(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["read_only"] is True, name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["user"] not in {"", "root", "0"}, name
        assert service["healthcheck"]["test"], name
        assert service["mem_limit"], name


def test_ports_are_published_on_loopback_and_modbus_is_not(services: dict[str, Any]) -> None:
    published = [port for service in services.values() for port in service.get("ports", ())]

    assert {port["host_ip"] for port in published} == {"127.0.0.1"}
    assert 5020 not in {port["target"] for port in published}


def test_modbus_is_shared_by_amperio_and_the_emulator_alone(services: dict[str, Any]) -> None:
    networks = {name: set(service["networks"]) for name, service in services.items()}

    assert {name for name, joined in networks.items() if "field" in joined} == {"amperio", "emulator"}
    assert networks["enexa"] & networks["emulator"] == {"demo"}
    assert {name for name, joined in networks.items() if "demo" in joined} == {"enexa", "emulator"}
