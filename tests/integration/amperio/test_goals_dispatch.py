"""B1: requests and replies cut at any byte: each command takes effect at most once, and what became of it is known."""

import asyncio
import contextlib
import random
from collections import Counter
from pathlib import Path

import pytest

from shared.chargepost.registers import MANAGEMENT
from shared.contract.dispatch import CommandStatus, ImportKw, SetGridLimit
from shared.contract.operations import AMPERIO_TOKEN, DISPATCH, GET_DISPATCH
from shared.errors import InProgress, PeerDown
from shared.rest.call import Caller
from tests.integration.amperio.stage import NO_BUDGETS, SITE, Stage, playing

CLEARANCE = MANAGEMENT.fields["clearance_kw"]
HEAD_BYTES = 900
"""A request, or a reply, is no longer than this."""
TRIES = 20


class Cutter:
    """A relay that lets a number of bytes through, either way, and then resets both connections."""

    def __init__(self, port: int, chance: random.Random) -> None:
        self._port = port
        self._chance = chance
        self.on = True

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        uncut = 1 << 30
        limits = [uncut, uncut]
        if self.on:
            limits[self._chance.randrange(2)] = self._chance.randrange(HEAD_BYTES)
        pumps = [
            asyncio.create_task(_pump(reader, back, limits[0])),
            asyncio.create_task(_pump(there, writer, limits[1])),
        ]
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for each in pumps:
            each.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        for end in (writer, back):
            end.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int) -> None:
    with contextlib.suppress(ConnectionError):
        while limit > 0 and (data := await reader.read(4096)):
            writer.write(data[:limit])
            limit -= len(data)
            await writer.drain()


class Dispatches:
    """Commands through the cutter, each sent again until its outcome is known; and what the station was told."""

    def __init__(self, stage: Stage, chance: random.Random) -> None:
        self.stage = stage
        self.written: Counter[float] = Counter()
        """By limit in kW, how often it was written to the station."""
        self.cutter = Cutter(stage.port, chance)
        self._listen()

    def _listen(self) -> None:
        request = self.stage.station.request

        def noting(now, unit_id, pdu, **more):  # type: ignore[no-untyped-def]  # stands in for the method
            reply = request(now, unit_id, pdu, **more)
            value = clearance_kw(pdu)
            if value is not None and reply and reply[0] == 16:
                self.written[value] += 1
            return reply

        self.stage.station.request = noting  # type: ignore[method-assign]  # listens in

    async def send(self, number: int, port: int, *, named: bool) -> None:
        """Again and again until an answer arrives; without a name each attempt is another command."""
        caller, began = self._caller(port), self.stage.clock.now()
        for attempt in range(TRIES):
            self.cutter.on = attempt < TRIES // 2
            command = SetGridLimit(
                site_id=SITE,
                timestamp=began.at if named else self.stage.clock.now().at,
                params=ImportKw(import_kw=limit_kw(number)),
                command_id=f"cut-{number}" if named or attempt == 0 else f"cut-{number}-{attempt}",
            )
            try:
                reply = await caller.call(DISPATCH, command)
            except (PeerDown, InProgress):
                continue
            finally:
                await caller.close()
            if reply.message.status is not CommandStatus.ACCEPTED:
                return

    async def outcome(self, number: int) -> CommandStatus:
        """What a caller who asks is told."""
        record = (await self.stage.call("enexa", GET_DISPATCH, command_id=f"cut-{number}")).message
        status: CommandStatus = record.status
        return status

    def _caller(self, port: int) -> Caller:
        """A fresh connection for each call; its token comes the same cut way."""
        return Caller(
            f"http://127.0.0.1:{port}",
            self.stage.clock,
            client_id="enexa",
            secret="enexa-secret",
            token_operation=AMPERIO_TOKEN,
        )

    def applied(self) -> Counter[float]:
        """By limit in kW, how many commands were carried out."""
        entries = self.stage.lane.agent.ledger._entries.values()
        return Counter(
            entry.command.params.import_kw
            for entry in entries
            if isinstance(entry.command, SetGridLimit) and entry.record.status is CommandStatus.APPLIED
        )


def clearance_kw(pdu: bytes) -> float | None:
    """The limit that a request writes, where it is one."""
    first = int.from_bytes(pdu[1:3], "big")
    if pdu[0] != 16 or not first <= CLEARANCE.address < first + pdu[4]:
        return None
    at = 6 + 2 * (CLEARANCE.address - first)
    value = CLEARANCE.decode(tuple(int.from_bytes(pdu[at + 2 * n : at + 2 * n + 2], "big") for n in range(2)))
    assert isinstance(value, float)
    return round(value, 3)


def limit_kw(number: int) -> float:
    return round(10.0 + number / 1000.0, 3)


async def play(directory: Path, count: int, *, named: bool = True) -> tuple[list[int], list[int]]:
    """Of each command: how often it was carried out, and how often its value was written to the station."""
    async with playing(directory, speed=1.0, **NO_BUDGETS) as stage:
        dispatches = Dispatches(stage, random.Random(1))
        port = await dispatches.cutter.start()
        for number in range(count):
            await dispatches.send(number, port, named=named)
            if named:
                assert await dispatches.outcome(number) is CommandStatus.APPLIED
        await dispatches.cutter.stop()
        numbers, applied = range(count), dispatches.applied()
        return [applied[limit_kw(each)] for each in numbers], [dispatches.written[limit_kw(each)] for each in numbers]


async def test_b1_whatever_is_cut_a_command_takes_effect_once_and_its_outcome_is_known(tmp_path: Path) -> None:
    assert await play(tmp_path, 30) == ([1] * 30, [1] * 30)


@pytest.mark.soak
@pytest.mark.timeout(3600)
async def test_b1_two_thousand_dispatches(tmp_path: Path) -> None:
    assert await play(tmp_path, 2000) == ([1] * 2000, [1] * 2000)


async def test_b1_the_control_without_a_name_a_repeated_command_is_carried_out_again(tmp_path: Path) -> None:
    applied, _ = await play(tmp_path, 15, named=False)

    assert max(applied) > 1
