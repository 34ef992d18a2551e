"""Every store test runs against SQLite in a file, and against a PostgreSQL that is really started."""

import shutil
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from services.enexa.store.database import sqlite_url
from services.enexa.store.store import Store

POSTGRES_HOMES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A server of our own on a free port; the tests that need it skip where PostgreSQL is not installed."""
    found = shutil.which("initdb")
    home = Path(found).parent if found else next((each for each in POSTGRES_HOMES if (each / "initdb").exists()), None)
    if home is None:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    # Not below pytest's own directory: PostgreSQL refuses to run as root, and nobody else may look into that.
    directory = Path(tempfile.mkdtemp(prefix="enexa-postgres-"))
    shutil.chown(directory, "postgres")
    data = directory / "data"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def as_postgres(*command: str) -> None:
        done = subprocess.run(
            ["runuser", "-u", "postgres", "--", *command], capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode != 0:
            pytest.fail(f"{command[0]} failed: {done.stdout}{done.stderr}")

    as_postgres(str(home / "initdb"), "-D", str(data), "-U", "app", "-A", "trust", "--no-sync")
    options = f"-p {port} -k {directory} -c listen_addresses=127.0.0.1 -c fsync=off"
    log = str(directory / "log")
    as_postgres(str(home / "pg_ctl"), "-D", str(data), "-w", "-l", log, "-o", options, "start")
    yield f"postgresql+asyncpg://app@127.0.0.1:{port}/postgres"
    as_postgres(str(home / "pg_ctl"), "-D", str(data), "-m", "immediate", "stop")
    shutil.rmtree(directory)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh, empty database."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path / "enexa.sqlite")
    server: str = request.getfixturevalue("postgres")
    # One database for all tests: a new one is three hundred files, to be made now and to be removed in the end.
    host = server.removeprefix("postgresql+asyncpg://")
    emptied = "SET client_min_messages = error; DROP SCHEMA IF EXISTS public CASCADE; CREATE SCHEMA public"
    subprocess.run(["psql", f"postgresql://{host}", "-q", "-c", emptied], check=True, timeout=30)
    return server


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    opened = Store(url)
    await opened.open()
    yield opened
    await opened.close()
