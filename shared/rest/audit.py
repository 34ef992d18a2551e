"""The audit log: one entry for every API call, each chained to the one before, so that tampering shows."""

from datetime import datetime
from hashlib import sha256
from typing import Protocol

import msgspec
from msgspec import Struct

GENESIS = "0" * 64


class AuditLine(Struct, frozen=True, kw_only=True):
    """What is remembered of one call; never a body, never a token."""

    at: datetime
    source: str
    principal: str
    action: str
    outcome: str
    status: int
    latency_ms: float
    request_id: str


class AuditSink(Protocol):
    """Where lines go; StoreFailed where they cannot be kept."""

    async def append(self, line: AuditLine) -> None: ...


_sorted = msgspec.json.Encoder(order="sorted")


def canonical(line: AuditLine) -> bytes:
    """The line as it is chained: its fields in alphabetical order."""
    return _sorted.encode(line)


def digest_after(previous: str, body: bytes) -> str:
    """SHA-256 over the previous digest and a canonical line."""
    return sha256(previous.encode() + body).hexdigest()


def chained(previous: str, line: AuditLine) -> str:
    """SHA-256 over the previous digest and the canonical form of a line."""
    return digest_after(previous, canonical(line))
