"""Name a process so that its number cannot be mistaken for another's, and end only those that are ours."""

import asyncio
import contextlib
import os
import signal
import subprocess
from pathlib import Path

from msgspec import Struct

from shared.clock import real_deadline_s, real_now_s


class Process(Struct, frozen=True):
    """A process id and the moment it was started: the pair is never used twice."""

    pid: int
    started: str

    def alive(self) -> bool:
        return start_mark(self.pid) == self.started


def name_process(pid: int) -> Process:
    """The process that has this id now."""
    return Process(pid, start_mark(pid) or "never")


def start_mark(pid: int) -> str | None:
    """When the process with this id was started, as the system counts; None where there is none (a zombie is none)."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.parent.parent.joinpath("self").exists():
        return _start_mark_of_ps(pid)
    try:
        fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def _start_mark_of_ps(pid: int) -> str | None:
    """The same on a system without /proc."""
    told = subprocess.run(  # noqa: S603  the only input is a number
        ["ps", "-o", "lstart=", "-p", str(pid)],  # noqa: S607  ps lies elsewhere on every system
        check=False,
        capture_output=True,
        text=True,
    )
    return told.stdout.strip() or None


def signal_group(process: Process, number: signal.Signals) -> None:
    """Send a signal to the process group that a program of ours leads."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


async def end(process: Process, *, patience_s: float) -> None:
    """Ask a program to stop, wait, and only then insist; nothing happens to a stranger with the same id."""
    if not process.alive():
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGTERM)
    deadline_s = real_deadline_s(patience_s)
    while process.alive() and real_now_s() < deadline_s:  # noqa: ASYNC110  no event tells when a stranger's child ends
        await asyncio.sleep(0.02)
    if process.alive():
        signal_group(process, signal.SIGKILL)
