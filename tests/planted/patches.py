"""The planted bugs: each a patch whose head says what is wrong and which test must notice."""

import re
from pathlib import Path

from msgspec import Struct

HERE = Path(__file__).parent
HEAD = re.compile(r"\ABug: (?P<bug>.+)\nCaught by: (?P<test>.+)\n\n(?=diff --git )")


class Planted(Struct, frozen=True, kw_only=True):
    """One bug."""

    name: str
    path: Path
    bug: str
    test: str


def planted() -> tuple[Planted, ...]:
    """All of them, by name; an assertion where a head does not say what it should."""
    return tuple(_read(path) for path in sorted(HERE.glob("*.patch")))


def _read(path: Path) -> Planted:
    head = HEAD.match(path.read_text(encoding="utf-8"))
    assert head is not None, f"{path.name} has to begin with `Bug:` and `Caught by:`"
    return Planted(name=path.stem, path=path, bug=head["bug"], test=head["test"])
