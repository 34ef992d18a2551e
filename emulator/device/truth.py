"""What really was: every physics second and every register write, only ever appended, and bounded in memory."""

from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from typing import TypeAlias

from msgspec import Struct

COLUMNS = (
    "at_epoch_s", "grid_kw", "battery_1_kw", "battery_2_kw", "ev_1_kw", "ev_2_kw", "pv_kw", "own_kw", "ev_loss_kw",
    "energy_1_kwh", "energy_2_kwh", "temperature_1_c", "temperature_2_c", "imported_kwh", "exported_kwh",
    "clearance_kw", "curtailed_kw", "demand_kw", "external", "ambient_c",
)  # fmt: skip
WIDTH = len(COLUMNS)
MOST_SECONDS = 86_400
MOST_NOTES = 50_000
Row: TypeAlias = tuple[int, tuple[float, ...]]


class Note(Struct, frozen=True, kw_only=True):
    """Something that happened once: a write, a fault, a trip, a car; `peer` is who caused it."""

    seq: int
    at: datetime
    kind: str
    name: str
    peer: str = ""
    old: str = ""
    new: str = ""


class Stretch(Struct, frozen=True, kw_only=True):
    """A part of the truth: numbers above `after`, at `since` or later, before `until`; the oldest `most` of them."""

    after: int = 0
    since: datetime | None = None
    until: datetime | None = None
    most: int = 3_600


class Truth:
    """The last day of seconds and the last fifty thousand notes; both are numbered from 1, or from where it began."""

    __slots__ = ("_before", "_count", "_ring", "_seconds", "before", "noted", "notes")

    def __init__(self, *, seconds: int = MOST_SECONDS, before: tuple[int, int] = (0, 0)) -> None:
        assert seconds > 0
        self._seconds = seconds
        self._ring = array("d")
        self._count = 0
        self.before = before
        self._before, self.noted = before
        self.notes: deque[Note] = deque(maxlen=MOST_NOTES)

    @property
    def count(self) -> int:
        """The number of the last recorded second."""
        return self._before + self._count

    def record(self, row: tuple[float, ...]) -> None:
        """Append one second; values in the order of `COLUMNS`."""
        place = self._count % self._seconds
        if self._count < self._seconds:
            self._ring.extend(row)
        else:
            self._ring[place * WIDTH : (place + 1) * WIDTH] = array("d", row)
        self._count += 1

    def note(self, at: datetime, kind: str, name: str, *, peer: str = "", old: str = "", new: str = "") -> Note:
        self.noted += 1
        note = Note(seq=self.noted, at=at, kind=kind, name=name, peer=peer, old=old, new=new)
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

    def notes_of(self, stretch: Stretch) -> Iterator[Note]:
        """The notes of a stretch, oldest first."""
        return islice((note for note in self.notes_after(stretch.after) if _within(note.at, stretch)), stretch.most)

    def latest(self) -> dict[str, float]:
        """The last second, by column; empty before the first."""
        return dict(zip(COLUMNS, self._row(self._count - 1), strict=True)) if self._count else {}

    def rows(self, stretch: Stretch) -> Iterator[Row]:
        """The recorded seconds of a stretch with their numbers, oldest first."""
        here = range(max(0, self._count - self._seconds), self._count)
        first, last = max(here.start, stretch.after - self._before), here.stop
        if stretch.since is not None:
            first = max(first, here.start + bisect_left(here, stretch.since.timestamp(), key=self._at_epoch_s))
        if stretch.until is not None:
            last = here.start + bisect_left(here, stretch.until.timestamp(), key=self._at_epoch_s)
        for index in range(first, min(last, first + stretch.most)):
            yield self._before + index + 1, self._row(index)

    @property
    def forgotten(self) -> tuple[int, int]:
        """Up to which numbers seconds and notes are no longer here."""
        return self._before + max(0, self._count - self._seconds), self.noted - len(self.notes)

    def _at_epoch_s(self, index: int) -> float:
        return self._ring[index % self._seconds * WIDTH]

    def _row(self, index: int) -> tuple[float, ...]:
        place = index % self._seconds
        return tuple(self._ring[place * WIDTH : (place + 1) * WIDTH])


def _within(at: datetime, stretch: Stretch) -> bool:
    return (stretch.since is None or at >= stretch.since) and (stretch.until is None or at < stretch.until)
