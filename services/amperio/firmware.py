"""Firmware of the controller: look for a newer release, fetch it, believe only what is signed, and report each step.

A release is fetched only where its signature is Enexa's, and kept only where the file has the hash that was signed.
What is kept waits in the data directory; who installs it, and when, is not this program's decision.
"""

import asyncio
from hashlib import file_digest
from pathlib import Path

import structlog
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from services.amperio.enexa_client import EnexaClient
from services.amperio.version import VERSION
from shared.clock import Clock
from shared.contract.firmware import parse_version, signed_bytes
from shared.contract.registry import Firmware, FirmwareStatus
from shared.errors import OutOfBounds, SiteError

FIRMWARE = "firmware"
"""The directory of fetched releases inside the data directory."""
DEVICE_TYPE = "controller"
CHECK_EVERY_S = 3600.0
RETRY_EVERY_S = 60.0
FILE_MAX_BYTES = 512 * 1024 * 1024

log = structlog.get_logger()


class Untrusted(Exception):
    """Why a release is not taken; its text goes to Enexa and its people."""


class FirmwareKeeper:
    """One controller's releases; `status` is what was reported last."""

    def __init__(
        self, controller_id: str, enexa: EnexaClient, directory: Path, key_file: Path | None, clock: Clock
    ) -> None:
        self.status = ""
        self._controller_id = controller_id
        self._enexa = enexa
        self._directory = directory
        self._key_file = key_file
        self._clock = clock

    async def run(self) -> None:
        """Check at the start and every hour; while Enexa is away, each minute."""
        while True:
            try:
                await self.check()
            except SiteError as error:
                log.info("firmware_not_checked", controller_id=self._controller_id, code=error.code)
                await self._clock.sleep(RETRY_EVERY_S)
            else:
                await self._clock.sleep(CHECK_EVERY_S)

    async def check(self) -> None:
        """One look at what Enexa offers; raises whatever the calls raise."""
        offer = await self._enexa.firmware(DEVICE_TYPE)
        try:
            if offer is None or parse_version(offer.version) <= parse_version(VERSION):
                await self._report("ok")
                return
            self._check_signature(offer)
            if not self.file_of(offer).exists():
                await self._report(f"downloading {offer.version}")
                await self._fetch(offer)
        except (Untrusted, OutOfBounds) as error:
            log.warning("firmware_refused", controller_id=self._controller_id, reason=str(error))
            await self._report(f"rejected {offer.version if offer else ''}: {error}")
        else:
            await self._report(f"ready {offer.version}")

    def file_of(self, release: Firmware) -> Path:
        """Where a fetched release lies; the name holds what was verified."""
        return self._directory / f"{DEVICE_TYPE}-{release.version}-{release.sha256}.bin"

    async def _report(self, status: str) -> None:
        if status != self.status:
            log.info("firmware_status", controller_id=self._controller_id, status=status)
        self.status = status
        await self._enexa.report_firmware(self._controller_id, FirmwareStatus(current_version=VERSION, status=status))

    def _check_signature(self, release: Firmware) -> None:
        try:
            signature = bytes.fromhex(release.signature or "")
            self._key().verify(signature, signed_bytes(release.sha256, release.version))
        except (InvalidSignature, ValueError) as error:
            raise Untrusted("the signature is not that of our platform") from error

    def _key(self) -> Ed25519PublicKey:
        if self._key_file is None:
            raise Untrusted("no key to check the signature with; set AMPERIO_FIRMWARE_KEY_FILE")
        try:
            key = load_pem_public_key(self._key_file.read_bytes())
        except (OSError, ValueError) as error:
            raise Untrusted(f"the key file cannot be used: {type(error).__name__}") from error
        if not isinstance(key, Ed25519PublicKey):
            raise Untrusted("the key file holds no Ed25519 key")
        return key

    async def _fetch(self, release: Firmware) -> None:
        """Under another name first: a release that is not whole or not true never has the name of one."""
        self._directory.mkdir(parents=True, exist_ok=True)
        arriving = self._directory / f"{release.sha256}.part"
        with arriving.open("wb") as file:
            await self._enexa.download_firmware(release.sha256, file, limit_bytes=FILE_MAX_BYTES)
        await asyncio.to_thread(self._take, arriving, release)

    def _take(self, arrived: Path, release: Firmware) -> None:
        with arrived.open("rb") as file:
            found = file_digest(file, "sha256").hexdigest()
        if found != release.sha256:
            arrived.unlink()
            raise Untrusted(f"the file's sha256 is {found[:12]}..., not the one that was signed")
        arrived.replace(self.file_of(release))
