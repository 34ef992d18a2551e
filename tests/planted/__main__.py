"""python -m tests.planted: plant each bug in a copy of the project and see whether its test notices.

The copy is a git worktree of HEAD in a temporary directory; what is not committed is not tried. A bug is caught where
its test fails; a test that cannot even be collected has caught nothing.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.clock import real_now_s
from tests.planted.patches import Planted, planted

ROOT = Path(__file__).parents[2]
TESTS_FAILED = 1
ONE_TEST_MAX_S = 600
WANTED = 29


def main() -> int:
    """0 where enough bugs were caught."""
    parser = argparse.ArgumentParser(prog="python -m tests.planted", description=__doc__)
    parser.add_argument("names", nargs="*", help="only these; default: all")
    given = parser.parse_args()
    bugs = [each for each in planted() if not given.names or each.name in given.names]
    caught = 0
    with worktree() as copy:
        for bug in bugs:
            began_s = real_now_s()
            verdict = plant(copy, bug)
            caught += verdict == "caught"
            print(f"{verdict:8} {bug.name:30} {real_now_s() - began_s:5.0f} s  {bug.bug} ({bug.test})", flush=True)
    print(f"{caught} of {len(bugs)} caught")
    return 0 if caught >= min(WANTED, len(bugs)) else 1


def plant(copy: Path, bug: Planted) -> str:
    """`caught`, `MISSED` or why it could not be tried; the copy is clean again afterwards."""
    if _git(copy, "apply", str(bug.path)).returncode:
        return "STALE"
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "-p", "no:cacheprovider", bug.test],
            cwd=copy,
            capture_output=True,
            check=False,
            timeout=ONE_TEST_MAX_S,
        )
    except subprocess.TimeoutExpired:
        return "HANGS"
    finally:
        _git(copy, "checkout", "--", ".")
    return "caught" if done.returncode == TESTS_FAILED else "MISSED"


@contextmanager
def worktree() -> Iterator[Path]:
    """A copy of HEAD."""
    with tempfile.TemporaryDirectory(prefix="planted-") as directory:
        copy = Path(directory) / "copy"
        _git(ROOT, "worktree", "add", "--detach", str(copy), "HEAD").check_returncode()
        try:
            yield copy
        finally:
            _git(ROOT, "worktree", "remove", "--force", str(copy))


def _git(where: Path, *words: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(["git", *words], cwd=where, capture_output=True, check=False)


if __name__ == "__main__":
    sys.exit(main())
