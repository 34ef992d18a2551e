"""A station on a real port of 127.0.0.1 with a manual clock: seconds pass only when the test says so."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from emulator.server import Server
from emulator.station import Station
from emulator.stations.load import load_station
from shared.clock import ManualClock
from shared.rest.server import Listener, bind
from shared.scenario.schema import Scenario
from tests.unit.emulator.rig import NOON, a_car

WAIT_S = 5.0
EMPTY = Scenario(name="empty", story="Nobody comes.")
HEADER = struct.Struct(">HHHB")


class Served:
    """The station, its server and a raw client."""

    def __init__(self, station: Station, server: Server, clock: ManualClock) -> None:
        self.station = station
        self.server = server
        self.clock = clock
        self._clients: list[Raw] = []

    @property
    def port(self) -> int:
        return self.server.port

    def run(self, seconds: int) -> None:
        for _ in range(seconds):
            self.station.step(self.clock.advance(1.0))

    def charge(self, **wish: Any) -> None:
        """A car that charges at full power."""
        self.station.post.plug(a_car(**wish), 1)
        self.run(45)

    async def connect(self) -> "Raw":
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._clients.append(Raw(reader, writer))
        return self._clients[-1]

    async def close_clients(self) -> None:
        for client in self._clients:
            await client.close()


class Raw:
    """A client that sends any bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def frame(self) -> tuple[int, int, bytes]:
        """Transaction id, unit and PDU of the next reply."""
        head = await asyncio.wait_for(self.reader.readexactly(HEADER.size), WAIT_S)
        transaction, protocol, length, unit = HEADER.unpack(head)
        assert protocol == 0
        return transaction, unit, await asyncio.wait_for(self.reader.readexactly(length - 1), WAIT_S)

    async def ask(self, pdu: bytes, *, transaction: int = 1, unit: int = 1) -> bytes:
        self.send(request(pdu, transaction=transaction, unit=unit))
        return (await self.frame())[2]

    async def bytes_until_quiet(self, seconds: float = 0.3) -> bytes:
        """Everything that comes until nothing comes for a while, or the end."""
        data = b""
        while True:
            try:
                more = await asyncio.wait_for(self.reader.read(4096), seconds)
            except (TimeoutError, ConnectionError):
                return data
            if not more:
                return data
            data += more

    async def closed(self) -> bool:
        """Whether the other side ends the connection, by FIN or reset, within the bounded wait."""
        try:
            while await asyncio.wait_for(self.reader.read(4096), WAIT_S):
                pass
        except ConnectionError:
            return True
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        self.writer.transport.abort()
        try:
            await self.writer.wait_closed()
        except ConnectionError:
            return


def request(pdu: bytes, *, transaction: int = 1, unit: int = 1) -> bytes:
    return HEADER.pack(transaction, 0, len(pdu) + 1, unit) + pdu


def read(function: int, address: int, count: int) -> bytes:
    return struct.pack(">BHH", function, address, count)


@asynccontextmanager
async def serving(station: str = "chargepost", scenario: Scenario = EMPTY, **options: Any) -> AsyncIterator[Served]:
    clock = ManualClock(NOON)
    it = Station(load_station(station), scenario, clock.now())
    server = Server(it, clock, bind(Listener("127.0.0.1", 0)), **options)
    await server.start()
    served = Served(it, server, clock)
    served.run(1)
    try:
        yield served
    finally:
        await served.close_clients()
        await server.stop()
