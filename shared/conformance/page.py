"""The customer's page, sentence by sentence, each with an id that checks can name and the proof that lies elsewhere.

A black-box check can ask what is hosted. What happens over an outage, inside a program or on a dashboard is proved by
a story of the simulation, by a test, or by an import rule; `proof` names them. Headings claim nothing.
"""

import tomllib
from functools import cache
from pathlib import Path

import msgspec
from msgspec import Struct

PAGE = Path(__file__).parent / "page.toml"


class Sentence(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of the page."""

    id: str
    text: str
    proof: tuple[str, ...] = ()
    """`story NAME`, `test PATH::NAME` or `rule NAME` of the import contracts."""
    heading: bool = False


@cache
def sentences() -> tuple[Sentence, ...]:
    """All of them, in the order of the page."""
    told = tomllib.loads(PAGE.read_text(encoding="utf-8"))
    return msgspec.convert(told["sentence"], tuple[Sentence, ...])
