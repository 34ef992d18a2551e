"""A stack of three real processes on free ports in a directory of its own, driven through `make` as people do."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from services.stack.options import PORT_VARIABLES, Ports
from services.stack.places import ROOT, Places
from services.stack.record import ProgramState, Record, load
from shared.contract.dispatch import CommandStatus
from shared.contract.operations import GET_LATEST, GET_SCHEDULE, GET_SERIES, LIST_COMMANDS, Operation
from shared.contract.reads import CommandPage, CommandRecord, LatestTelemetry, Series
from shared.contract.schedule import SiteSchedule
from shared.contract.wire import decode_reply

SITE = "SITE001"
PROGRAMS = ("emulator", "amperio", "enexa")
COMMAND_TIMEOUT_S = 120
PATIENCE_S = 120.0
"""How long to wait on a busy machine; how fast things are on an idle one is shown by `make bench`."""

T = TypeVar("T")
M = TypeVar("M", bound=msgspec.Struct)


class NotYet(AssertionError):
    """Something that was waited for did not happen in time."""


def free_ports() -> Ports:
    """Six ports that nobody uses now."""
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in PORT_VARIABLES]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        numbers = [probe.getsockname()[1] for probe in probes]
    return Ports(**dict(zip(PORT_VARIABLES, numbers, strict=True)))


class Stack:
    """One stack; nothing of it is shared with another, not even a port."""

    def __init__(self, directory: Path, ports: Ports) -> None:
        self.places = Places(directory)
        self.ports = ports
        self.timeout_s = COMMAND_TIMEOUT_S
        self._token: str | None = None

    def make(self, target: str, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run one command of the Makefile against this stack."""
        return subprocess.run(
            ["make", target, *words],
            cwd=ROOT,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            check=False,
            capture_output=True,
            text=True,
            timeout=self.timeout_s,
        )

    def environment(self) -> dict[str, str]:
        """This process's environment, without what an outer make left in it, pointing at this stack."""
        ports = msgspec.structs.asdict(self.ports)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
        moved = {variable: str(ports[field]) for field, variable in PORT_VARIABLES.items()}
        return {**inherited, **moved, "STACK_DIR": str(self.places.directory), "SYSTEM_PYTHON": sys.executable}

    def up(self, *words: str) -> str:
        """Start it and return what was said; fails the test where it does not come up."""
        done = self.make("up", "ENGINE=native", *words)
        assert done.returncode == 0, f"make up failed:\n{done.stdout}{done.stderr}\n{self.tails()}"
        return done.stdout

    def down(self) -> str:
        done = self.make("down")
        assert done.returncode == 0, done.stderr
        return done.stdout

    def record(self) -> Record:
        record = load(self.places.record)
        assert record is not None, "this stack is not running"
        return record

    def program(self, name: str) -> ProgramState:
        return self.record().programs[name]

    def kill(self, name: str) -> None:
        """End one program as a power cut would, and return once another has taken its place."""
        before = self.program(name)
        assert before.process is not None
        os.kill(before.process.pid, signal.SIGKILL)
        self.wait_for(lambda: self._runs_anew(name, before), f"{name} is started again", within_s=15)

    def _runs_anew(self, name: str, before: ProgramState) -> bool:
        now = self.program(name)
        return now.restarts > before.restarts and now.process is not None and now.process.alive()

    def get(self, path: str) -> bytes:
        """A body from Enexa's plain port, as the viewer; a token that has expired meanwhile is renewed."""
        try:
            return self._read(self.ports.enexa, path, self._token or self._log_in())
        except urllib.error.HTTPError as error:
            if error.code != 401:
                raise
            return self._read(self.ports.enexa, path, self._log_in())

    def _log_in(self) -> str:
        done = self.make("token", "ROLE=viewer")
        if done.returncode != 0:
            raise NotYet(done.stderr)
        self._token = done.stdout.strip()
        return self._token

    def _read(self, port: int, path: str, token: str = "") -> bytes:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=5) as reply:
                body: bytes = reply.read()
                return body
        except urllib.error.HTTPError as error:
            error.close()
            raise

    def ask(self, operation: Operation, reply: type[M], **query: str) -> M:
        """What Enexa answers to one of its read operations."""
        path = operation.path.format(site_id=SITE)
        asked = "&".join(f"{name}={value}" for name, value in query.items())
        return decode_reply(self.get(f"{path}?{asked}" if asked else path), reply)

    def latest(self) -> LatestTelemetry:
        return self.ask(GET_LATEST, LatestTelemetry)

    def schedule(self) -> SiteSchedule:
        return self.ask(GET_SCHEDULE, SiteSchedule)

    def commands(self) -> tuple[CommandRecord, ...]:
        return self.ask(LIST_COMMANDS, CommandPage, limit="500").commands

    def verified(self) -> list[CommandRecord]:
        """Setpoints whose effect was measured, newest first."""
        setpoints = [each for each in self.commands() if each.measured_kw is not None]
        return [each for each in setpoints if each.status is CommandStatus.VERIFIED]

    def seconds(self, since: datetime, until: datetime) -> Series:
        """Every stored second between two instants."""
        start, end = (at.isoformat().replace("+00:00", "Z") for at in (since, until))
        return self.ask(GET_SERIES, Series, **{"from": start, "to": end, "resolution": "raw", "limit": "10000"})

    def truth(self) -> Any:
        """What the emulated machine really does."""
        return json.loads(self._read(self.ports.side_door, "/v1/truth"))

    def notes(self) -> Any:
        """What happened to the emulated machine, in order."""
        return json.loads(self._read(self.ports.side_door, "/v1/truth/notes"))["notes"]

    def wait_for(self, question: Callable[[], T | None], what: str, *, within_s: float = PATIENCE_S) -> T:
        """The first answer that is true; a connection that is refused meanwhile is an answer that is not."""
        deadline_s = time.monotonic() + within_s
        trouble: BaseException | None = None
        while time.monotonic() < deadline_s:
            try:
                answer = question()
            except (OSError, NotYet) as error:
                trouble = error
            else:
                if answer:
                    return answer
            time.sleep(0.1)
        raise NotYet(f"not within {within_s:g} s: {what} ({trouble})\n{self.tails()}")

    def tails(self) -> str:
        """The end of each log, for the reader of a failed test."""
        ends = []
        for path in sorted(self.places.logs.glob("*.log")):
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            ends.append("\n".join([f"--- {path.name}", *lines[-12:]]))
        return "\n".join(ends)

    def survivors(self) -> list[str]:
        """Processes that still belong to this stack; none after it is down."""
        found = []
        for environ in Path("/proc").glob("[0-9]*/environ"):
            try:
                if f"STACK_DIR={self.places.directory}\0".encode() in environ.read_bytes():
                    command = environ.with_name("cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    found.append(f"{environ.parent.name} {command}")
            except OSError:
                continue
        return [line for line in found if re.search(r"-m (services|emulator)|multiprocessing", line)]


@contextmanager
def running_stack(directory: Path, *words: str) -> Iterator[Stack]:
    """A stack that is up, and down again afterwards whatever happens."""
    stack = Stack(directory, free_ports())
    try:
        stack.up(*words)
        yield stack
    finally:
        stack.make("down")
