"""The event log of a run: what each program told, in order, as lines that are equal whenever the run is."""

import hashlib
from collections import Counter
from pathlib import Path
from typing import TextIO

import msgspec

from shared.moment import Moment

Told = str | int | float | bool | None


class Journal:
    """Takes notes; counts them, hashes them, and writes them to a file if asked to."""

    def __init__(self, keep: Path | None = None) -> None:
        self.counts: Counter[str] = Counter()
        self.recent: list[str] = []
        self._digest = hashlib.sha256()
        self._file: TextIO | None = keep.open("w", encoding="utf-8") if keep is not None else None

    def note(self, now: Moment, who: str, what: str, **told: Told) -> None:
        self.counts[f"{who}.{what}"] += 1
        line = f"{now.s:.1f} {now.at.isoformat()} {who} {what} {msgspec.json.encode(told).decode()}\n"
        self._digest.update(line.encode())
        self.recent.append(line)
        if len(self.recent) > 400:
            del self.recent[:200]
        if self._file is not None:
            self._file.write(line)

    def hexdigest(self) -> str:
        return self._digest.hexdigest()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
