"""The rows behind outbox, ledger and keepsake: plain functions of a connection, for the store's thread or a test."""

import secrets
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import apsw
import msgspec

from services.amperio.site.ledger import Entry
from services.amperio.site.orders import Keepsake
from services.amperio.site.outbox import Cursor, Row, Thinning
from shared.contract.events import Event
from shared.contract.telemetry import Gap
from shared.contract.wire import encode
from shared.rest.audit import GENESIS, AuditLine, chained

Connection = apsw.Connection
_KEEPSAKE = msgspec.json.Decoder(Keepsake)
_ENTRY = msgspec.json.Decoder(Entry)
_EVENT = msgspec.json.Decoder(Event)
AUDIT_ROWS_MAX = 2_000_000


def _first(connection: apsw.Connection, sql: str, *values: str | float) -> tuple[Any, ...] | None:
    return connection.execute(sql, values).fetchone()


def _number(connection: apsw.Connection, sql: str, *values: str | float) -> int | None:
    row = _first(connection, sql, *values)
    return None if row is None or row[0] is None else int(row[0])


def stream_epoch(connection: apsw.Connection) -> str:
    """Made with the file; it tells streams apart when a file was lost and numbers begin again."""
    row = _first(connection, "SELECT value FROM meta WHERE key = ?", "stream_epoch")
    if row is not None:
        return str(row[0])
    epoch = secrets.token_hex(8)
    connection.execute("INSERT INTO meta VALUES ('stream_epoch', ?)", (epoch,))
    return epoch


# ---- samples ---------------------------------------------------------------------------------------------------------


def cursor_of(connection: apsw.Connection, site: str) -> Cursor:
    """Where a site's streams stand; cheap, however many rows wait."""
    known = _first(
        connection, "SELECT stored_through, events_through, next_seq, next_event FROM cursors WHERE site = ?", site
    )
    through, events_through, next_seq, next_event = known or (0, 0, 1, 1)
    oldest = _number(connection, "SELECT min(seq) FROM samples WHERE site = ?", site)
    newest = _first(connection, "SELECT seq, at FROM samples WHERE site = ? ORDER BY seq DESC LIMIT 1", site)
    newest_event = _number(connection, "SELECT max(seq) FROM events WHERE site = ?", site)
    return Cursor(
        next_seq=max(next_seq, newest[0] + 1 if newest else 1),
        oldest_seq=oldest if oldest is not None else max(next_seq, 1),
        rows=_rows(connection, site),
        stored_through=through,
        last_at=datetime.fromtimestamp(newest[1], UTC) if newest else None,
        next_event=max(next_event, (newest_event or 0) + 1),
        events_through=events_through,
    )


def keep_rows(connection: apsw.Connection, site: str, rows: Sequence[Row]) -> None:
    connection.executemany(
        "INSERT INTO samples VALUES (?, ?, ?, ?, ?)",
        [(site, row.seq, row.at.timestamp(), int(row.is_gap), row.body) for row in rows],
    )


def load_rows(connection: apsw.Connection, site: str, first: int, last: int, limit: int) -> tuple[Row, ...]:
    found = connection.execute(
        "SELECT seq, at, is_gap, body FROM samples WHERE site = ? AND seq BETWEEN ? AND ? ORDER BY seq LIMIT ?",
        (site, first, last, limit),
    )
    return tuple(
        Row(seq=seq, at=datetime.fromtimestamp(at, UTC), is_gap=bool(is_gap), body=body)
        for seq, at, is_gap, body in found
    )


def confirm(
    connection: apsw.Connection, site: str, *, stored_through: int | None = None, events_through: int | None = None
) -> None:
    """Remember what Enexa confirmed, before anything is forgotten."""
    connection.execute("INSERT OR IGNORE INTO cursors (site) VALUES (?)", (site,))
    if stored_through is not None:
        connection.execute("UPDATE cursors SET stored_through = ? WHERE site = ?", (stored_through, site))
    if events_through is not None:
        connection.execute("UPDATE cursors SET events_through = ? WHERE site = ?", (events_through, site))


