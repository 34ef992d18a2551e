"""A bare Enexa for benches: parses just enough, and confirms what it has without a hole.

`python -m tests.bench.amperio.sink PORT` serves every operation that Amperio calls.
"""

import asyncio
import sys
from itertools import pairwise
from typing import Any, cast

import msgspec
import uvloop
from msgspec import Struct

from shared.clock import SystemClock
from shared.contract.config import ConfigAckReply
from shared.contract.events import EventAck, StatusAck
from shared.contract.telemetry import TelemetryAck, TelemetryBatchAck
from shared.contract.tokens import TokenReply
from shared.contract.wire import encode
from tests.unit.amperio.bench import a_config, a_schedule

SLOTS_AHEAD = 96


class Numbered(Struct):
    """What the sink reads of a sample."""

    sequence: int
    site_id: str = ""


class Stretch(Struct):
    from_sequence: int
    to_sequence: int


class Batch(Struct):
    site_id: str
    samples: list[Numbered]
    gaps: list[Stretch] = []


class Streams:
    """What was stored, by site."""

    def __init__(self) -> None:
        self.through: dict[str, int] = {}
        self.beyond: dict[str, set[int]] = {}

    def take(self, site: str, first: int, last: int) -> int:
        through = self.through.get(site, 0)
        if first > through + 1:
            self.beyond.setdefault(site, set()).update(range(first, last + 1))
        else:
            through = max(through, last)
            beyond = self.beyond.get(site)
            while beyond and through + 1 in beyond:
                through += 1
                beyond.discard(through)
        self.through[site] = through
        return through

    def live(self, sample: Numbered) -> TelemetryAck:
        through = self.take(sample.site_id, sample.sequence, sample.sequence)
        return TelemetryAck(accepted=1, stored_through=through)

    def batch(self, batch: Batch) -> TelemetryBatchAck:
        through = self.through.get(batch.site_id, 0)
        numbers = [(each.sequence, each.sequence) for each in batch.samples]
        numbers += [(each.from_sequence, each.to_sequence) for each in batch.gaps]
        for first, last in joined(sorted(numbers)):
            through = self.take(batch.site_id, first, last)
        return TelemetryBatchAck(accepted=len(batch.samples), stored_through=through)


def joined(numbers: list[tuple[int, int]]) -> list[tuple[int, int]]:
    found = numbers[:1]
    for (_, before), (first, last) in pairwise(numbers):
        if first == before + 1:
            found[-1] = (found[-1][0], last)
        else:
            found.append((first, last))
    return found


class Peer(asyncio.Protocol):
    """One keep-alive connection; requests come one at a time, as aiohttp sends them."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._received = b""
        self._clock = SystemClock()
        self._one = msgspec.json.Decoder(Numbered)
        self._many = msgspec.json.Decoder(Batch)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while True:
            head, found, body = self._received.partition(b"\r\n\r\n")
            if not found:
                return
            size = int(_header(head, b"content-length") or 0)
            if len(body) < size:
                return
            self._received = body[size:]
            method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
            self._answer(*self._reply(method, path, body[:size], _header(head, b"if-none-match")))

    def _reply(self, method: str, path: str, body: bytes, known: bytes) -> tuple[int, bytes]:
        reply: Struct
        match path.split("/")[2:]:
            case ["telemetry"]:
                reply = self._streams.live(self._one.decode(body))
            case ["telemetry", "batch"]:
                reply = self._streams.batch(self._many.decode(body))
            case ["oauth", "token"]:
                reply = TokenReply(access_token="t" * 43)
            case ["config", _, "ack"]:
                reply = ConfigAckReply(wanted_version=1)
            case ["config", site]:
                if known:
                    return 304, b""
                reply = msgspec.structs.replace(a_config(), site_id=site)
            case ["sites", site, "schedule"]:
                schedule = a_schedule(self._clock.now(), *[-20.0] * SLOTS_AHEAD)
                reply = msgspec.structs.replace(schedule, site_id=site)
            case ["events"]:
                reply = EventAck(accepted=1)
            case ["status"]:
                reply = StatusAck()
            case _:
                return 404, b"{}"
        return 200, encode(reply)

    def _answer(self, status: int, body: bytes) -> None:
        head = f"HTTP/1.1 {status} OK\r\ncontent-length: {len(body)}\r\n"
        head += 'content-type: application/json\r\netag: "1"\r\n\r\n'
        self._transport.write(head.encode() + body)


def _header(head: bytes, name: bytes) -> bytes:
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.lower() == name:
            return value.strip()
    return b""


async def main(port: int) -> None:
    streams = Streams()
    loop: Any = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Peer(streams), "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
