"""Firmware on the wire: what a version looks like, and what the signature of a release covers."""

import re

from shared.errors import OutOfBounds

VERSION = re.compile(r"^(\d{1,6})\.(\d{1,6})\.(\d{1,6})$")


def parse_version(text: str) -> tuple[int, int, int]:
    """Major, minor, patch; OutOfBounds for anything else."""
    found = VERSION.match(text)
    if found is None:
        raise OutOfBounds("a version looks like 2.1.0", field="version")
    major, minor, patch = (int(each) for each in found.groups())
    return major, minor, patch


def signed_bytes(sha256: str, version: str) -> bytes:
    """What the signature covers: a file cannot be passed off as another version."""
    return f"{version}:{sha256}".encode()