def forget_rows(connection: apsw.Connection, site: str, through: int, before: datetime) -> tuple[int, int]:
    """Drop confirmed rows older than the rewind window; answers how many, and the oldest number left."""
    rows = _keep_numbers(connection, site)
    # The walk ends at the first row that stays: a day of rows is not looked through each minute.
    stays = _number(
        connection,
        "SELECT seq FROM samples WHERE site = ? AND (at >= ? OR seq > ?) ORDER BY seq LIMIT 1",
        site,
        before.timestamp(),
        through,
    )
    last = through if stays is None else stays - 1
    connection.execute("DELETE FROM samples WHERE site = ? AND seq <= ?", (site, last))
    return _went(connection, site, rows)


def thin_rows(connection: apsw.Connection, site: str, thinning: Thinning) -> tuple[int, int]:
    """Give up numbers so that the buffer stays bounded; answers how many rows went, and the oldest number left."""
    rows = _keep_numbers(connection, site)
    if thinning.keep_every:
        connection.execute(
            "DELETE FROM samples WHERE site = ? AND seq BETWEEN ? AND ? AND is_gap = 0 AND seq % ? <> 0",
            (site, thinning.first, thinning.last, thinning.keep_every),
        )
    else:
        connection.execute(
            "DELETE FROM samples WHERE site = ? AND seq BETWEEN ? AND ?", (site, thinning.first, thinning.last)
        )
    return _went(connection, site, rows)


def bury_row(connection: apsw.Connection, site: str, row: Row, code: str) -> None:
    """A sample that Enexa will never take: kept aside with the reason, and a gap stands in its place."""
    connection.execute(
        "INSERT OR REPLACE INTO dead_letters VALUES (?, ?, ?, ?, ?)",
        (site, row.seq, row.at.timestamp(), code, row.body),
    )
    gap = Gap(from_sequence=row.seq, to_sequence=row.seq, reason=f"refused: {code}")
    connection.execute(
        "UPDATE samples SET is_gap = 1, body = ? WHERE site = ? AND seq = ?", (encode(gap), site, row.seq)
    )


def note_dead(connection: apsw.Connection, site: str, row: Row, code: str) -> None:
    """A sample that Enexa rejected by name; it counts the number as done itself."""
    connection.execute(
        "INSERT OR REPLACE INTO dead_letters VALUES (?, ?, ?, ?, ?)",
        (site, row.seq, row.at.timestamp(), code, row.body),
    )


def dead_letter_count(connection: apsw.Connection, site: str) -> int:
    return _number(connection, "SELECT count(*) FROM dead_letters WHERE site = ?", site) or 0


def _keep_numbers(connection: apsw.Connection, site: str) -> int:
    """Numbers are never used twice, also when no row is left to count from; answers how many rows there are."""
    rows = _rows(connection, site)
    newest = _number(connection, "SELECT max(seq) FROM samples WHERE site = ?", site)
    connection.execute("INSERT OR IGNORE INTO cursors (site) VALUES (?)", (site,))
    if newest is not None:
        connection.execute("UPDATE cursors SET next_seq = max(next_seq, ?) WHERE site = ?", (newest + 1, site))
    return rows


def _rows(connection: apsw.Connection, site: str) -> int:
    """Counted at the last deletion, and one for each number since: never a walk through a million rows."""
    counted = _first(connection, "SELECT counted_rows, counted_seq FROM cursors WHERE site = ?", site) or (0, 0)
    newest = _number(connection, "SELECT max(seq) FROM samples WHERE site = ?", site) or 0
    return int(counted[0]) + max(newest - int(counted[1]), 0)


def _went(connection: apsw.Connection, site: str, rows_before: int) -> tuple[int, int]:
    gone = connection.changes()
    oldest = _number(connection, "SELECT min(seq) FROM samples WHERE site = ?", site)
    next_seq = _number(connection, "SELECT next_seq FROM cursors WHERE site = ?", site) or 1
    connection.execute(
        "UPDATE cursors SET counted_rows = ?, counted_seq = ? WHERE site = ?", (rows_before - gone, next_seq - 1, site)
    )
    return gone, oldest if oldest is not None else next_seq


