"""The migrations lead to exactly the tables of the schema, and a killed one leaves nothing half done."""

import sqlite3
import zlib
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, create_engine, event, inspect

from services.enexa.store.database import Database, migrate, sqlite_url
from services.enexa.store.schema import metadata, to_us
from services.enexa.store.store import Store
from services.enexa.store.telemetry import Ingest
from shared.errors import BadInput
from tests.unit.enexa.dispatching.scene import START, sample


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


def _migrate_until(path: Path, stop_at: int | None, revision: str = "head") -> int:
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
            migrate(connection, revision)
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


def _old_store(path: Path) -> None:
    """A store of the first schema with samples in it."""
    _migrate_until(path, None, "0001")
    with sqlite3.connect(path) as old:
        old.execute("INSERT INTO streams VALUES (1, 'SITE001', 'e1', 10)")
        for number in range(1, 11):
            body = zlib.compress(
                msgspec.json.encode(sample(START + timedelta(minutes=number * 10), sequence=number)), 1
            )
            us = to_us(START + timedelta(minutes=number * 10))
            old.execute("INSERT INTO samples VALUES (1, ?, ?, ?, ?)", (number, us, us + 5, body))
    old.close()


def test_the_move_to_chunks_killed_at_any_statement_loses_no_sample(tmp_path: Path) -> None:
    whole = tmp_path / "whole.sqlite"
    _old_store(whole)
    total = _migrate_until(whole, None)
    assert total >= 6
    for statement in range(1, total + 1):
        path = tmp_path / f"{statement}.sqlite"
        _old_store(path)
        with pytest.raises(KeyboardInterrupt):
            _migrate_until(path, statement)
        with sqlite3.connect(path) as half:
            assert half.execute("SELECT count(*) FROM samples").fetchone() == (10,), statement
        half.close()
        _migrate_until(path, None)
        with sqlite3.connect(path) as done:
            assert done.execute("SELECT count(*), sum(samples) FROM chunks").fetchone() == (10, 10), statement
        done.close()


async def test_samples_of_the_first_schema_are_read_known_and_packed(tmp_path: Path) -> None:
    path = tmp_path / "enexa.sqlite"
    _old_store(path)
    store = Store(sqlite_url(path))
    await store.open()
    old = [each.sequence for each in await store.telemetry.raw("SITE001", START, START + timedelta(days=1))]
    hours = await store.packing.pack_due(START + timedelta(days=1))
    again = await store.telemetry.kept("SITE001", START, START + timedelta(days=1))
    ingest = Ingest(site_id="SITE001", epoch="e1", samples=(again[3].sample,), gaps=(), received_at=START)
    twice = await store.telemetry.keep(ingest)
    await store.close()

    assert old == [each.sequence for each in again] == list(range(1, 11))
    assert again[0].received_us == to_us(START + timedelta(minutes=10)) + 5
    assert (hours, twice.duplicates) == (2, 1)


async def test_a_file_that_is_no_database_is_refused_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "enexa.sqlite"
    path.write_bytes(b"this is not a database at all, but it is long enough to look at" * 40)

    with pytest.raises(BadInput, match=r"enexa\.sqlite"):
        await Database(sqlite_url(path)).open()
