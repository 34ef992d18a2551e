"""A store that lives many short lives, each ended by SIGKILL at a chosen step of its disk.

    python -m tests.integration.amperio.kill_points FILE LIVES [eager]

Where `crash_writer` is killed from outside, whenever the signal happens to come, this reaches the points there are:
before the n-th write, sync or truncation of that life, be it of a recovery, a commit or a checkpoint. The file goes on
from life to life, so no two points are alike. With the word `eager` a life speaks before it keeps, which is the mistake
that the test must find. Prints what was found as JSON.
"""

import json
import os
import random
import signal
import sys
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import apsw

from services.amperio.site.outbox import Outbox
from services.amperio.store import tables
from services.amperio.store.database import open_connection
from shared.contract.telemetry import Telemetry

AT = datetime(2024, 1, 15, 10, 0, tzinfo=UTC)
SITE = "SITE001"
STEPS_MAX = 60
ROWS_KEPT = 300
PAGES = 8
"""A checkpoint every few commits, so that many lives end in one."""


class Killing(apsw.VFS):
    """The operating system's files, until the step with number `at` (0 = for ever).

    A kill takes no power: what was written is there, so a sync is a step like others and need not wait for the disk.
    """

    def __init__(self, at: int) -> None:
        self.name = f"killing-{at}"
        self._left = at
        super().__init__(self.name, "")

    def xOpen(self, name: Any, flags: list[int]) -> "_File":  # noqa: N802 -- SQLite's name
        return _File("", name, flags, self)

    def step(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class _File(apsw.VFSFile):
    def __init__(self, vfs: str, name: Any, flags: list[int], owner: Killing) -> None:
        super().__init__(vfs, name, flags)
        self._owner = owner

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 -- SQLite's name
        self._owner.step()
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802 -- SQLite's name
        self._owner.step()

    def xTruncate(self, size: int) -> None:  # noqa: N802 -- SQLite's name
        self._owner.step()
        super().xTruncate(size)


def live(path: Path, at_step: int, say: int, *, eager: bool) -> None:
    """Keep samples and forget old ones until the disk kills us; each number is said once it is durable."""
    killing = Killing(at_step)  # SQLite knows it by its name only
    disk = open_connection(path, vfs=killing.name)
    disk.execute(f"PRAGMA wal_autocheckpoint = {PAGES}")
    with disk:
        epoch = tables.stream_epoch(disk)
    outbox = Outbox(SITE, epoch, tables.cursor_of(disk, SITE))
    while True:
        at = (outbox.last_at or AT) + timedelta(seconds=1)
        rows = outbox.rows_for(Telemetry(site_id=SITE, timestamp=at), period_s=1.0)
        tell = partial(os.write, say, f"{rows[-1].seq}\n".encode())
        if eager:
            tell()
        with disk:
            tables.keep_rows(disk, SITE, rows)
        if not eager:
            tell()
        outbox.kept(rows)
        if rows[-1].seq % 10 == 0:
            through = rows[-1].seq - ROWS_KEPT
            with disk:
                tables.confirm(disk, SITE, stored_through=max(through, 0))
                tables.forget_rows(disk, SITE, through, at)


def one_life(path: Path, at_step: int, *, eager: bool) -> list[int]:
    """What a life said before it ended."""
    hear, say = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(hear)
            live(path, at_step, say, eager=eager)
        finally:
            os._exit(1)
    os.close(say)
    with os.fdopen(hear) as said:
        numbers = [int(line) for line in said if line.endswith("\n")]
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "a life ends by its disk only"
    return numbers


def main(path: Path, lives: int, *, eager: bool) -> dict[str, Any]:
    chance = random.Random(lives)
    last, lost, doubled = 0, 0, 0
    looking = Killing(0)
    for _ in range(lives):
        said = one_life(path, chance.randint(1, STEPS_MAX), eager=eager)
        doubled += bool(said) and said[0] <= last
        last = max([last, *said])
        disk = open_connection(path, vfs=looking.name)
        kept = [row.seq for row in tables.load_rows(disk, SITE, 1, 1 << 40, 1 << 20)]
        whole = disk.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        disk.close()
        lost += not whole or len(set(range(max(last - ROWS_KEPT + 10, 1), last + 1)) - set(kept)) > 0
        last = max([last, *kept])
    return {"lives": lives, "kept": last, "lives_that_lost": lost, "numbers_given_twice": doubled}


if __name__ == "__main__":
    found = main(Path(sys.argv[1]), int(sys.argv[2]), eager="eager" in sys.argv[3:])
    sys.stdout.write(json.dumps(found) + "\n")
