"""What the bootstrap takes from the lock, and when it knows that there is nothing to do."""

import json
from pathlib import Path

import pytest

from services.stack.bootstrap import LOCK, CannotBootstrap, Environment, Lock, digest, last_line, read, run

NEVER_IN_AN_IMAGE = {"pytest", "mypy", "ruff", "playwright", "hypothesis", "granian", "uv"}
ALWAYS_IN_AN_IMAGE = {"litestar", "pymodbus", "uvicorn", "uvloop", "cvxpy", "highspy", "sqlalchemy", "jinja2", "tzdata"}


@pytest.fixture(scope="module")
def lock() -> Lock:
    return Lock(LOCK)


def test_an_image_gets_what_runs_and_nothing_that_only_developers_need(lock: Lock) -> None:
    needed = lock.needed_without(("dev",))

    assert needed >= ALWAYS_IN_AN_IMAGE
    assert not needed & NEVER_IN_AN_IMAGE


def test_with_every_extra_the_whole_lock_is_needed(lock: Lock) -> None:
    assert lock.needed_without(()) == lock.names()


def test_each_entry_is_pinned_and_hashed(lock: Lock) -> None:
    lines = lock.entries({"uv", "msgspec"}).splitlines()

    assert [line.partition("==")[0] for line in lines if not line.startswith(" ")] == ["msgspec", "uv"]
    assert all("--hash=sha256:" in line for line in lines if line.startswith(" "))
    assert not any(line.rstrip().endswith("\\") for line in lines[-1:])


def stamped(venv: Path, **stamp: object) -> Environment:
    (venv / "bin").mkdir(parents=True, exist_ok=True)
    (venv / "bin" / "python").touch()
    (venv / "lib" / "python3.11" / "site-packages" / "one-1.0.dist-info").mkdir(parents=True, exist_ok=True)
    (venv / "bootstrap.json").write_text(json.dumps({"digest": digest(), "packages": 1, **stamp}))
    return Environment(venv, image=False)


def test_a_stamped_environment_is_left_alone(tmp_path: Path) -> None:
    assert stamped(tmp_path).is_complete()


@pytest.mark.parametrize("change", [{"digest": "another lock"}, {"packages": 2}])
def test_another_lock_or_a_missing_package_is_noticed(tmp_path: Path, change: dict[str, object]) -> None:
    assert not stamped(tmp_path, **change).is_complete()


def test_no_stamp_half_a_stamp_and_no_python_are_no_environment(tmp_path: Path) -> None:
    assert not Environment(tmp_path / "nothing", image=False).is_complete()

    environment = stamped(tmp_path)
    (tmp_path / "bin" / "python").unlink()
    assert not environment.is_complete()

    (tmp_path / "bootstrap.json").write_text("{")
    assert not environment.is_complete()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CannotBootstrap, match=r"requirements\.lock"):
        read(tmp_path / "requirements.lock")


def test_what_a_failed_command_said_last_is_kept() -> None:
    done = run(["sh", "-c", "echo first; echo 'no route to the registry' >&2; exit 3"])

    assert (done.returncode, last_line(done)) == (3, "no route to the registry")
