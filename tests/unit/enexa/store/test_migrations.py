"""The migrations lead to exactly the tables of the schema, and a killed one leaves nothing half done."""

import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, create_engine, event, inspect

from services.enexa.store.database import Database, migrate, sqlite_url
from services.enexa.store.schema import metadata
from shared.errors import BadInput


async def test_the_migrations_lead_to_the_schema(url: str) -> None:
    database = Database(url)
    await database.open()

    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    async with database.transaction() as connection:
        assert await connection.run_sync(differences) == []
    await database.close()


def _statements(path: Path) -> int:
    """How many statements a whole migration takes."""
    return _migrate_until(path, None)


def _migrate_until(path: Path, stop_at: int | None) -> int:
    engine = create_engine(f"sqlite:///{path}")
    count = 0

    @event.listens_for(engine, "connect")
    def _(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def _(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    @event.listens_for(engine, "before_cursor_execute")
    def _(*_args: object) -> None:
        nonlocal count
        count += 1
        if count == stop_at:
            raise KeyboardInterrupt

    try:
        with engine.begin() as connection:
            migrate(connection)
    finally:
        engine.dispose()
    return count


def test_a_migration_killed_at_any_statement_is_done_or_not_begun(tmp_path: Path) -> None:
    total = _statements(tmp_path / "whole.sqlite")
    assert total > 20
    for statement in range(1, total + 1):
        path = tmp_path / f"{statement}.sqlite"
        with pytest.raises(KeyboardInterrupt):
            _migrate_until(path, statement)
        engine = create_engine(f"sqlite:///{path}")
        assert inspect(engine).get_table_names() == [], statement
        engine.dispose()
        _migrate_until(path, None)


async def test_a_file_that_is_no_database_is_refused_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "enexa.sqlite"
    path.write_bytes(b"this is not a database at all, but it is long enough to look at" * 40)

    with pytest.raises(BadInput, match=r"enexa\.sqlite"):
        await Database(sqlite_url(path)).open()
