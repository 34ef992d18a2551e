"""G7: where ten times as much is asked as can be done, telemetry is shed with a Retry-After, and no command is."""

import asyncio
from collections import Counter
from collections.abc import Mapping

import aiohttp
import pytest

from shared.contract.operations import POST_TELEMETRY, Budget
from shared.contract.telemetry import Telemetry, TelemetryAck
from shared.contract.tokens import TokenRequest
from shared.rest.auth import TokenBook
from shared.rest.gate import Call, Route, serves
from shared.rest.rooms import PLACES
from tests.integration.rest.served import COMMAND, Served, routes, running

SAMPLE = b'{"site_id":"SITE001","timestamp":"2024-01-15T10:00:01Z"}'
CAPACITY = 8
"""Samples that are worked on at once."""
CROWD = 10 * CAPACITY
EACH = 5
"""Samples that one of the crowd sends, one after the other, whatever it is answered."""


class Overload:
    """A store that stands still while a crowd sends; what everybody was answered until it moves again."""

    def __init__(self) -> None:
        self.samples: Counter[int] = Counter()
        self.commands: Counter[int] = Counter()
        self.mute = 0
        """Refusals without a word when to come back."""
        self._held = 0
        self._done = 0
        self._moves = asyncio.Event()

    def routes(self, book: TokenBook) -> list[Route]:
        @serves(POST_TELEMETRY)
        async def telemetry(call: Call[Telemetry]) -> TelemetryAck:
            self._held += 1
            await self._moves.wait()
            return TelemetryAck(accepted=1, stored_through=call.body.sequence)

        return [telemetry, *(each for each in routes(book) if each.operation is not POST_TELEMETRY)]

    async def play(self, served: Served) -> None:
        """Commands follow one another until each of the crowd is held or has sent all; then the store moves."""
        samples, commands = (self._headers(served, *each) for each in (("CTRL001", "s2"), ("enexa", "s1")))
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            crowd = asyncio.gather(*(self._send(session, served, samples) for _ in range(CROWD)))
            while self._held + self._done < CROWD:
                async with session.post(served.url + "/v1/dispatch", data=COMMAND, headers=commands) as reply:
                    self.commands[reply.status] += 1
            self._moves.set()
            await crowd

    async def _send(self, session: aiohttp.ClientSession, served: Served, headers: dict[str, str]) -> None:
        for _ in range(EACH):
            async with session.post(served.url + "/v1/telemetry", data=SAMPLE, headers=headers) as reply:
                self.samples[reply.status] += 1
                self.mute += reply.status != 200 and int(reply.headers.get("Retry-After", 0)) < 1
        self._done += 1

    def _headers(self, served: Served, client_id: str, secret: str) -> dict[str, str]:
        request = TokenRequest(grant_type="client_credentials", client_id=client_id, client_secret=secret)
        token = served.book.grant(request, served.clock.now()).access_token
        return {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}


async def played(places: Mapping[Budget, int]) -> Overload:
    overload = Overload()
    async with running(made=overload.routes, places=places) as served, asyncio.timeout(60):
        await overload.play(served)
    return overload


@pytest.mark.timeout(90)
async def test_g7_under_ten_times_the_load_telemetry_is_shed_and_every_command_passes() -> None:
    seen = await played({Budget.TELEMETRY: CAPACITY, Budget.GENERAL: CAPACITY})

    assert seen.samples == {200: CAPACITY * EACH, 503: (CROWD - CAPACITY) * EACH}
    assert seen.mute == 0
    assert set(seen.commands) == {200}


@pytest.mark.timeout(90)
async def test_g7_the_control_a_service_without_places_sheds_nothing() -> None:
    assert set((await played(PLACES)).samples) == {200}


@pytest.mark.timeout(90)
async def test_g7_the_control_commands_without_places_of_their_own_are_shed_too() -> None:
    seen = await played({Budget.TELEMETRY: CAPACITY, Budget.COMMAND: 0})

    assert set(seen.commands) == {503}
