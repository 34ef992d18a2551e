"""Record everything that travels on any wire, and hash it: same seed, same hash.

One record per message: time in s (float64), channel (1 byte), length (uint32), all big-endian, then the message. The
hash is SHA-256 over the records in order, so a file of records can be checked with nothing but `hashlib`.
"""

import hashlib
import struct
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import BinaryIO

from msgspec import Struct

HEAD = struct.Struct(">dBI")
FLUSH_AFTER = 512


class Channel(IntEnum):
    """Which wire, and which way; what was sent counts, also when it never arrived."""

    MODBUS_REQUEST = 1
    MODBUS_REPLY = 2
    TO_ENEXA_REQUEST = 3
    TO_ENEXA_REPLY = 4
    TO_AMPERIO_REQUEST = 5
    TO_AMPERIO_REPLY = 6


class WireRecord(Struct, frozen=True, kw_only=True):
    s: float
    channel: Channel
    body: bytes


class Recorder:
    """Takes every message once; `keep` also writes the records to a file."""

    def __init__(self, keep: Path | None = None) -> None:
        self.byte_count = 0
        self._counts = [0] * (max(Channel) + 1)
        self._digest = hashlib.sha256()
        self._parts: list[bytes] = []
        self._file: BinaryIO | None = keep.open("wb") if keep is not None else None

    def take(self, s: float, channel: Channel, body: bytes) -> None:
        """One message as it was put on the wire."""
        self._counts[channel] += 1
        parts = self._parts
        parts.append(HEAD.pack(s, channel, len(body)))
        parts.append(body)
        if len(parts) >= FLUSH_AFTER:
            self._flush()

    @property
    def counts(self) -> dict[Channel, int]:
        """How many messages each channel has carried."""
        return {channel: self._counts[channel] for channel in Channel}

    def hexdigest(self) -> str:
        """The hash so far."""
        self._flush()
        return self._digest.hexdigest()

    def close(self) -> None:
        self._flush()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _flush(self) -> None:
        together = b"".join(self._parts)
        self._parts.clear()
        self._digest.update(together)
        self.byte_count += len(together)
        if self._file is not None:
            self._file.write(together)


def records(path: Path) -> Iterator[WireRecord]:
    """The messages of a kept file, in order."""
    data = path.read_bytes()
    at = 0
    while at < len(data):
        s, channel, length = HEAD.unpack_from(data, at)
        at += HEAD.size
        yield WireRecord(s=s, channel=Channel(channel), body=data[at : at + length])
        at += length


def hash_of(path: Path) -> str:
    """The hash of a kept file; equals the recorder's."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
