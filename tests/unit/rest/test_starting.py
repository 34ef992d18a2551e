"""A start that hangs ends and says where; one that is done goes on."""

import subprocess
import sys

HANGING = """
import threading
from shared.rest import starting
starting.START_WITHIN_REAL_S = 0.2
starting.begin()
{then}
threading.Event().wait(1.0)
"""


def _start(then: str) -> "subprocess.CompletedProcess[str]":
    code = HANGING.format(then=then)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, text=True, timeout=20)


def test_a_start_that_hangs_ends_with_the_stack_of_every_thread() -> None:
    ended = _start("pass")

    assert ended.returncode == 1
    assert "wait" in ended.stderr


def test_a_start_that_is_done_goes_on() -> None:
    ended = _start("starting.done()")

    assert (ended.returncode, ended.stderr) == (0, "")
