"""Amperio's disk: its real store and its real SQL, on platters that can fill up, fail, hang and lose their power.

In fair weather the database lies in memory, which a kill does not touch: every piece of work is one transaction. A run
whose plan has troubles of disks keeps files instead, through an SQLite file system of our own. It knows what was synced
and what was not; a kill leaves both (the kernel has the pages), a power cut leaves only what was synced.
"""

import asyncio
from itertools import count
from typing import Any, TypeVar

import apsw

from services.amperio.store.database import Database, Work, open_connection
from shared.clock import Clock
from shared.errors import StoreFailed

T = TypeVar("T")
FILE = "amperio.db"
_MOUNTS = count()


class Platter:
    """One file: its bytes, and how to undo what was written since the last sync."""

    def __init__(self) -> None:
        self.data = bytearray()
        self._undo: list[tuple[int, bytes, int]] = []

    def write(self, data: bytes, offset: int) -> None:
        size = len(self.data)
        self._undo.append((offset, bytes(self.data[offset : offset + len(data)]), size))
        if offset > size:
            self.data.extend(bytes(offset - size))
        self.data[offset : offset + len(data)] = data

    def truncate(self, size: int) -> None:
        if size < len(self.data):
            self._undo.append((size, bytes(self.data[size:]), len(self.data)))
            del self.data[size:]

    def sync(self) -> None:
        self._undo.clear()

    def lose_unsynced(self) -> int:
        """Undo what was never synced; how many writes went."""
        count_lost = len(self._undo)
        for offset, before, size in reversed(self._undo):
            end = offset + len(before)
            if end > len(self.data):
                self.data.extend(bytes(end - len(self.data)))
            self.data[offset:end] = before
            del self.data[size:]
        self._undo.clear()
        return count_lost


class Disk:
    """What outlives the process: platters, and the troubles they are in."""

    def __init__(self, *, platters: bool) -> None:
        self.platters: dict[str, Platter] | None = {} if platters else None
        self.full = False
        self.failing = False
        self.hanging = False
        self.refused_count = 0
        """How often a trouble of the disk refused something."""
        self.lost_count = 0
        """How many unsynced writes power cuts took."""
        self.connection: apsw.Connection | None = None
        self._mount: Mount | None = None

    def open(self) -> apsw.Connection:
        """The store as the process finds it; apsw.Error while the disk is in trouble."""
        if self.platters is None:
            if self.connection is None:
                self.connection = open_connection(":memory:")
            return self.connection
        assert self.connection is None, "the process before is gone"
        self._mount = Mount(self, self.platters)
        try:
            self.connection = open_connection(FILE, vfs=self._mount.name)
        except apsw.Error:
            self._unmount()
            raise
        return self.connection

    def crash(self) -> None:
        """The process is gone; nothing it had in hand is written any more."""
        if self.platters is not None and self.connection is not None:
            assert self._mount is not None
            self._mount.off = True
            self.connection.close(force=True)
            self.connection = None
            self._unmount()

    def cut_power(self) -> None:
        """The machine is gone, and with it everything unsynced."""
        assert self.platters is not None, "a plan with a power cut keeps files"
        self.crash()
        self.lost_count += sum(platter.lose_unsynced() for platter in self.platters.values())

    def _unmount(self) -> None:
        assert self._mount is not None
        self._mount.unregister()
        self._mount = None


class Mount(apsw.VFS):
    """The disk as one process sees it."""

    def __init__(self, disk: Disk, platters: dict[str, Platter]) -> None:
        self.name = f"simulated-{next(_MOUNTS)}"
        self.off = False
        self._disk = disk
        self._platters = platters
        super().__init__(self.name, "")

    def xOpen(self, name: Any, flags: list[int]) -> Any:  # noqa: N802 -- SQLite's name
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        flags[1] = flags[0]
        platter = Platter() if path is None else self._platters.setdefault(path, Platter())
        return OpenFile(self._disk, self, platter)

    def xDelete(self, name: str, sync: bool) -> None:  # noqa: N802 -- SQLite's name
        if not self.off:
            self._platters.pop(name, None)

    def xAccess(self, name: str, flags: int) -> bool:  # noqa: N802 -- SQLite's name
        return name in self._platters

    def xFullPathname(self, name: str) -> str:  # noqa: N802 -- SQLite's name
        return name


