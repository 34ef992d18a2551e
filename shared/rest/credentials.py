"""The file with the clients of a service, taken up again where it changes: a secret is exchanged while serving.

To exchange a secret, write a second entry for its client beside the first and give the first one an end (`until`);
hand out the new secret; take the first entry away at leisure. A file that cannot be read leaves everybody as they are.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

import structlog

from shared.errors import BadInput
from shared.rest.auth import Credential, load_credentials

LOOK_REAL_S = 2.0

log = structlog.get_logger()
Taker = Callable[[tuple[Credential, ...]], None]


class CredentialsFile:
    """One file and whoever wants to know of its changes."""

    def __init__(self, path: Path, *takers: Taker) -> None:
        self._path = path
        self._takers = takers
        self._seen = self._mark()

    async def watch(self) -> None:
        """Look every few real seconds until cancelled."""
        while True:
            await asyncio.sleep(LOOK_REAL_S)
            self.look()

    def look(self) -> None:
        mark = self._mark()
        if mark == self._seen:
            return
        self._seen = mark
        try:
            credentials = load_credentials(self._path)
        except BadInput as error:
            log.warning("credentials_unusable", error=error.sentence)
            return
        for take in self._takers:
            take(credentials)
        log.info("credentials_taken", clients=sorted({each.client_id for each in credentials}))

    def _mark(self) -> tuple[int, int, int]:
        try:
            found = self._path.stat()
        except OSError:
            return (0, 0, 0)
        return (found.st_mtime_ns, found.st_size, found.st_ino)
