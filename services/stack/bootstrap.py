"""Make the virtual environment that everything else runs in; standard library only, because nothing else is there yet.

`python3 services/stack/bootstrap.py` creates `.venv`, installs `uv` into it, and lets `uv` install exactly what
`requirements.lock` names, hash by hash. A stamp in `.venv` holds the digest of that lock, so the next call returns at
once. Where `uv` cannot be had, pip does the same more slowly. `bootstrap.py DIRECTORY` makes the container image's
environment in DIRECTORY: the same lock, without what only developers need. Nothing here is newer than Python 3.7: a
Python that is too old for the stack must be able to read this file and find a better one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

OLDEST = (3, 11)
ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements.lock"
CANDIDATES = ("python3.11", "python3.12", "python3.13", "python3.14", "python3", "python")
ONLY_FOR_DEVELOPERS = ("dev",)
# What the servers import. Compiled here, in parallel, a first start takes half the time.
IMPORTED_AT_START = (
    "aiohttp", "alembic", "anyio", "apsw", "click", "cryptography", "highspy", "httptools", "idna", "jinja2",
    "litestar", "mako", "markdown_it", "msgspec", "multidict", "multipart", "numpy", "pygments", "pymodbus", "rich",
    "sqlalchemy", "structlog", "trustme", "uvicorn", "yarl",
)  # fmt: skip


class CannotBootstrap(Exception):
    """One sentence that names what is missing and the remedy."""


def main(words: Sequence[str]) -> int:
    """Exit code 0 with a complete environment, 1 with one sentence on stderr."""
    try:
        environment = Environment(Path(words[0]), image=True) if words else Environment(ROOT / ".venv", image=False)
        if not environment.is_complete():
            environment.build()
    except CannotBootstrap as error:
        say(f"bootstrap: {error}")
        return 1
    except KeyboardInterrupt:
        say("bootstrap: interrupted; run the same command again, it continues where it stopped")
        return 130
    return 0


class Environment:
    """One virtual environment and what belongs into it."""

    def __init__(self, venv: Path, *, image: bool) -> None:
        self._venv = venv
        self._image = image
        self._bin = venv / ("Scripts" if os.name == "nt" else "bin")
        self._python = self._bin / "python"
        self._stamp = venv / "bootstrap.json"

    def is_complete(self) -> bool:
        """Whether everything is there: the digest agrees and no package has been removed since."""
        try:
            stamp = json.loads(self._stamp.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        known = stamp.get("digest") == digest() and stamp.get("packages") == self._count_packages()
        return known and self._python.exists()

    def build(self) -> None:
        """Create the environment and fill it, saying what happens and how long it took."""
        begun_s = time.monotonic()
        if not self._python.exists():
            self._create()
        lock = Lock(LOCK)
        wanted = lock.needed_without(ONLY_FOR_DEVELOPERS) if self._image else lock.names()
        say(f"bootstrap: installing {len(wanted)} locked packages into {self._venv} (well under a minute)")
        with tempfile.TemporaryDirectory() as directory:
            listed = Path(directory, "requirements.txt")
            listed.write_text(lock.entries(wanted), encoding="utf-8")
            only_uv = Path(directory, "uv.txt")
            only_uv.write_text(lock.entries({"uv"}), encoding="utf-8")
            if self._install_uv(only_uv):
                self._install_with_uv(listed)
            else:
                say("bootstrap: uv cannot be had here, so pip does it; that takes about half a minute longer")
                self._install_with_pip(listed)
        self._compile()
        self._stamp.write_text(json.dumps({"digest": digest(), "packages": self._count_packages()}), encoding="utf-8")
        say(f"bootstrap: the environment is ready ({time.monotonic() - begun_s:.0f} s)")

    def _count_packages(self) -> int:
        return sum(1 for _ in self._venv.glob("lib/python3.*/site-packages/*.dist-info"))

    def _create(self) -> None:
        """Make the environment with the first Python that is new enough."""
        python, version = find_python()
        say(f"bootstrap: creating {self._venv} with Python {version} ({python})")
        made = run([python, "-m", "venv", self._venv])
        if made.returncode != 0 and shutil.which("uv"):
            made = run(["uv", "venv", "--seed", "--allow-existing", "--python", python, self._venv])
        if made.returncode != 0 or not self._python.exists():
            shutil.rmtree(str(self._venv), ignore_errors=True)
            raise CannotBootstrap(
                f"Python cannot make a virtual environment ({last_line(made)}): on Debian, apt-get install python3-venv"
            )

    def _install_uv(self, only_uv: Path) -> bool:
        """Put the locked `uv` into the environment; false where there is none for this machine."""
        if (self._bin / "uv").exists():
            return True
        pip = [self._python, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
        return run([*pip, "-r", only_uv]).returncode == 0

    def _install_with_uv(self, listed: Path) -> None:
        """Exactly the list, no more and no less, then the project itself (an image brings its own copy)."""
        uv = [self._bin / "uv", "pip"]
        into = ["--quiet", "--python", self._python]
        must([*uv, "sync", *into, "--require-hashes", listed])
        if not self._image:
            must([*uv, "install", *into, "--no-deps", "--no-build-isolation", "-e", ROOT])

    def _install_with_pip(self, listed: Path) -> None:
        """The same with pip, which resolves nothing and checks every hash."""
        pip = [self._python, "-m", "pip", "install", "--quiet", "--no-deps"]
        must([*pip, "--require-hashes", "-r", listed])
        if not self._image:
            must([*pip, "--no-build-isolation", "-e", ROOT])

    def _compile(self) -> None:
        """Byte code for what every start imports; a start works without it, only more slowly."""
        packages = [
            each for name in IMPORTED_AT_START for each in self._venv.glob(f"lib/python3.*/site-packages/{name}")
        ]
        run([self._python, "-m", "compileall", "-q", "-j", "0", *packages])


class Lock:
    """`requirements.lock`: who is pinned to what, and (by its `via` comments) who asked for whom."""

    def __init__(self, path: Path) -> None:
        self._entries: dict[str, list[str]] = {}
        self._askers: dict[str, set[str]] = {}
        name = ""
        for line in read(path).splitlines():
            if line[:1].isalnum():
                name = line.partition("==")[0]
                # A package may stand there twice, for different Pythons.
                self._entries.setdefault(name, []).append(line)
                self._askers.setdefault(name, set())
            elif line.startswith("    --hash"):
                self._entries[name].append(line)
            elif name and line.startswith("    #"):
                self._askers[name].add(line.lstrip(" #").removeprefix("via").strip())

    def names(self) -> set[str]:
        return set(self._entries)

    def entries(self, names: set[str]) -> str:
        """These packages as the lock writes them."""
        return "\n".join(line for name in sorted(names) for line in self._entries[name]) + "\n"

    def needed_without(self, extras: Sequence[str]) -> set[str]:
        """What the project needs when these extras are left out, and what those packages need in turn."""
        needed = roots_without(extras) & self.names()
        while True:
            more = {name for name, askers in self._askers.items() if askers & needed} - needed
            if not more:
                return needed
            needed |= more


def roots_without(extras: Sequence[str]) -> set[str]:
    """The packages that pyproject.toml itself names, without those of some extras."""
    import tomllib  # noqa: PLC0415  an older Python comes this way only to be replaced

    project = tomllib.loads(read(ROOT / "pyproject.toml"))["project"]
    chosen = [each for extra, each in project["optional-dependencies"].items() if extra not in extras]
    named = [*project["dependencies"], *(requirement for each in chosen for requirement in each)]
    return {re.split(r"[^A-Za-z0-9._-]", requirement)[0].lower() for requirement in named}


def digest() -> str:
    """Digest of everything that decides what is installed."""
    decisive = [read(LOCK), read(ROOT / "pyproject.toml"), str(ROOT)]
    return hashlib.sha256("\0".join(decisive).encode()).hexdigest()


def read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise CannotBootstrap(f"cannot read {path}: use a complete copy of the project") from error


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
    sys.exit(main(sys.argv[1:]))
