"""SQLite on its own thread: one connection per file, WAL, synchronous FULL, and one commit for all who wait.

Work is a function of the connection, done in the order in which it was given. Whatever waits, or comes within a
moment, is done in one transaction, so that a thousand sites cost a few fsyncs; if one piece fails, the group is undone
and each is tried alone. Foreign exceptions become StoreFailed here and nowhere
else. A damaged file is put aside, never used and never deleted.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import apsw
import structlog

from shared.clock import real_now_s, real_pause
from shared.errors import BadInput, StoreFailed

T = TypeVar("T")
Work = Callable[[apsw.Connection], T]

GROUP_MAX = 256
GATHER_S = 0.00025
"""How long a commit waits for company: an answer and its audit line cost one fsync."""
PATIENCE_S = 0.002
"""The same where nobody waits and company is usual: samples of a thousand sites share some hundred commits a second."""
BUSY_TIMEOUT_MS = 1000
CHECKPOINT_PAGES = 256
JOURNAL_LIMIT_BYTES = 4 * 1024 * 1024
PAGE_BYTES = 8192
"""Of a new file. A sample of 1.2 kB is more than the quarter of 4096 that a row may take, and spills into a page."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS cursors (
    site TEXT PRIMARY KEY, stored_through INTEGER NOT NULL DEFAULT 0, events_through INTEGER NOT NULL DEFAULT 0,
    next_seq INTEGER NOT NULL DEFAULT 1, next_event INTEGER NOT NULL DEFAULT 1,
    counted_rows INTEGER NOT NULL DEFAULT 0, counted_seq INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS samples (
    site TEXT NOT NULL, seq INTEGER NOT NULL, at REAL NOT NULL, is_gap INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (site, seq)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (
    site TEXT NOT NULL, seq INTEGER NOT NULL, at REAL NOT NULL, body BLOB NOT NULL, PRIMARY KEY (site, seq)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS dead_letters (
    site TEXT NOT NULL, seq INTEGER NOT NULL, at REAL NOT NULL, code TEXT NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (site, seq)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS commands (
    site TEXT NOT NULL, command_id TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (site, command_id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS keepsakes (site TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS audit (seq INTEGER PRIMARY KEY, digest TEXT NOT NULL, body BLOB NOT NULL);
"""

log = structlog.get_logger()


def open_connection(
    path: Path | str, *, max_bytes: int | None = None, synchronous: str = "FULL", vfs: str | None = None
) -> apsw.Connection:
    """A connection as this store needs it, alone on its file; apsw errors pass through."""
    connection = apsw.Connection(str(path), vfs=vfs)
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    connection.execute(f"PRAGMA journal_size_limit = {JOURNAL_LIMIT_BYTES}")
    if max_bytes is not None:
        page_bytes = connection.pragma("page_size")
        connection.execute(f"PRAGMA max_page_count = {max(max_bytes // page_bytes, 64)}")
    with connection:
        connection.execute(SCHEMA)  # in one transaction: a first start on a busy disk waits for one fsync, not for nine
    return connection


class Database:
    """Run work on the store's thread; `stuck_s` tells whether it still answers."""

    def __init__(self, path: Path, *, max_bytes: int | None = None) -> None:
        self.path = path
        self.quarantined: Path | None = None
        self._max_bytes = max_bytes
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._hurry = threading.Event()
        """Set where somebody waits for what is in the queue."""
        self._company = False
        """Whether the latest commit was shared."""
        self._busy_since_s: float | None = None
        self.failing: str | None = None
        self._connection = self._open()
        self._thread = threading.Thread(target=self._serve, name="store", daemon=True)
        self._thread.start()

    async def run(self, work: Work[T]) -> T:
        """The result of `work`, committed; StoreFailed where the disk did not take it."""
        return await self.give(work)

    def give(self, work: Work[T], *, patient: bool = False) -> "asyncio.Future[T]":
        """The same for one who does not wait yet: `work` stands in the queue before anything that is given later.

        `patient` work may wait a moment longer for company, and goes at once with any that is not.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        if self._busy_since_s is None:
            self._busy_since_s = real_now_s()
        self._jobs.put(_Job(work, future, loop, patient))
        if not patient:
            self._hurry.set()
        return future

    @property
    def stuck_s(self) -> float:
        """Real seconds since the oldest work in hand was given; 0 where nothing waits."""
        since = self._busy_since_s
        return 0.0 if since is None else real_now_s() - since

    def close(self) -> None:
        """Finish what waits and close the file; a second time does nothing."""
        if not self._thread.is_alive():
            return
        self._jobs.put(None)
        self._hurry.set()
        self._thread.join(timeout=10.0)

    def _open(self) -> apsw.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return self._checked()
        except (apsw.CorruptError, apsw.NotADBError) as error:
            self.quarantined = _put_aside(self.path)
            log.warning("store_quarantined", file=str(self.quarantined), error=str(error))
            return self._checked()
        except apsw.BusyError as error:
            raise BadInput(f"another Amperio uses {self.path}; stop it first") from error
        except apsw.Error as error:
            raise BadInput(f"cannot use the store {self.path}: {error}; check the data directory") from error

    def _checked(self) -> apsw.Connection:
        connection = open_connection(self.path, max_bytes=self._max_bytes)
        try:
            connection.execute("BEGIN IMMEDIATE; ROLLBACK")
        except apsw.Error:
            connection.close()
            raise
        return connection

    def _serve(self) -> None:
        while True:
            group, last = self._group()
            if group:
                self._do(group)
            self._busy_since_s = None if self._jobs.empty() else real_now_s()
            if last:
                self._connection.close()
                return

    def _group(self) -> "tuple[list[_Job], bool]":
        """What goes into the next transaction, and whether it is the last one."""
        job = self._jobs.get()
        if self._busy_since_s is None:
            # It came between the look at an empty queue and the note that nothing waits.
            self._busy_since_s = real_now_s()
        # A pause, and no `get(timeout=...)`: on CPython 3.11 a SimpleQueue whose time is up before it looks at its lock
        # a second time waits for ever, with the jobs of this group in hand.
        if job is not None and job.patient and self._company:
            self._hurry.wait(PATIENCE_S)
        else:
            real_pause(GATHER_S)
        self._hurry.clear()
        group: list[_Job] = []
        while job is not None:
            group.append(job)
            if len(group) == GROUP_MAX or self._jobs.empty():
                self._company = len(group) > 1
                return group, False
            job = self._jobs.get()
        return group, True

    def _do(self, group: "list[_Job]") -> None:
        done = self._together(group)
        if done is None:
            done = [self._alone(job) for job in group]
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_Job, Any]]] = {}
        for job, result in zip(group, done, strict=True):
            by_loop.setdefault(job.loop, []).append((job, result))
        for loop, results in by_loop.items():
            if not loop.is_closed():
                loop.call_soon_threadsafe(_deliver, results)

    def _together(self, group: "list[_Job]") -> list[Any] | None:
        try:
            with self._connection:
                results = [job.work(self._connection) for job in group]
        except Exception:  # noqa: BLE001 -- the culprit is found by trying each alone
            return None
        self.failing = None
        return results

    def _alone(self, job: "_Job") -> Any:
        try:
            with self._connection:
                result = job.work(self._connection)
        except apsw.Error as error:
            self.failing = str(error)
            return StoreFailed(f"the store did not take it: {error}")
        except Exception as error:  # noqa: BLE001 -- a bug in the work belongs to whoever asked for it
            return error
        self.failing = None
        return result


class _Job:
    __slots__ = ("future", "loop", "patient", "work")

    def __init__(
        self, work: Work[Any], future: "asyncio.Future[Any]", loop: asyncio.AbstractEventLoop, patient: bool
    ) -> None:
        self.work = work
        self.future = future
        self.loop = loop
        self.patient = patient


def _deliver(results: "list[tuple[_Job, Any]]") -> None:
    for job, result in results:
        if job.future.done():
            continue
        if isinstance(result, Exception):
            job.future.set_exception(result)
        else:
            job.future.set_result(result)


def _put_aside(path: Path) -> Path:
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    return aside
