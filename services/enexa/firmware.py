"""The shelf of firmware files: stored, hashed and signed by this platform."""

import re
from hashlib import sha256
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from services.enexa.registry.firmware import Release, check_newer, newest
from shared.contract.firmware import parse_version, signed_bytes
from shared.errors import BadInput

DEVICE_TYPE = re.compile(r"^[a-z0-9_-]{1,64}$")
FILE_MAX_BYTES = 512 * 1024 * 1024
PUBLIC_KEY = "public.pem"
"""For whoever checks signatures; it lies beside the files as soon as there is a release."""


class FirmwareShelf:
    """One directory: a JSON file per release, and each file under its own SHA-256."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def newest(self, device_type: str) -> Release | None:
        return newest(self._releases(device_type))

    def file(self, digest: str) -> Path | None:
        """Where the file with this SHA-256 lies; None where it is no release."""
        path = self._directory / "files" / digest
        return path if re.fullmatch("[0-9a-f]{64}", digest) and path.is_file() else None

    def add(self, path: Path, device_type: str, version: str) -> Release:
        """Store, hash and sign a file; BadInput or OutOfBounds where it cannot be a release."""
        if not DEVICE_TYPE.match(device_type):
            raise BadInput(f"a device type is made of small letters and digits, not {device_type!r}")
        parse_version(version)
        check_newer(version, self._releases(device_type))
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BadInput(f"cannot read {path}: {error.strerror}") from error
        if not 0 < len(content) <= FILE_MAX_BYTES:
            raise BadInput(f"{path} is empty or larger than 512 MB")
        digest = sha256(content).hexdigest()
        release = Release(
            device_type=device_type,
            version=version,
            sha256=digest,
            signature=self._key().sign(signed_bytes(digest, version)).hex(),
            size_bytes=len(content),
        )
        files, notes = self._directory / "files", self._directory / "releases"
        for each in (files, notes):
            each.mkdir(parents=True, exist_ok=True)
        (files / digest).write_bytes(content)
        (self._directory / PUBLIC_KEY).write_bytes(self.public_key())
        (notes / f"{device_type}-{version}.json").write_bytes(msgspec.json.encode(release))
        return release

    def public_key(self) -> bytes:
        """PEM, for whoever checks signatures."""
        return self._key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def _releases(self, device_type: str) -> list[Release]:
        notes = sorted((self._directory / "releases").glob(f"{device_type}-*.json"))
        found = [msgspec.json.decode(each.read_bytes(), type=Release) for each in notes]
        return [each for each in found if each.device_type == device_type]

    def _key(self) -> Ed25519PrivateKey:
        path = self._directory / "signing.pem"
        if not path.exists():
            self._directory.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            made = Ed25519PrivateKey.generate()
            path.write_bytes(made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        key = load_pem_private_key(path.read_bytes(), password=None)
        assert isinstance(key, Ed25519PrivateKey)
        return key