# ---- events ----------------------------------------------------------------------------------------------------------


def keep_events(connection: apsw.Connection, site: str, events: Sequence[Event]) -> None:
    connection.executemany(
        "INSERT INTO events VALUES (?, ?, ?, ?)",
        [(site, event.sequence, event.timestamp.timestamp(), encode(event)) for event in events],
    )


def load_events(connection: apsw.Connection, site: str, first: int, limit: int) -> tuple[Event, ...]:
    found = connection.execute(
        "SELECT body FROM events WHERE site = ? AND seq >= ? ORDER BY seq LIMIT ?", (site, first, limit)
    )
    return tuple(_EVENT.decode(body) for (body,) in found)


def forget_events(connection: apsw.Connection, site: str, through: int, before: datetime) -> None:
    newest = _number(connection, "SELECT max(seq) FROM events WHERE site = ?", site)
    connection.execute("INSERT OR IGNORE INTO cursors (site) VALUES (?)", (site,))
    connection.execute("UPDATE cursors SET next_event = max(next_event, ?) WHERE site = ?", ((newest or 0) + 1, site))
    connection.execute("DELETE FROM events WHERE site = ? AND seq <= ? AND at < ?", (site, through, before.timestamp()))


# ---- ledger and keepsake ---------------------------------------------------------------------------------------------


def keep_entries(connection: apsw.Connection, site: str, entries: Iterable[Entry]) -> None:
    connection.executemany(
        "INSERT OR REPLACE INTO commands VALUES (?, ?, ?)",
        [(site, entry.command_id, msgspec.json.encode(entry)) for entry in entries],
    )


def load_entries(connection: apsw.Connection, site: str) -> tuple[Entry, ...]:
    found = connection.execute("SELECT body FROM commands WHERE site = ?", (site,))
    return tuple(sorted((_ENTRY.decode(body) for (body,) in found), key=lambda entry: entry.arrival))


def forget_entries(connection: apsw.Connection, site: str, command_ids: Iterable[str]) -> None:
    connection.executemany(
        "DELETE FROM commands WHERE site = ? AND command_id = ?", [(site, each) for each in command_ids]
    )


def keep_keepsake(connection: apsw.Connection, site: str, keepsake: Keepsake) -> None:
    connection.execute("INSERT OR REPLACE INTO keepsakes VALUES (?, ?)", (site, msgspec.json.encode(keepsake)))


def load_keepsake(connection: apsw.Connection, site: str) -> Keepsake | None:
    """What the site knew last; None where it never knew or the record cannot be read any more."""
    row = _first(connection, "SELECT body FROM keepsakes WHERE site = ?", site)
    if row is None:
        return None
    try:
        return _KEEPSAKE.decode(row[0])
    except msgspec.DecodeError:
        return None


# ---- audit -----------------------------------------------------------------------------------------------------------


def append_audit(connection: apsw.Connection, line: AuditLine) -> None:
    """Chain the line to the one before; the log only grows, and loses its oldest rows at its bound."""
    last = _first(connection, "SELECT seq, digest FROM audit ORDER BY seq DESC LIMIT 1")
    seq, before = last or (0, GENESIS)
    connection.execute(
        "INSERT INTO audit VALUES (?, ?, ?)", (seq + 1, chained(before, line), msgspec.json.encode(line))
    )
    if seq >= AUDIT_ROWS_MAX:
        connection.execute("DELETE FROM audit WHERE seq <= ?", (seq - AUDIT_ROWS_MAX,))


def audit_is_whole(connection: apsw.Connection) -> bool:
    """Whether each line follows from the one before."""
    before: str | None = None
    for seq, digest, body in connection.execute("SELECT seq, digest, body FROM audit ORDER BY seq"):
        if before is None and seq == 1:
            before = GENESIS
        if before is not None and chained(before, msgspec.json.decode(body, type=AuditLine)) != digest:
            return False
        before = digest
    return True
