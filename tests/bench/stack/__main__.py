"""Time a whole stack, natively: from a bare clone to healthy, to a verified setpoint, and back after a kill.

`python -m tests.bench.stack` prints one line for each promise; it needs a package registry for the cold start.
"""

import os
import platform
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from services.stack.places import ROOT
from shared.clock import real_now_s
from tests.live.stack import PROGRAMS, Stack, free_ports


def main() -> None:
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"{machine}, load {os.getloadavg()[0]:.1f}\n")
    print("| what | measured | promised |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        with _timed("environment from a bare clone", "with the next line < 60 s"):
            _bootstrap(directory / "clone")
        stack = Stack(directory / "stack", free_ports())
        try:
            with _timed("`make up` until all are healthy", "< 5 s"):
                stack.up()
            with _timed("then until a setpoint is verified", "< 30 s"):
                stack.wait_for(stack.verified, "a verified setpoint")
            for program in PROGRAMS:
                _heal(stack, program)
            for program in PROGRAMS:
                for line in _memory(stack, program):
                    print(line)
        finally:
            stack.make("down")


@contextmanager
def _timed(what: str, promised: str) -> Iterator[None]:
    begun_s = real_now_s()
    yield
    print(f"| {what} | {real_now_s() - begun_s:.1f} s | {promised} |", flush=True)


def _bootstrap(clone: Path) -> None:
    """The commit as it stands, in a directory of its own."""
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    subprocess.run(["make", "--quiet", "setup"], cwd=clone, check=True, capture_output=True)


def _heal(stack: Stack, program: str) -> None:
    before = stack.latest().sample.timestamp
    with _timed(f"{program} killed, until samples with a live battery arrive again", ""):
        stack.kill(program)
        stack.wait_for(_live_after(stack, before), "live samples")


def _live_after(stack: Stack, before: object) -> Callable[[], bool]:
    def live() -> bool:
        latest = stack.latest()
        return latest.age_s < 2 and latest.sample.timestamp != before and latest.sample.battery.soc_pct is not None

    return live


def _memory(stack: Stack, program: str) -> Iterator[str]:
    """Resident memory of a program, and of each worker it has."""
    process = stack.program(program).process
    assert process is not None
    yield f"| {program}, resident | {_rss_mb(process.pid):.0f} MB | < 200 MB |"
    for child in _children(process.pid):
        command = Path(f"/proc/{child}/cmdline").read_bytes()
        if b"resource_tracker" not in command:
            yield f"| {program}'s worker, resident | {_rss_mb(child):.0f} MB | < 350 MB |"


def _children(pid: int) -> list[int]:
    told = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for each in told for child in each.read_text(encoding="utf-8").split()]


def _rss_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    main()
