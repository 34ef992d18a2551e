"""What a station remembers on disk: charge, counters and plugged cars; a killed process is a rebooted station."""

from datetime import datetime
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from emulator.device.memory import Memory
from shared.errors import BadInput, StoreFailed


class Saved(Struct, frozen=True, kw_only=True):
    """A memory, when it was true, and how much of which story was over; `began_at` tells one run from the next."""

    at: datetime
    memory: Memory
    story: str = ""
    began_at: datetime | None = None
    told_s: float = 0.0


def as_of(saved: Saved, now: datetime, *, same_run: bool) -> Saved:
    """What still holds at `now`, in the same run of the stack or in another one.

    Cars have had that much less time left, and faults too. A memory from the future has neither; faults of another run
    are mended.
    """
    passed_s = (now - saved.at).total_seconds()
    memory = saved.memory
    plugged = memory.plugged if passed_s >= 0.0 else ()
    faults = memory.faults if passed_s >= 0.0 and same_run else ()
    memory = replace(
        memory,
        plugged=tuple(replace(each, leaves_in_s=each.leaves_in_s - passed_s) for each in plugged),
        faults=tuple(
            replace(each, left_s=None if each.left_s is None else each.left_s - passed_s)
            for each in faults
            if each.left_s is None or each.left_s > passed_s
        ),
    )
    return replace(saved, at=min(saved.at, now), memory=memory)


class Resumed(Struct, frozen=True, kw_only=True):
    """Where a station goes on: `told_s` of its story are over, and of them it remembers the first `known_s`."""

    began_at: datetime
    told_s: float
    known_s: float = -1.0
    since: datetime | None = None
    memory: Memory | None = None


def resumed(saved: Saved | None, story: str, now: datetime, *, origin: datetime | None, told_s: float) -> Resumed:
    """What a starting station takes up.

    A stack's `origin` tells one run from the next, and `told_s` how old it is. Without a stack a story goes on where
    it was left, the time in between included.
    """
    if saved is None:
        return Resumed(began_at=origin or now, told_s=told_s)
    same_run = saved.story == story and origin in {None, saved.began_at}
    saved = as_of(saved, now, same_run=same_run)
    if not same_run:
        return Resumed(began_at=origin or now, told_s=told_s, since=saved.at, memory=saved.memory)
    return Resumed(
        began_at=saved.began_at or now,
        told_s=told_s if origin else saved.told_s + (now - saved.at).total_seconds(),
        known_s=saved.told_s,
        since=saved.at,
        memory=saved.memory,
    )


class MemoryFile:
    """One small file, replaced whole; a reader finds either the old or the new one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._draft = path.with_suffix(".draft")

    def load(self) -> Saved | None:
        """The last memory, if there is one; `BadInput` if the file is no memory."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Saved)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            raise BadInput(f"{self._path} is no memory of a station ({error}); move it away to start afresh") from error

    def save(self, saved: Saved) -> None:
        try:
            self._draft.write_bytes(msgspec.json.encode(saved))
            self._draft.replace(self._path)
        except OSError as error:
            raise StoreFailed(f"cannot write {self._path}: {error.strerror}", path=str(self._path)) from error
