"""A server certificate: TLS 1.3 only, exchanged while serving, and its end announced a month, a week and a day before.

The files are looked at every few seconds; new connections get the new certificate, old ones keep what they have. Files
that cannot be used leave the old certificate in force, so that half a copy does no harm.
"""

import asyncio
import ssl
from datetime import datetime
from pathlib import Path

import structlog
from cryptography import x509

from shared.clock import SystemClock
from shared.contract.reads import Check
from shared.errors import BadInput

LOOK_REAL_S = 2.0
WARN_DAYS = (30, 7, 1, 0)

log = structlog.get_logger()


class Certificate:
    """The certificate of one listener; `context` is the one object that every handshake asks."""

    def __init__(self, cert: Path, key: Path) -> None:
        self._cert = cert
        self._key = key
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_3
        self._seen = self._marks()
        self._warned: int | None = None
        self._load()

    async def watch(self) -> None:
        """Exchange and warn until cancelled; real seconds, because certificates know no other."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_REAL_S)

    def look(self) -> None:
        """Load the files again where they have changed, and say where the end is near."""
        marks = self._marks()
        if marks != self._seen:
            self._seen = marks
            try:
                self._load()
            except BadInput as error:
                log.warning("certificate_unusable", path=str(self._cert), error=error.sentence)
            else:
                log.info("certificate_exchanged", path=str(self._cert))
                self._warned = None
        left_days = days_left(self._cert)
        due = next((each for each in reversed(WARN_DAYS) if left_days is not None and left_days <= each), None)
        if due is not None and due != self._warned:
            log.warning("certificate_ends", path=str(self._cert), days_left=left_days)
        self._warned = due

    def _load(self) -> None:
        try:
            # A pair that does not belong together would spoil the context in use, so it is tried on another one.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self._cert, self._key)
            self.context.load_cert_chain(self._cert, self._key)
        except (OSError, ssl.SSLError) as error:
            raise BadInput(f"cannot use the certificate {self._cert} with the key {self._key}: {error}") from error

    def _marks(self) -> tuple[int, ...]:
        try:
            return tuple(each.stat().st_mtime_ns for each in (self._cert, self._key))
        except OSError:
            return ()


def days_left(cert: Path) -> float | None:
    """Days until the certificate ends, by the machine's own clock; None where it cannot be read."""
    try:
        ends: datetime = x509.load_pem_x509_certificate(cert.read_bytes()).not_valid_after_utc
    except (OSError, ValueError):
        return None
    return round((ends - SystemClock().now().at).total_seconds() / 86_400.0, 2)


def certificate_check(cert: Path | None) -> tuple[Check, ...]:
    """For health: whether the certificate is there and still good for a day; nothing where there is no TLS."""
    if cert is None:
        return ()
    left_days = days_left(cert)
    if left_days is None:
        return (Check(name="certificate", ok=False, detail="it cannot be read"),)
    return (Check(name="certificate", ok=left_days > 1.0, detail=f"ends in {left_days:g} days"),)
