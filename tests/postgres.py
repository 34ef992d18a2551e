"""A PostgreSQL of our own on a free port, really started, for tests and benches."""

import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HOMES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
OPTIONS_OF_TESTS = ("-c", "fsync=off")


def home() -> Path | None:
    """Where its programs are; None where it is not installed."""
    found = shutil.which("initdb")
    return Path(found).parent if found else next((each for each in HOMES if (each / "initdb").exists()), None)


@contextmanager
def server(*options: str) -> Iterator[str]:
    """The address of an empty database, until the block ends; RuntimeError where it does not start."""
    programs = home()
    assert programs is not None, "PostgreSQL is not installed (apt-get install postgresql)"
    # Not below pytest's own directory: PostgreSQL refuses to run as root, and nobody else may look into that.
    directory = Path(tempfile.mkdtemp(prefix="enexa-postgres-"))
    shutil.chown(directory, "postgres")
    data = directory / "data"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    _as_postgres(str(programs / "initdb"), "-D", str(data), "-U", "app", "-A", "trust", "--no-sync")
    words = " ".join(("-p", str(port), "-k", str(directory), "-c", "listen_addresses=127.0.0.1", *options))
    control = str(programs / "pg_ctl"), "-D", str(data)
    _as_postgres(*control, "-w", "-l", str(directory / "log"), "-o", words, "start")
    try:
        yield f"postgresql+asyncpg://app@127.0.0.1:{port}/postgres"
    finally:
        _as_postgres(*control, "-m", "immediate", "stop")
        shutil.rmtree(directory)


def _as_postgres(*command: str) -> None:
    words = ["runuser", "-u", "postgres", "--", *command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed: {done.stdout}{done.stderr}")
