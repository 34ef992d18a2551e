"""The truth on disk: one append-only SQLite file with every physics second and every note of every station.

Rows are only added. Beyond the bound the oldest go; triggers refuse every other update and delete, also from outside.
Numbers count for the whole file and go on over restarts.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from emulator.device.truth import COLUMNS, Note, Row, Stretch, Truth
from shared.errors import BadInput, StoreFailed

FILE = "truth.sqlite3"
ABORT = "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"


class Fresh(Struct, frozen=True, kw_only=True):
    """What a station has recorded and the ledger does not hold yet."""

    station: str
    rows: Sequence[Row]
    notes: Sequence[Note]


class Table:
    """One of the two tables and its statements; names are ours, values are always bound."""

    def __init__(self, name: str, columns: dict[str, str]) -> None:
        self.name = name
        typed_columns = {"number": "INTEGER", "station": "TEXT", **columns}
        self.columns = tuple(typed_columns)
        typed = ", ".join(f"{column} {kind} NOT NULL" for column, kind in typed_columns.items())
        newest = f"(SELECT MAX(number) FROM {name}) - (SELECT most_rows FROM bound)"  # noqa: S608  # names are ours
        self.schema = (
            f"CREATE TABLE IF NOT EXISTS {name} ({typed}, PRIMARY KEY (number, station)) WITHOUT ROWID",
            f"CREATE INDEX IF NOT EXISTS {name}_by_time ON {name} (at_epoch_s)",
            f"CREATE TRIGGER IF NOT EXISTS {name}_never_change BEFORE UPDATE ON {name} {ABORT}",
            f"CREATE TRIGGER IF NOT EXISTS {name}_stay BEFORE DELETE ON {name} WHEN OLD.number > {newest} {ABORT}",
        )
        places = ", ".join("?" * len(self.columns))
        self.insert = f"INSERT INTO {name} ({', '.join(self.columns)}) VALUES ({places})"  # noqa: S608  # names are ours
        self.prune = f"DELETE FROM {name} WHERE number <= {newest}"  # noqa: S608  # names are ours
        self.last = f"SELECT COALESCE(MAX(number), 0) FROM {name}"  # noqa: S608  # names are ours
        self.select = (
            f"SELECT number, {', '.join(columns)} FROM {name} WHERE station = ? AND number > ? "  # noqa: S608  # names are ours
            "AND at_epoch_s >= ? AND at_epoch_s < ? ORDER BY number LIMIT ?"
        )


SECONDS = Table("seconds", dict.fromkeys(COLUMNS, "REAL"))
NOTES = Table("notes", {"at_epoch_s": "REAL", **dict.fromkeys(("kind", "name", "peer", "old", "new"), "TEXT")})


class Ledger:
    """The file; the newest `most_rows` numbers are kept. `append` may run in a thread beside everything else."""

    def __init__(self, path: Path, *, most_rows: int) -> None:
        self._path = path
        try:
            self._writer = sqlite3.connect(path, check_same_thread=False)
            for statement in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = NORMAL"):
                self._writer.execute(statement)
            with self._writer as writer:
                for statement in ("CREATE TABLE IF NOT EXISTS bound (most_rows INTEGER)", "DELETE FROM bound"):
                    writer.execute(statement)
                writer.execute("INSERT INTO bound VALUES (?)", (most_rows,))
                for table in (SECONDS, NOTES):
                    for statement in table.schema:
                        writer.execute(statement)
            self._reader = sqlite3.connect(path)
            for table in (SECONDS, NOTES):
                here = tuple(name for _, name, *_ in self._reader.execute(f"PRAGMA table_info({table.name})"))
                if here != table.columns:
                    raise BadInput(f"{path} was written by another version; move it away to start afresh")
        except sqlite3.Error as error:
            raise BadInput(f"{path} cannot be used as a ledger ({error}); move it away to start afresh") from error

    def last(self) -> tuple[int, int]:
        """The numbers of the last second and of the last note."""
        with self._translated():
            (second,), (note,) = (self._reader.execute(table.last).fetchone() for table in (SECONDS, NOTES))
        return second, note

    def append(self, batch: Sequence[Fresh]) -> None:
        """Add what is fresh, all of it or nothing; `StoreFailed` where the disk does not take it."""
        with self._translated(), self._writer as writer:
            for fresh in batch:
                writer.executemany(SECONDS.insert, ((number, fresh.station, *row) for number, row in fresh.rows))
                writer.executemany(NOTES.insert, (_note_row(fresh.station, note) for note in fresh.notes))
            for table in (SECONDS, NOTES):
                writer.execute(table.prune)

    def seconds(self, station: str, stretch: Stretch) -> list[Row]:
        """Recorded seconds, oldest first."""
        return [(number, tuple(values)) for number, *values in self._rows(SECONDS, station, stretch)]

    def notes(self, station: str, stretch: Stretch) -> list[Note]:
        """Notes, oldest first."""
        return [
            Note(seq=number, at=datetime.fromtimestamp(at, UTC), kind=kind, name=name, peer=peer, old=old, new=new)
            for number, at, kind, name, peer, old, new in self._rows(NOTES, station, stretch)
        ]

    def close(self) -> None:
        self._reader.close()
        self._writer.close()

    def _rows(self, table: Table, station: str, stretch: Stretch) -> list[Any]:
        since_s = stretch.since.timestamp() if stretch.since else -1e12
        until_s = stretch.until.timestamp() if stretch.until else 1e12
        with self._translated():
            given = (station, stretch.after, since_s, until_s, stretch.most)
            return self._reader.execute(table.select, given).fetchall()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreFailed(f"the ledger {self._path} fails: {error}", path=str(self._path)) from error


class History:
    """One station's truth: from memory where that reaches back far enough, else from the ledger and what it lacks."""

    def __init__(self, station: str, truth: Truth, ledger: Ledger | None) -> None:
        self._station = station
        self._truth = truth
        self._ledger = ledger
        self._kept = truth.before

    def seconds(self, stretch: Stretch) -> list[Row]:
        """Physics seconds with their numbers, oldest first."""
        rows: list[Row] = []
        if self._ledger is not None and stretch.after < self._truth.forgotten[0]:
            rows = self._ledger.seconds(self._station, stretch)
            stretch = _rest(stretch, len(rows), max(self._kept[0], rows[-1][0] if rows else 0))
        return rows + list(self._truth.rows(stretch))

    def notes(self, stretch: Stretch) -> list[Note]:
        """What happened, oldest first."""
        notes: list[Note] = []
        if self._ledger is not None and stretch.after < self._truth.forgotten[1]:
            notes = self._ledger.notes(self._station, stretch)
            stretch = _rest(stretch, len(notes), max(self._kept[1], notes[-1].seq if notes else 0))
        return notes + list(self._truth.notes_of(stretch))

    def fresh(self) -> Fresh:
        """What the ledger does not hold yet; `keep` says that now it does."""
        second, note = self._kept
        rows = self._truth.rows(Stretch(after=second, most=self._truth.count))
        return Fresh(station=self._station, rows=list(rows), notes=list(self._truth.notes_after(note)))

    def keep(self, fresh: Fresh) -> None:
        second, note = self._kept
        self._kept = (
            fresh.rows[-1][0] if fresh.rows else second,
            fresh.notes[-1].seq if fresh.notes else note,
        )


def _rest(stretch: Stretch, have: int, after: int) -> Stretch:
    return replace(stretch, after=max(stretch.after, after), most=stretch.most - have)


def _note_row(station: str, note: Note) -> tuple[object, ...]:
    return note.seq, station, note.at.timestamp(), note.kind, note.name, note.peer, note.old, note.new
