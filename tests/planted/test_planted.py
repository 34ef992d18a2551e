"""The planted bugs stay plantable; `make soak` plants them and sees them caught."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.planted.__main__ import ROOT, WANTED, plant, worktree
from tests.planted.patches import Planted, planted

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git applies patches")


def test_there_are_thirty_bugs_each_with_a_test_that_is_there() -> None:
    bugs = planted()

    assert len(bugs) >= 30
    assert len({bug.bug for bug in bugs}) == len(bugs)
    for bug in bugs:
        assert (ROOT / bug.test.partition("::")[0]).exists(), f"{bug.name}: {bug.test}"


@pytest.mark.parametrize("bug", planted(), ids=lambda bug: bug.name)
def test_every_patch_still_applies(bug: Planted) -> None:
    done = subprocess.run(
        ["git", "apply", "--check", str(bug.path)], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, f"the code has moved: plant {bug.name} anew\n{done.stderr}"


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_nearly_every_bug_is_caught() -> None:
    with worktree() as copy:
        verdicts = {bug.name: plant(copy, bug) for bug in planted()}

    missed = [name for name, verdict in verdicts.items() if verdict != "caught"]
    assert len(verdicts) - len(missed) >= WANTED, missed


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_bug_that_changes_nothing_is_not_called_caught(tmp_path: Path) -> None:
    harmless = tmp_path / "harmless.patch"
    harmless.write_text(
        "diff --git a/shared/backoff.py b/shared/backoff.py\n--- a/shared/backoff.py\n+++ b/shared/backoff.py\n"
        "@@ -1,2 +1,3 @@\n"
        + "".join(f" {line}\n" for line in (ROOT / "shared/backoff.py").read_text().splitlines()[:1])
        + "+# a remark\n \n"
    )
    bug = Planted(name="harmless", path=harmless, bug="a remark", test="tests/unit/shared/test_backoff_units_errors.py")
    with worktree() as copy:
        assert plant(copy, bug) == "MISSED"