class OpenFile:
    """A file of SQLite's; the process is alone on it, so locks mean nothing."""

    def __init__(self, disk: Disk, mount: Mount, platter: Platter) -> None:
        self._disk = disk
        self._mount = mount
        self._platter = platter

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802 -- SQLite's name
        return bytes(self._platter.data[offset : offset + amount])

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 -- SQLite's name
        if self._mount.off:
            return
        if self._disk.full:
            self._disk.refused_count += 1
            raise apsw.FullError("no space left on this disk")
        if self._disk.failing:
            self._disk.refused_count += 1
            raise apsw.IOError("input/output error")
        self._platter.write(data, offset)

    def xTruncate(self, size: int) -> None:  # noqa: N802 -- SQLite's name
        if not self._mount.off:
            self._platter.truncate(size)

    def xSync(self, flags: int) -> None:  # noqa: N802 -- SQLite's name
        if self._mount.off:
            return
        if self._disk.failing:
            self._disk.refused_count += 1
            raise apsw.IOError("input/output error")
        self._platter.sync()

    def xFileSize(self) -> int:  # noqa: N802 -- SQLite's name
        return len(self._platter.data)

    def xClose(self) -> None:  # noqa: N802 -- SQLite's name
        """Nothing is left to do."""

    def xLock(self, level: int) -> None:  # noqa: N802 -- SQLite's name
        """Nobody else is here."""

    def xUnlock(self, level: int) -> None:  # noqa: N802 -- SQLite's name
        """Nobody else is here."""

    def xCheckReservedLock(self) -> bool:  # noqa: N802 -- SQLite's name
        return False

    def xFileControl(self, op: int, pointer: int) -> bool:  # noqa: N802 -- SQLite's name
        return False

    def xSectorSize(self) -> int:  # noqa: N802 -- SQLite's name
        return 4096

    def xDeviceCharacteristics(self) -> int:  # noqa: N802 -- SQLite's name
        return 0


class InlineDatabase(Database):
    """The store without its thread: each piece of work is done, and committed, before the next line."""

    def __init__(self, disk: Disk, connection: apsw.Connection, clock: Clock) -> None:  # the parent starts a thread
        self.failing = None
        self.quarantined = None
        self._disk = disk
        self._connection = connection
        self._clock = clock
        self._waiting: list[tuple[Work[Any], asyncio.Future[Any]]] = []
        self._hangs_since_s = 0.0

    def give(self, work: Work[T], *, patient: bool = False) -> "asyncio.Future[T]":
        """Done by the time it returns; StoreFailed in it where the disk did not take it. A disk that hangs keeps it."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        if self._disk.hanging:
            if not self._waiting:
                self._hangs_since_s = self._clock.now().s
            self._disk.refused_count += 1
            self._waiting.append((work, future))
        else:
            self._commit(work, future)
        return future

    async def run(self, work: Work[T]) -> T:
        """The result of `work`, committed."""
        return await self.give(work)

    def catch_up(self) -> None:
        """What waited for a disk that hung is done once it answers."""
        if self._waiting and not self._disk.hanging:
            waiting, self._waiting = self._waiting, []
            for work, future in waiting:
                if not future.done():
                    self._commit(work, future)

    @property
    def stuck_s(self) -> float:
        """Seconds since the disk stopped answering."""
        return self._clock.now().s - self._hangs_since_s if self._waiting else 0.0

    def close(self) -> None:
        """The disk outlives it."""

    def _commit(self, work: Work[T], future: "asyncio.Future[T]") -> None:
        try:
            with self._connection:
                result = work(self._connection)
        except apsw.Error as error:
            self.failing = str(error)
            future.set_exception(StoreFailed(f"the store did not take it: {error}"))
        except Exception as error:  # noqa: BLE001 -- a bug in the work belongs to whoever asked for it
            future.set_exception(error)
        else:
            self.failing = None
            future.set_result(result)
