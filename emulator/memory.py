"""What a station remembers on disk: charge, counters and plugged cars; a killed process is a rebooted station."""

from datetime import datetime
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from emulator.device.memory import Memory
from shared.errors import BadInput, StoreFailed


class Saved(Struct, frozen=True, kw_only=True):
    """A memory, when it was true, and which story was told since when."""

    at: datetime
    memory: Memory
    story: str = ""
    began_at: datetime | None = None


def as_of(saved: Saved, now: datetime, began_at: datetime) -> Saved:
    """What still holds at `now` in the story that began at `began_at`.

    Cars have had that much less time left, and faults too. A memory from the future has neither; faults of an earlier
    run are mended.
    """
    passed_s = (now - saved.at).total_seconds()
    memory = saved.memory
    plugged = memory.plugged if passed_s >= 0.0 else ()
    faults = memory.faults if passed_s >= 0.0 and saved.at >= began_at else ()
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
