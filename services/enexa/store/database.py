"""The connection to SQLite or PostgreSQL: opened, migrated, and its exceptions translated into ours.

SQLite has one connection for everything: its interpreter-bundled release may corrupt a write-ahead log that two
connections write, and one connection is also a queue, so readers never see half a group.
"""

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from asyncpg import InterfaceError, PostgresError
from sqlalchemy import Connection, event
from sqlalchemy.exc import DBAPIError, DisconnectionError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from services.enexa.store.statements import Insert, Row
from shared.errors import BadInput, StoreFailed

MIGRATIONS = Path(__file__).parent / "migrations"
SQLITE_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA busy_timeout=5000",
    "PRAGMA wal_autocheckpoint=4000",
    "PRAGMA journal_size_limit=67108864",
    "PRAGMA cache_size=-16000",
    "PRAGMA foreign_keys=ON",
)


DRIVER_ERRORS = (SQLAlchemyError, sqlite3.Error, PostgresError, InterfaceError, OSError)


class Group:
    """One transaction of many writers that begins as late as it can.

    Rows given to `write` leave together at the end, in one exchange with SQLite's thread or a few with PostgreSQL:
    through SQLAlchemy each statement takes three. Who must read before it writes asks for the `connection`.
    """

    def __init__(self, engine: AsyncEngine, *, is_sqlite: bool) -> None:
        self._engine = engine
        self._is_sqlite = is_sqlite
        self._rows: dict[Insert, list[Row]] = {}
        self._connection: AsyncConnection | None = None

    def write(self, into: Insert, rows: Sequence[Row]) -> None:
        """Insert the rows at the end; no two of a group may have the same key where a conflict changes a row."""
        if rows:
            self._rows.setdefault(into, []).extend(rows)

    async def connection(self) -> AsyncConnection:
        """The transaction, begun; what was given to `write` is not in it yet."""
        if self._connection is None:
            connection = await self._engine.connect()
            self._connection = connection
            await connection.begin()
        return self._connection

    async def commit(self) -> None:
        """Everything durable on return."""
        if self._connection is not None:
            await self._after_reading(self._connection)
        elif self._rows:
            async with self._engine.connect() as connection:
                driver: Any = (await connection.get_raw_connection()).driver_connection
                await (self._sqlite(driver) if self._is_sqlite else self._postgresql(driver))

    async def close(self) -> None:
        """Undo what was not committed."""
        if self._connection is not None:
            await self._connection.close()

    async def _after_reading(self, connection: AsyncConnection) -> None:
        for into, rows in self._rows.items():
            if self._is_sqlite:
                for statement, parameters in into.for_sqlite(rows):
                    await connection.exec_driver_sql(statement, tuple(parameters))
            else:
                await connection.exec_driver_sql(into.postgresql, into.for_postgresql(rows))
        await connection.commit()

    async def _sqlite(self, driver: Any) -> None:
        # aiosqlite has no public way to run more than one statement in its thread (docs/adr/0004-chunks.md).
        await driver._execute(_carry_out, driver._conn, self._rows)

    async def _postgresql(self, driver: Any) -> None:
        async with driver.transaction():
            for into, rows in self._rows.items():
                await driver.execute(into.postgresql, *into.for_postgresql(rows))


def _carry_out(connection: sqlite3.Connection, given: dict[Insert, list[Row]]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        for into, rows in given.items():
            for statement, parameters in into.for_sqlite(rows):
                connection.execute(statement, parameters)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@cache
def _numbered(query: str) -> str:
    """PostgreSQL's form of a query: its parameters have numbers."""
    head, *rest = query.split("?")
    return head + "".join(f"${place}{text}" for place, text in enumerate(rest, start=1))


class Database:
    """An engine that is ready after `open`."""

    def __init__(self, url: str, *, read_only: bool = False) -> None:
        self.url = url
        self.is_sqlite = url.startswith("sqlite")
        self._read_only = read_only
        self._engine: AsyncEngine | None = None

    async def open(self) -> None:
        """Connect and migrate to the newest schema; BadInput where the database cannot be used at all."""
        self._engine = _engine(self.url, is_sqlite=self.is_sqlite, read_only=self._read_only)
        try:
            async with self._engine.begin() as connection:
                if not self._read_only:
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

    async def fetch(self, query: str, *values: object) -> Sequence[Sequence[Any]]:
        """Many rows as the driver gives them; parameters are question marks. StoreFailed where the database refuses."""
        assert self._engine is not None, "the database is not open"
        try:
            async with self._engine.connect() as connection:
                driver: Any = (await connection.get_raw_connection()).driver_connection
                if self.is_sqlite:
                    rows: Sequence[Sequence[Any]] = await driver.execute_fetchall(query, values)
                else:
                    rows = await driver.fetch(_numbered(query), *values)
                return rows
        except DRIVER_ERRORS as error:
            raise StoreFailed(f"the store failed: {_told(error)}") from error

    @contextlib.asynccontextmanager
    async def group(self) -> AsyncIterator[Group]:
        """Many writers' transaction, durable when the block ends; StoreFailed where the database refuses."""
        assert self._engine is not None, "the database is not open"
        group = Group(self._engine, is_sqlite=self.is_sqlite)
        try:
            yield group
            await group.commit()
        except DRIVER_ERRORS as error:
            raise StoreFailed(f"the store failed: {_told(error)}") from error
        finally:
            await group.close()


def sqlite_url(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}"


def normalised_url(url: str) -> str:
    """A PostgreSQL address as people write it, with the driver that we use."""
    for prefix in ("postgres://", "postgresql://"):
        if url.startswith(prefix):
            return "postgresql+asyncpg://" + url.removeprefix(prefix)
    return url


def _engine(url: str, *, is_sqlite: bool, read_only: bool) -> AsyncEngine:
    if not is_sqlite:
        own = {"server_settings": {"default_transaction_read_only": "on"}} if read_only else {}
        engine = create_async_engine(url, pool_size=5, max_overflow=0, pool_timeout=5.0, connect_args=own)
        event.listen(engine.sync_engine, "checkout", _refuse_closed)
        return engine
    if read_only:
        return create_async_engine(f"{url.replace(':///', ':///file:', 1)}?mode=ro&uri=true", pool_size=1)
    # Every transaction is ended where it began; a rollback at each return to the pool would be another exchange.
    engine = create_async_engine(url, pool_size=1, max_overflow=0, pool_timeout=30.0, pool_reset_on_return=None)
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _refuse_closed(connection: Any, _record: Any, _proxy: Any) -> None:
    """The pool takes another connection for one that the server has ended; a ping would be three exchanges."""
    if connection.driver_connection.is_closed():
        raise DisconnectionError


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
