"""A disk that forgets: an SQLite file system on which every sector not yet synced may be lost when the power goes.

Writes go to a copy in memory first; `fsync` moves them to the real file. At the cut each unsynced sector is kept or
lost by the toss of a seeded coin, which is what a drive without a battery does to a write cache.
"""

import random
from typing import Any

import apsw

SECTOR = 512


class PowerCut(apsw.VFS):
    """Files of this VFS lose their unsynced sectors at `cut`, or within the write or sync with number `at_step`."""

    def __init__(self, name: str, chance: random.Random, *, at_step: int | None = None) -> None:
        self.name = name
        self._chance = chance
        self._at_step = at_step
        self._steps = 0
        self._files: list[_File] = []
        self._off = False
        super().__init__(name, "")

    def xOpen(self, name: Any, flags: list[int]) -> "_File":  # noqa: N802 -- SQLite's name
        opened = _File("", name, flags, self)
        self._files.append(opened)
        return opened

    def xDelete(self, name: str, sync: bool) -> None:  # noqa: N802 -- SQLite's name
        if not self._off:
            super().xDelete(name, sync)

    @property
    def off(self) -> bool:
        return self._off

    def step(self) -> None:
        """One more write or sync is asked for; in the one at which the power goes, nobody hears that it was done."""
        self._steps += 1
        if self._steps == self._at_step:
            self.cut()
            raise apsw.IOError("the power is gone")

    def cut(self) -> None:
        """The power goes: what was not synced is tossed for, and nothing is written any more."""
        for each in self._files:
            each.lose(self._chance)
        self._off = True


class _File(apsw.VFSFile):
    def __init__(self, vfs: str, name: Any, flags: list[int], owner: PowerCut) -> None:
        super().__init__(vfs, name, flags)
        self._owner = owner
        self._unsynced: dict[int, bytes] = {}

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 -- SQLite's name
        if self._owner.off:
            return
        self._owner.step()
        end = offset + len(data)
        for sector in range(offset // SECTOR, (end - 1) // SECTOR + 1):
            self._unsynced.setdefault(sector, self._read(sector))
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802 -- SQLite's name
        if self._owner.off:
            return
        self._owner.step()
        self._unsynced.clear()
        super().xSync(flags)

    def xTruncate(self, size: int) -> None:  # noqa: N802 -- SQLite's name
        if not self._owner.off:
            super().xTruncate(size)

    def lose(self, chance: random.Random) -> None:
        """Put back what stood in a lost sector at the last sync."""
        for sector, before in self._unsynced.items():
            if chance.random() < 0.5:
                super().xWrite(before, sector * SECTOR)
        self._unsynced.clear()

    def _read(self, sector: int) -> bytes:
        size = super().xFileSize()
        start = sector * SECTOR
        if start >= size:
            return bytes(SECTOR)
        there = super().xRead(min(SECTOR, size - start), start)
        return there + bytes(SECTOR - len(there))
