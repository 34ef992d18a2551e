"""A stack in containers: Compose does the supervising, this file only hands it the options."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec

from services.stack.credentials import open_to_containers
from services.stack.places import ROOT, Places
from services.stack.programs import clock_settings, input_settings, prefixed
from services.stack.record import Record, save
from shared.errors import Unreachable

ENGINE_ANSWERS_WITHIN_S = 10
BUILD_WITHIN_S = 1200
INSIDE = Path("/inputs")
"""Where a file of this machine appears in a container."""


def project(places: Places) -> str:
    """Compose's name for this stack; another directory is another stack."""
    if places.directory == ROOT / ".stack":
        return "charging-twins"
    return f"charging-twins-{hashlib.sha256(bytes(places.directory)).hexdigest()[:8]}"


def engine_answers() -> bool:
    """Whether a container engine runs here and has Compose v2."""
    if shutil.which("docker") is None:
        return False
    return all(
        _run(command, timeout_s=ENGINE_ANSWERS_WITHIN_S).returncode == 0
        for command in (["docker", "info"], ["docker", "compose", "version"])
    )


def start(record: Record, places: Places) -> None:
    """Build the image and return once all three services are healthy; raises Unreachable with Compose's last words."""
    open_to_containers(places)
    save(record, places.record)
    _write_override(record, places)
    if record.options.simulated:
        # Yesterday's run may lie in this clock's future.
        _compose(places, "down", "--volumes")
    done = _compose(places, "up", "--detach", "--build", "--wait", capture=False, timeout_s=BUILD_WITHIN_S)
    if done.returncode != 0:
        logs = _compose(places, "logs", "--no-color", "--tail", "5").stdout
        _compose(places, "down")
        places.record.unlink(missing_ok=True)
        raise Unreachable(
            f"the containers did not become healthy (docker compose, exit code {done.returncode}); they said:\n{logs}"
        )


def stop(places: Places) -> None:
    """Remove containers and networks; the volumes keep the data."""
    _compose(places, "down", capture=False)
    places.record.unlink(missing_ok=True)


def is_running(places: Places) -> bool:
    return bool(_compose(places, "ps", "--quiet").stdout.strip())


def follow(places: Places) -> None:
    _compose(places, "logs", "--follow", "--tail", "20", capture=False, timeout_s=None)


def _write_override(record: Record, places: Places) -> None:
    """Options become environment, files become read-only mounts."""
    options = record.options
    mounts = {
        "enexa": _mount(options.prices, "prices.csv"),
        "emulator": _mount(options.sessions, "sessions.csv"),
        "amperio": [],
    }
    settings = input_settings(
        record,
        prices=str(INSIDE / "prices.csv") if options.prices else None,
        sessions=str(INSIDE / "sessions.csv") if options.sessions else None,
    )
    services = {
        name: {
            "environment": prefixed(name, own | clock_settings(record)),
            "volumes": mounts[name],
        }
        for name, own in settings.items()
    }
    (places.run / "compose.json").write_bytes(msgspec.json.format(msgspec.json.encode({"services": services})))


def _mount(path: str | None, name: str) -> list[str]:
    return [f"{path}:{INSIDE / name}:ro"] if path else []


def _compose(
    places: Places, *words: str, capture: bool = True, timeout_s: float | None = 120
) -> "subprocess.CompletedProcess[str]":
    override = places.run / "compose.json"
    files = ["--file", str(ROOT / "compose.yaml"), *(["--file", str(override)] if override.exists() else [])]
    command = ["docker", "compose", "--project-name", project(places), *files, *words]
    return _run(command, capture=capture, timeout_s=timeout_s, STACK_DIR=str(places.directory))


def _run(
    command: Sequence[str], *, capture: bool = True, timeout_s: float | None, **extra: str
) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(  # noqa: S603  every command is written in this file
            command,
            check=False,
            cwd=ROOT,
            env={**os.environ, **extra},
            stdin=subprocess.DEVNULL,
            capture_output=capture,
            text=True,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, returncode=124, stdout="", stderr="no answer in time")
