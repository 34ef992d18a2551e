"""What is running, in one small file: the clock's origins, the ports, and which process is whose."""

import contextlib
from datetime import datetime
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec
from msgspec import Struct

from services.stack.options import Options
from services.stack.processes import Process

Mode: TypeAlias = Literal["native", "containers"]
State: TypeAlias = Literal["starting", "running", "waiting", "refused", "stopped"]


class ProgramState(Struct, frozen=True, kw_only=True):
    """One program under the supervisor; `sentence` is the last thing it said before it ended."""

    state: State
    process: Process | None = None
    restarts: int = 0
    exit_code: int | None = None
    sentence: str = ""


class Record(Struct, frozen=True, kw_only=True):
    """A running stack; both origins are UTC and shared by all three programs, also after a restart."""

    mode: Mode
    origin_real: datetime
    origin_sim: datetime
    options: Options
    supervisor: Process | None = None
    programs: dict[str, ProgramState] = {}


def save(record: Record, path: Path) -> None:
    """Replace the file as a whole, so that a reader never sees half of it."""
    fresh = path.with_suffix(".new")
    fresh.write_bytes(msgspec.json.format(msgspec.json.encode(record)))
    fresh.replace(path)


def load(path: Path) -> Record | None:
    """The record of the stack that was started last; None where there is none or it makes no sense."""
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        return msgspec.json.decode(path.read_bytes(), type=Record)
    return None
