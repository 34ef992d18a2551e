"""The connection to SQLite or PostgreSQL: opened, migrated, and its exceptions translated into ours.

SQLite has one connection for everything: its interpreter-bundled release may corrupt a write-ahead log that two
connections write, and one connection is also a queue, so readers never see half a group.
"""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from shared.errors import BadInput, StoreFailed

MIGRATIONS = Path(__file__).parent / "migrations"
SQLITE_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA busy_timeout=5000",
    "PRAGMA wal_autocheckpoint=1000",
    "PRAGMA journal_size_limit=67108864",
    "PRAGMA cache_size=-16000",
    "PRAGMA foreign_keys=ON",
)


class Database:
    """An engine that is ready after `open`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.is_sqlite = url.startswith("sqlite")
        self._engine: AsyncEngine | None = None

    async def open(self) -> None:
        """Connect and migrate to the newest schema; BadInput where the database cannot be used at all."""
        self._engine = _engine(self.url, is_sqlite=self.is_sqlite)
        try:
            async with self._engine.begin() as connection:
                await connection.run_sync(migrate)
        except (SQLAlchemyError, OSError) as error:
            await self.close()
            raise BadInput(f"cannot open the database {_named(self.url)}: {_told(error)}") from error

    async def close(self) -> None:
        if self._engine is not None:
            await self._engine.dispose()
            self._engine = None

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that is durable when the block ends; StoreFailed where the database refuses."""
        assert self._engine is not None, "the database is not open"
        try:
            async with self._engine.begin() as connection:
                yield connection
        except (SQLAlchemyError, OSError) as error:
            raise StoreFailed(f"the store failed: {_told(error)}") from error


def sqlite_url(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}"


def normalised_url(url: str) -> str:
    """A PostgreSQL address as people write it, with the driver that we use."""
    for prefix in ("postgres://", "postgresql://"):
        if url.startswith(prefix):
            return "postgresql+asyncpg://" + url.removeprefix(prefix)
    return url


def _engine(url: str, *, is_sqlite: bool) -> AsyncEngine:
    if not is_sqlite:
        return create_async_engine(url, pool_size=5, max_overflow=0, pool_pre_ping=True, pool_timeout=5.0)
    engine = create_async_engine(url, pool_size=1, max_overflow=0, pool_timeout=30.0)
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # The driver must not open transactions by itself, or a migration could be half committed.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in SQLITE_PRAGMAS:
        cursor.execute(pragma)
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def migrate(connection: Connection, revision: str = "head") -> None:
    """Lead the schema to `revision` inside the caller's transaction: either all of it happens, or nothing."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def _named(url: str) -> str:
    """The address without a password."""
    head, _, tail = url.rpartition("@")
    return f"{head.split('://')[0]}://...@{tail}" if head else url


def _told(error: Exception) -> str:
    inner = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return str(inner).splitlines()[0][:200] if str(inner) else type(inner).__name__
