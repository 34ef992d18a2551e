"""Anchors of the audit log: its head, told to places that whoever tampers with the log does not hold as well.

A chain shows a change in its middle. That its end was cut off, or that all of it was written anew, shows only against
a head that was kept elsewhere: in a file beside the database, in the program's own output, and in the audit log of the
other party, which keeps the id of each request that it answers.
"""

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec import Struct

from shared.errors import BadInput, StoreFailed

REQUEST_ID_DIGITS = 40
EVERY_S = 60.0


class Anchor(Struct, frozen=True):
    """At entry `seq` the chain's digest began with `digest`."""

    seq: int
    digest: str

    @property
    def request_id(self) -> str:
        """The anchor as the id of a request."""
        return f"anchor.{self.seq}.{self.digest[:REQUEST_ID_DIGITS]}"


class Anchors:
    """The file: one JSON line for each anchor, only ever appended to."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, anchor: Anchor) -> None:
        """On the disk when this returns; StoreFailed where it is not."""
        try:
            with self._path.open("ab") as file:
                file.write(msgspec.json.encode(anchor) + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StoreFailed(f"the anchor was not kept: {error.strerror}") from error

    def known(self) -> list[Anchor]:
        """All of them; none where there is no file. BadInput where a line is none (the last one may be half)."""
        try:
            lines = self._path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        try:
            return [msgspec.json.decode(line, type=Anchor) for line in lines[:-1]]
        except msgspec.DecodeError as error:
            raise BadInput(f"{self._path} holds a line that is no anchor") from error


def anchor_of(word: str) -> Anchor:
    """An anchor as a person copies it from a log: `anchor.SEQ.DIGEST` or `SEQ:DIGEST`."""
    seq, _, digest = word.removeprefix("anchor.").replace(".", ":").partition(":")
    if not seq.isdigit() or len(digest) < 16 or any(each not in "0123456789abcdef" for each in digest):
        raise BadInput(f"{word!r} is no anchor: SEQ:DIGEST, or anchor.SEQ.DIGEST as a request id")
    return Anchor(int(seq), digest)


def by_seq(anchors: Iterable[Anchor]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for each in anchors:
        found.setdefault(each.seq, []).append(each.digest)
    return found
