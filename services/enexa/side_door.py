"""The emulator's side door as Enexa uses it: raise and clear faults, and ask how the station is. Demos only."""

from collections.abc import Mapping
from typing import Any

import aiohttp
import msgspec

from shared.errors import Conflict, PeerDown

TIMEOUT_S = 5.0


class SideDoor:
    """One emulator; PeerDown where it does not answer, Conflict where it refuses."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url.rstrip("/")

    async def begin_fault(self, name: str, *, for_s: float, options: Mapping[str, float]) -> None:
        await self._ask("POST", "/v1/faults", {"fault": name, "for_s": for_s, "options": dict(options)})

    async def health(self) -> Any:
        """How many stations there are, on which ports, and how many connections each holds."""
        return await self._ask("GET", "/v1/health")

    async def _ask(self, method: str, path: str, body: object = None) -> Any:
        url = self._base_url + path
        payload = msgspec.json.encode(body) if body is not None else None
        headers = {"Content-Type": "application/json"}
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as session,
                session.request(method, url, data=payload, headers=headers, allow_redirects=False) as answer,
            ):
                said = msgspec.json.decode(await answer.read())
                if answer.status >= 400:
                    raise Conflict(f"the emulator refused: {said.get('detail', answer.status)}"[:300])
                return said
        except (aiohttp.ClientError, TimeoutError, OSError, msgspec.DecodeError) as error:
            raise PeerDown("the emulator's side door does not answer") from error
