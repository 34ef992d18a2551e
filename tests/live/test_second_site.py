"""The five commands of the tutorial bring up a second site: they are taken from the page and run as they stand."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.stack.places import ROOT
from shared.contract.dispatch import CommandStatus
from shared.contract.reads import CommandPage
from shared.contract.registry import SitePage
from shared.contract.wire import decode_reply
from tests.live.stack import Stack, free_ports

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]

SITE = "SITE002"
PAGE = ROOT / "docs" / "tutorial.md"
BACKGROUND = " &"


def commands_of_the_page() -> list[str]:
    """The lines of the shell block under the heading that promises five commands."""
    part = PAGE.read_text(encoding="utf-8").split("## 5 A second site in five commands")[1]
    block = re.search(r"```sh\n(.*?)```", part, re.DOTALL)
    assert block is not None
    return block.group(1).strip().splitlines()


@contextmanager
def background(command: str, environment: dict[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    """A command in a session of its own, ended with all that it started."""
    started = subprocess.Popen(
        ["bash", "-c", command], cwd=ROOT, env=environment, start_new_session=True, stdout=subprocess.DEVNULL
    )
    try:
        yield started
    finally:
        os.killpg(started.pid, signal.SIGTERM)
        started.wait(30)


def test_the_five_commands_of_the_tutorial_bring_up_a_second_site(tmp_path: Path) -> None:
    lines = commands_of_the_page()
    assert len(lines) == 5
    ours, second = Stack(tmp_path / "stack", free_ports()), free_ports()
    # The page's own ports and places may be taken on this machine; nothing else of a line is changed.
    moved = {
        "5021": str(second.modbus),
        "8201": str(second.side_door),
        ".stack/data/second": str(tmp_path / "second"),
    }
    for word, place in moved.items():
        lines = [line.replace(word, place) for line in lines]
    up, emulator, *rest = lines
    try:
        _run(up, ours)
        assert emulator.endswith(BACKGROUND)
        with background(emulator.removesuffix(BACKGROUND), ours.environment()):
            ours.wait_for(lambda: bool(ours._read(second.side_door, "/v1/truth")), "the second station answers")
            said = [_run(line, ours) for line in rest[:-1]]
            assert f"{SITE} is there" in said[0]
            assert f"{SITE} is live" in said[1]
            ours.wait_for(lambda: _fresh(ours, rest[-1]), f"{SITE} has samples")
            ours.wait_for(lambda: _verified(ours), f"a setpoint of {SITE} is verified")
        sites = decode_reply(ours.get("/v1/sites"), SitePage)
        assert [each.id for each in sites.sites] == ["SITE001", SITE]
    finally:
        ours.make("down")
    assert ours.survivors() == []


def _run(line: str, stack: Stack) -> str:
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        cwd=ROOT,
        env=stack.environment(),
        stdin=subprocess.DEVNULL,
        check=False,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, f"{line}:\n{done.stdout}{done.stderr}\n{stack.tails()}"
    return done.stdout


def _fresh(stack: Stack, command: str) -> bool:
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=ROOT,
        env=stack.environment(),
        check=False,
        capture_output=True,
        text=True,
        timeout=180,
    )
    return re.search(rf"^{SITE} +newest sample is \d", done.stdout, re.MULTILINE) is not None


def _verified(stack: Stack) -> bool:
    page = decode_reply(stack.get(f"/v1/sites/{SITE}/commands?limit=100"), CommandPage)
    return any(each.status is CommandStatus.VERIFIED and each.requested_kw is not None for each in page.commands)
