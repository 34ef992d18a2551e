"""Every store test runs against SQLite in a file, and against a PostgreSQL that is really started."""

import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from services.enexa.store.database import sqlite_url
from services.enexa.store.store import Store
from tests.postgres import OPTIONS_OF_TESTS, home, server


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A server of our own; the tests that need it skip where PostgreSQL is not installed."""
    if home() is None:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    with server(*OPTIONS_OF_TESTS) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh, empty database."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path / "enexa.sqlite")
    given: str = request.getfixturevalue("postgres")
    # One database for all tests: a new one is three hundred files, to be made now and to be removed in the end.
    host = given.removeprefix("postgresql+asyncpg://")
    emptied = "SET client_min_messages = error; DROP SCHEMA IF EXISTS public CASCADE; CREATE SCHEMA public"
    subprocess.run(["psql", f"postgresql://{host}", "-q", "-c", emptied], check=True, timeout=30)
    return given


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    opened = Store(url)
    await opened.open()
    yield opened
    await opened.close()
