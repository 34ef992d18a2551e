"""What a core reports so that a shell may log it: a past-tense name and its numbers."""

from typing import TypeAlias

import msgspec
from msgspec import Struct

Value: TypeAlias = str | int | float | bool | None


class Fact(Struct, frozen=True, kw_only=True):
    """For instance `Fact(name="mode_changed", fields={"mode": "safe"})`."""

    name: str
    fields: dict[str, Value] = msgspec.field(default_factory=dict)
    level: str = "info"


def fact(name: str, level: str = "info", **fields: Value) -> Fact:
    return Fact(name=name, fields=fields, level=level)
