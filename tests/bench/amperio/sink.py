"""A bare Enexa for benches: parses just enough, confirms what it has without a hole, and remembers when it came.

`python -m tests.bench.amperio.sink PORT` serves every operation that Amperio calls; `GET /figures` answers what arrived.
"""

import asyncio
import sys
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, cast

import msgspec
import uvloop

from shared.clock import SystemClock
from shared.contract.config import ConfigAckReply, SiteConfig
from shared.contract.events import EventAck, StatusAck
from shared.contract.telemetry import TelemetryAck, TelemetryBatchAck
from shared.contract.tokens import TokenReply
from shared.contract.wire import encode
from tests.unit.amperio.bench import a_config, a_schedule

LEASES_AHEAD = 96


class Numbered(msgspec.Struct):
    """What the sink reads of a sample."""

    sequence: int
    site_id: str = ""
    timestamp: datetime | None = None


class Stretch(msgspec.Struct):
    from_sequence: int
    to_sequence: int


class Batch(msgspec.Struct):
    site_id: str
    samples: list[Numbered]
    gaps: list[Stretch] = []


class Figures(msgspec.Struct):
    """What arrived since the last question: late seconds of live samples, holes in their seconds, sites seen."""

    arrived_s: list[float] = []
    """Seconds from a sample's cycle to its arrival here."""
    at_s: dict[str, list[float]] = {}
    stored: int = 0


class Streams:
    """What was stored, by site."""

    def __init__(self) -> None:
        self.through: dict[str, int] = {}
        self.beyond: dict[str, set[int]] = {}
        self.figures = Figures()

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

    def live(self, sample: Numbered) -> bytes:
        assert sample.timestamp is not None
        self.figures.arrived_s.append((datetime.now(UTC) - sample.timestamp).total_seconds())
        self.figures.at_s.setdefault(sample.site_id, []).append(sample.timestamp.timestamp())
        self.figures.stored += 1
        through = self.take(sample.site_id, sample.sequence, sample.sequence)
        return encode(TelemetryAck(accepted=1, stored_through=through))

    def batch(self, batch: Batch) -> bytes:
        through = self.through.get(batch.site_id, 0)
        numbers = [(each.sequence, each.sequence) for each in batch.samples]
        numbers += [(each.from_sequence, each.to_sequence) for each in batch.gaps]
        for first, last in joined(sorted(numbers)):
            through = self.take(batch.site_id, first, last)
        self.figures.stored += len(batch.samples)
        return encode(TelemetryBatchAck(accepted=len(batch.samples), stored_through=through))

    def told(self) -> bytes:
        figures, self.figures = self.figures, Figures(arrived_s=[], at_s={})
        return msgspec.json.encode(figures)


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
        match path.split("/")[2:] if path.startswith("/v1/") else [path]:
            case ["telemetry"]:
                return 200, self._streams.live(self._one.decode(body))
            case ["telemetry", "batch"]:
                return 200, self._streams.batch(self._many.decode(body))
            case ["oauth", "token"]:
                return 200, encode(TokenReply(access_token="t" * 43))
            case ["config", site, "ack"]:
                return 200, encode(ConfigAckReply(wanted_version=1))
            case ["config", site]:
                return (304, b"") if known else (200, encode(self._config(site)))
            case ["schedule", site] | ["sites", site, "schedule"]:
                schedule = a_schedule(self._clock.now(), *[-20.0] * LEASES_AHEAD)
                return 200, encode(msgspec.structs.replace(schedule, site_id=site))
            case ["/figures"]:
                return 200, self._streams.told()
            case [*_, "events"]:
                return 200, encode(EventAck(accepted=1))
            case _:
                return 200, encode(StatusAck()) if method == "POST" else b"{}"

    def _config(self, site: str) -> SiteConfig:
        return msgspec.structs.replace(a_config(), site_id=site)

    def _answer(self, status: int, body: bytes) -> None:
        head = f'HTTP/1.1 {status} OK\r\ncontent-type: application/json\r\netag: "1"\r\ncontent-length: {len(body)}\r\n\r\n'
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
