"""Rows written many at once: an INSERT of each database that takes any number of them in one go.

SQLite's driver gives the interpreter away and asks for it back with each row of an `executemany`, and while the loop is
busy it waits milliseconds each time; one statement with all the rows waits once. PostgreSQL takes a list per column.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain

from sqlalchemy import BigInteger, Float, Integer, LargeBinary, String, Table

PARAMETERS_MAX = 16_384
"""Half of what SQLite takes in one statement."""

TYPES = {BigInteger: "bigint", Integer: "integer", Float: "float8", String: "text", LargeBinary: "bytea"}

Row = Sequence[object]


class Insert:
    """INSERT of rows that have `columns`; one whose key exists fails all, unless `on_conflict` says otherwise."""

    def __init__(self, table: Table, columns: Sequence[str], on_conflict: str | None = None) -> None:
        self._head = f"INSERT INTO {table.name} ({', '.join(columns)})"
        self._tail = f" ON CONFLICT {on_conflict}" if on_conflict is not None else ""
        self._width = len(columns)
        self._types = [TYPES[type(table.c[name].type)] for name in columns]
        largest = PARAMETERS_MAX // self._width
        self._largest = 1 << (largest.bit_length() - 1)
        self.sqlite = cache(self._sqlite)

    def for_sqlite(self, rows: Sequence[Row]) -> Iterator[tuple[str, list[object]]]:
        """Statements and their parameters; of powers of two rows each, so that few of them have to be prepared."""
        begin = 0
        while begin < len(rows):
            count = min(self._largest, 1 << ((len(rows) - begin).bit_length() - 1))
            yield self.sqlite(count), list(chain.from_iterable(rows[begin : begin + count]))
            begin += count

    def _sqlite(self, count: int) -> str:
        row = f"({', '.join('?' * self._width)})"
        return f"{self._head} VALUES {', '.join([row] * count)}{self._tail}"

    @property
    def postgresql(self) -> str:
        lists = ", ".join(f"${place}::{each}[]" for place, each in enumerate(self._types, start=1))
        return f"{self._head} SELECT * FROM unnest({lists}){self._tail}"  # noqa: S608 -- names of the schema

    def for_postgresql(self, rows: Sequence[Row]) -> tuple[list[object], ...]:
        """The parameters: a list for each column."""
        return tuple(list(column) for column in zip(*rows, strict=True))
