"""Comparisons that somebody wanted to keep, one small file each."""

import re
import secrets
from datetime import datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from services.enexa.insight.comparison import Comparison
from shared.errors import BadInput, NotFound, StoreFailed

KEPT_MAX = 100
TITLE_MAX_CHARS = 80
KEY = re.compile(r"^[0-9a-f]{12}$")


class Kept(Struct, frozen=True, kw_only=True):
    """A comparison with its title; `key` names it."""

    key: str
    title: str
    day: str
    by: str
    at: datetime
    comparison: Comparison


class KeptComparisons:
    """A directory of them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def all(self) -> list[Kept]:
        """Oldest first; a file that cannot be read is left out."""
        found = []
        for path in self._directory.glob("*.json"):
            try:
                found.append(msgspec.json.decode(path.read_bytes(), type=Kept))
            except (OSError, msgspec.DecodeError):
                continue
        return sorted(found, key=lambda each: (each.at, each.key))

    def keep(self, comparison: Comparison, *, title: str, day: str, by: str, at: datetime) -> Kept:
        """BadInput without a title, or where too many are kept already."""
        if not title.strip() or len(title) > TITLE_MAX_CHARS:
            raise BadInput(f"a title has 1 to {TITLE_MAX_CHARS} letters", field="title")
        if len(self.all()) >= KEPT_MAX:
            raise BadInput(f"at most {KEPT_MAX} comparisons are kept; remove one first", field="title")
        kept = Kept(key=secrets.token_hex(6), title=title.strip(), day=day, by=by, at=at, comparison=comparison)
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            (self._directory / f"{kept.key}.json").write_bytes(msgspec.json.encode(kept))
        except OSError as error:
            raise StoreFailed(f"the comparison cannot be kept: {error.strerror}") from error
        return kept

    def remove(self, key: str) -> None:
        """NotFound where it is not there."""
        path = self._directory / f"{key}.json"
        if not KEY.match(key) or not path.exists():
            raise NotFound("no such comparison")
        path.unlink(missing_ok=True)
