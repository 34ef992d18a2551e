"""Firmware releases: which is the newest, and that a release never goes back (pure)."""

import re
from collections.abc import Iterable

from msgspec import Struct

from shared.errors import OutOfBounds

VERSION = re.compile(r"^(\d{1,6})\.(\d{1,6})\.(\d{1,6})$")


class Release(Struct, frozen=True, kw_only=True):
    """One signed file; `signature` is Ed25519 over its SHA-256 and its version, in hex."""

    device_type: str
    version: str
    sha256: str
    signature: str
    size_bytes: int


def parse_version(text: str) -> tuple[int, int, int]:
    """Major, minor, patch; OutOfBounds for anything else."""
    found = VERSION.match(text)
    if found is None:
        raise OutOfBounds("a version looks like 2.1.0", field="version")
    major, minor, patch = (int(each) for each in found.groups())
    return major, minor, patch


def newest(releases: Iterable[Release]) -> Release | None:
    return max(releases, key=lambda each: parse_version(each.version), default=None)


def check_newer(version: str, releases: Iterable[Release]) -> None:
    """OutOfBounds where a release would not be newer than all before it."""
    latest = newest(releases)
    if latest is not None and parse_version(version) <= parse_version(latest.version):
        raise OutOfBounds(f"{version} is not newer than {latest.version}", field="version")


def signed_bytes(sha256: str, version: str) -> bytes:
    """What the signature covers: a file cannot be passed off as another version."""
    return f"{version}:{sha256}".encode()
