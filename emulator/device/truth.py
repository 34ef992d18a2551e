"""The append-only ledger of what really was: every physics second and every register write, bounded in memory."""

from array import array
from collections import deque
from collections.abc import Iterator
from datetime import datetime

from msgspec import Struct

COLUMNS = (
    "at_epoch_s", "grid_kw", "battery_1_kw", "battery_2_kw", "ev_1_kw", "ev_2_kw", "pv_kw", "own_kw", "ev_loss_kw",
    "energy_1_kwh", "energy_2_kwh", "temperature_1_c", "temperature_2_c", "imported_kwh", "exported_kwh",
    "clearance_kw", "curtailed_kw", "demand_kw", "external", "ambient_c",
)  # fmt: skip
WIDTH = len(COLUMNS)
MOST_SECONDS = 86_400
MOST_NOTES = 50_000


class Note(Struct, frozen=True, kw_only=True):
    """Something that happened once: a write, a fault, a trip, a car; `peer` is who caused it."""

    seq: int
    at: datetime
    kind: str
    name: str
    peer: str = ""
    old: str = ""
    new: str = ""


class Truth:
    """The last day of seconds and the last fifty thousand notes."""

    __slots__ = ("_count", "_ring", "_seconds", "_seq", "notes")

    def __init__(self, *, seconds: int = MOST_SECONDS) -> None:
        assert seconds > 0
        self._seconds = seconds
        self._ring = array("d")
        self._count = 0
        self._seq = 0
        self.notes: deque[Note] = deque(maxlen=MOST_NOTES)

    @property
    def count(self) -> int:
        """How many seconds have been recorded since the start."""
        return self._count

    def record(self, row: tuple[float, ...]) -> None:
        """Append one second; values in the order of `COLUMNS`."""
        place = self._count % self._seconds
        if self._count < self._seconds:
            self._ring.extend(row)
        else:
            self._ring[place * WIDTH : (place + 1) * WIDTH] = array("d", row)
        self._count += 1

    def note(self, at: datetime, kind: str, name: str, *, peer: str = "", old: str = "", new: str = "") -> Note:
        self._seq += 1
        note = Note(seq=self._seq, at=at, kind=kind, name=name, peer=peer, old=old, new=new)
        self.notes.append(note)
        return note

    def notes_after(self, seq: int) -> Iterator[Note]:
        """Notes with a higher number, oldest first."""
        newer = []
        for note in reversed(self.notes):
            if note.seq <= seq:
                break
            newer.append(note)
        return reversed(newer)

    def latest(self) -> dict[str, float]:
        """The last second, by column; empty before the first."""
        return dict(zip(COLUMNS, self._row(self._count - 1), strict=True)) if self._count else {}

    def rows(self, *, after: int = 0, most: int = 3_600) -> Iterator[tuple[int, tuple[float, ...]]]:
        """Recorded seconds after the number `after`, oldest first, with their numbers from 1."""
        first = max(after, self._count - self._seconds)
        for index in range(first, min(self._count, first + most)):
            yield index + 1, self._row(index)

    def _row(self, index: int) -> tuple[float, ...]:
        place = index % self._seconds
        return tuple(self._ring[place * WIDTH : (place + 1) * WIDTH])
