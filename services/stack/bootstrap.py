"""Make the virtual environment that everything else runs in; standard library only, because nothing else is there yet.

`python3 services/stack/bootstrap.py` creates `.venv`, installs `uv` into it, and lets `uv` install exactly what
`requirements.lock` names, hash by hash. A stamp in `.venv` holds the digest of that lock, so the next call returns at
once. Where `uv` cannot be had, pip does the same more slowly. Nothing here is newer than Python 3.7: a Python that is
too old for the stack must be able to read this file and find a better one.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

OLDEST = (3, 11)
ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
LOCK = ROOT / "requirements.lock"
STAMP = VENV / "bootstrap.json"
PYTHON = VENV / ("Scripts" if os.name == "nt" else "bin") / "python"
CANDIDATES = ("python3.11", "python3.12", "python3.13", "python3.14", "python3", "python")


class CannotBootstrap(Exception):
    """One sentence that names what is missing and the remedy."""


def main() -> int:
    """Exit code 0 with a complete environment, 1 with one sentence on stderr."""
    try:
        if not is_complete():
            build()
    except CannotBootstrap as error:
        say(f"bootstrap: {error}")
        return 1
    except KeyboardInterrupt:
        say("bootstrap: interrupted; run the same command again, it continues where it stopped")
        return 130
    return 0


def is_complete() -> bool:
    """Whether `.venv` holds what the lock names: the digest agrees and no package has been removed since."""
    try:
        stamp = json.loads(STAMP.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return stamp.get("digest") == digest() and stamp.get("packages") == count_packages() and PYTHON.exists()


def digest() -> str:
    """Digest of everything that decides what is installed."""
    try:
        parts = [path.read_bytes() for path in (LOCK, ROOT / "pyproject.toml")]
    except OSError as error:
        raise CannotBootstrap(f"cannot read {error.filename}: use a complete copy of the project") from error
    return hashlib.sha256(b"\0".join([*parts, str(ROOT).encode()])).hexdigest()


def count_packages() -> int:
    """How many packages lie in the environment."""
    return sum(1 for _ in VENV.glob("lib/python3.*/site-packages/*.dist-info"))


def build() -> None:
    """Create the environment and fill it, saying what happens and how long it took."""
    begun_s = time.monotonic()
    if not PYTHON.exists():
        create()
    wanted = sum(1 for line in LOCK.read_text(encoding="utf-8").splitlines() if line[:1].isalnum())
    say(f"bootstrap: installing {wanted} locked packages into .venv (the first time takes well under a minute)")
    if install_uv():
        install_with_uv()
    else:
        say("bootstrap: uv cannot be had here, so pip does it; that takes about half a minute longer")
        install_with_pip()
    STAMP.write_text(json.dumps({"digest": digest(), "packages": count_packages()}), encoding="utf-8")
    say(f"bootstrap: the environment is ready ({time.monotonic() - begun_s:.0f} s)")


def create() -> None:
    """Make `.venv` with the first Python that is new enough."""
    python, version = find_python()
    say(f"bootstrap: creating .venv with Python {version} ({python})")
    made = run([python, "-m", "venv", str(VENV)])
    if made.returncode != 0 and shutil.which("uv"):
        made = run(["uv", "venv", "--seed", "--allow-existing", "--python", python, str(VENV)])
    if made.returncode != 0 or not PYTHON.exists():
        shutil.rmtree(str(VENV), ignore_errors=True)
        raise CannotBootstrap(
            f"Python cannot make a virtual environment ({last_line(made)}): on Debian, apt-get install python3-venv"
        )


def find_python() -> tuple[str, str]:
    """Path and version of an interpreter that is new enough: this one, else the first on the PATH."""
    if sys.version_info >= OLDEST:
        return sys.executable, ".".join(str(part) for part in sys.version_info[:3])
    ask = "import sys; print('.'.join(str(part) for part in sys.version_info[:3]))"
    for name in CANDIDATES:
        path = shutil.which(name)
        if path is None:
            continue
        told = run([path, "-c", ask])
        version = told.stdout.strip()
        if told.returncode == 0 and tuple(int(part) for part in version.split(".")[:2]) >= OLDEST:
            return path, version
    raise CannotBootstrap("no Python 3.11 or newer is on the PATH: install one (on Debian 12: apt-get install python3)")


def install_uv() -> bool:
    """Put the locked `uv` into the environment; false where there is none for this machine."""
    if (PYTHON.parent / "uv").exists():
        return True
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as only_uv:
        only_uv.write(lines_of("uv"))
        only_uv.flush()
        got = run([PYTHON, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "-r", only_uv.name])
        return got.returncode == 0


def lines_of(package: str) -> str:
    """The lock's entry for one package, with its hashes."""
    taken: list[str] = []
    inside = False
    for line in LOCK.read_text(encoding="utf-8").splitlines():
        if line[:1].isalnum():
            inside = line.startswith(package + "==")
        if inside and not line.lstrip().startswith("#"):
            taken.append(line)
    return "\n".join(taken) + "\n"


def install_with_uv() -> None:
    """Exactly the lock, no more and no less, then the project itself."""
    uv = [PYTHON.parent / "uv", "pip"]
    into = ["--quiet", "--python", PYTHON]
    must([*uv, "sync", *into, "--require-hashes", LOCK])
    must([*uv, "install", *into, "--no-deps", "--no-build-isolation", "-e", ROOT])


def install_with_pip() -> None:
    """The same with pip, which resolves nothing and checks every hash."""
    pip = [PYTHON, "-m", "pip", "install", "--quiet", "--no-deps"]
    must([*pip, "--require-hashes", "-r", LOCK])
    must([*pip, "--no-build-isolation", "-e", ROOT])


def must(command: Sequence[object]) -> None:
    """Run a step that has no alternative."""
    done = run(command)
    if done.returncode != 0:
        raise CannotBootstrap(
            f"installing packages failed ({last_line(done)}): "
            "check that the package registry can be reached, then try again"
        )


def run(command: Sequence[object]) -> subprocess.CompletedProcess[str]:
    """Run without stdin and keep what it says."""
    environment = dict(os.environ, UV_PYTHON_DOWNLOADS="never", PIP_DISABLE_PIP_VERSION_CHECK="1")
    return subprocess.run(  # noqa: S603  every command is written in this file
        [str(part) for part in command],
        check=False,
        cwd=str(ROOT),
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    """What a failed command said last."""
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    return lines[-1] if lines else f"exit code {done.returncode}"


def say(sentence: str) -> None:
    """Tell the person what happens; stderr keeps the stdout of `make token` clean."""
    sys.stderr.write(sentence + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
