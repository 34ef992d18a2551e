"""Firmware releases: which is the newest, and that a release never goes back (pure)."""

from collections.abc import Iterable

from msgspec import Struct

from shared.contract.firmware import parse_version
from shared.errors import OutOfBounds


class Release(Struct, frozen=True, kw_only=True):
    """One signed file; `signature` is Ed25519 over its SHA-256 and its version, in hex."""

    device_type: str
    version: str
    sha256: str
    signature: str
    size_bytes: int


def newest(releases: Iterable[Release]) -> Release | None:
    return max(releases, key=lambda each: parse_version(each.version), default=None)


def check_newer(version: str, releases: Iterable[Release]) -> None:
    """OutOfBounds where a release would not be newer than all before it."""
    latest = newest(releases)
    if latest is not None and parse_version(version) <= parse_version(latest.version):
        raise OutOfBounds(f"{version} is not newer than {latest.version}", field="version")
