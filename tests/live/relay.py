"""A TCP relay that spoils what passes through it: toxiproxy's verbs, and four more that break protocols.

Each verb is a `Toxic` on one direction, with a probability per piece of data. The relay knows nothing of what it
carries: behind TLS it can delay, cut and corrupt, and the ends must notice; on Modbus/TCP it can lie.

    latency, bandwidth, slow_close, timeout, reset_peer, slicer, limit_data, down      as in toxiproxy
    duplicate, corrupt, swap, hold_response_until                                      ours
"""

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator
from enum import StrEnum
from typing import Self

from msgspec import Struct

CHUNK = 16 * 1024
UP, DOWN = "up", "down"
"""From who connects to who listens, and back."""


class Verb(StrEnum):
    """What a toxic does to the pieces that pass."""

    LATENCY = "latency"
    BANDWIDTH = "bandwidth"
    SLOW_CLOSE = "slow_close"
    TIMEOUT = "timeout"
    RESET_PEER = "reset_peer"
    SLICER = "slicer"
    LIMIT_DATA = "limit_data"
    DOWN = "down"
    DUPLICATE = "duplicate"
    CORRUPT = "corrupt"
    SWAP = "swap"
    HOLD = "hold_response_until"


class Toxic(Struct, frozen=True, kw_only=True):
    """One verb. `amount` is seconds (latency, slow_close, timeout), bytes/s (bandwidth), or bytes (slicer, limit)."""

    verb: Verb
    direction: str = DOWN
    amount: float = 0.0
    chance: float = 1.0


class Broken(Exception):
    """A toxic ends the connection, by a reset."""


class Relay:
    """One port in front of another; runs on a thread of its own until it is closed."""

    def __init__(self, target: int, *, port: int = 0, seed: int = 1) -> None:
        self._target = target
        self._chance = random.Random(seed)
        self._toxics: dict[Verb, Toxic] = {}
        self.counts: dict[Verb, int] = {}
        """How often each verb changed something."""
        self._links: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._released = asyncio.Event()
        self._listening = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listening.getsockname()[1]
        self._server: asyncio.Server | None = None
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        self._thread.start()
        assert started.wait(30.0)

    # ---- for tests --------------------------------------------------------------------------------------------------

    def add(self, toxic: Toxic) -> None:
        """From now on; `down` also ends what is connected."""
        self._do(lambda: self._add(toxic))

    def remove(self, verb: Verb) -> None:
        """As if it had never been; what was held goes out."""
        self._do(lambda: self._remove(verb))

    def release(self) -> None:
        """What `hold_response_until` has held so far goes out; later pieces are held again."""
        self._do(self._release)

    def close(self) -> None:
        self._do(self._stop)
        self._thread.join(timeout=30.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- inside -----------------------------------------------------------------------------------------------------

    def _do(self, act: Callable[[], None]) -> None:
        done = threading.Event()

        def acting() -> None:
            act()
            done.set()

        self._loop.call_soon_threadsafe(acting)
        assert done.wait(30.0)

    def _run(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve(started))
        finally:
            self._loop.close()

    async def _serve(self, started: threading.Event) -> None:
        self._stopped = asyncio.Event()
        self._server = await asyncio.start_server(self._accept, sock=self._listening)
        started.set()
        await self._stopped.wait()
        self._server.close()
        await self._end_links()

    def _stop(self) -> None:
        self._release()
        self._stopped.set()

    def _add(self, toxic: Toxic) -> None:
        self._toxics[toxic.verb] = toxic
        if toxic.verb is Verb.DOWN:
            self._count(Verb.DOWN)
            for link in tuple(self._links):
                link.cancel()

    def _remove(self, verb: Verb) -> None:
        self._toxics.pop(verb, None)
        if verb is Verb.HOLD:
            self._release()

    def _release(self) -> None:
        self._released.set()
        self._released = asyncio.Event()

    async def _end_links(self) -> None:
        for link in tuple(self._links):
            link.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if Verb.DOWN in self._toxics:
            _reset(writer)
            writer.transport.abort()
            return
        link = asyncio.current_task()
        assert link is not None
        self._links.add(link)
        back: asyncio.StreamWriter | None = None
        pipes: list[asyncio.Task[None]] = []
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
            pipes = [
                asyncio.create_task(self._pipe(reader, back, UP)),
                asyncio.create_task(self._pipe(there, writer, DOWN)),
            ]
            await asyncio.wait(pipes, return_when=asyncio.FIRST_EXCEPTION)
            for pipe in pipes:
                if pipe.done():
                    pipe.result()
        except (OSError, Broken, asyncio.CancelledError):
            _reset(writer)
        finally:
            for pipe in pipes:
                pipe.cancel()
            await asyncio.gather(*pipes, return_exceptions=True)
            for each in (writer, back):
                if each is not None:
                    each.transport.abort()
            self._links.discard(link)

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: str) -> None:
        passed = 0
        kept = b""
        """What a swap holds back for the next piece."""
        while data := await reader.read(CHUNK):
            passed += len(data)
            struck = self._struck(direction)
            for verb in (Verb.RESET_PEER, Verb.LIMIT_DATA):
                if verb in struck and passed > struck[verb].amount:
                    self._count(verb)
                    raise Broken
            if Verb.TIMEOUT in struck:
                self._count(Verb.TIMEOUT)
                continue
            data = self._bent(data, struck)
            if Verb.SWAP in struck and not kept:
                self._count(Verb.SWAP)
                kept = data
                continue
            data, kept = data + kept, b""
            await self._wait(struck, len(data))
            await self._out(writer, data, struck)
        ending = self._toxics.get(Verb.SLOW_CLOSE)
        if ending is not None and ending.direction == direction:
            self._count(Verb.SLOW_CLOSE)
            await asyncio.sleep(ending.amount)
        if kept:
            await self._out(writer, kept, {})
        with contextlib.suppress(OSError, RuntimeError):
            writer.write_eof()

    def _struck(self, direction: str) -> dict[Verb, Toxic]:
        return {
            verb: each
            for verb, each in self._toxics.items()
            if each.direction == direction and (each.chance >= 1.0 or self._chance.random() < each.chance)
        }

    def _bent(self, data: bytes, struck: dict[Verb, Toxic]) -> bytes:
        if Verb.CORRUPT in struck:
            self._count(Verb.CORRUPT)
            place = self._chance.randrange(len(data))
            data = data[:place] + bytes((data[place] ^ (1 << self._chance.randrange(8)),)) + data[place + 1 :]
        if Verb.DUPLICATE in struck:
            self._count(Verb.DUPLICATE)
            data += data
        return data

    async def _wait(self, struck: dict[Verb, Toxic], size: int) -> None:
        waits: list[Callable[[], Awaitable[object]]] = []
        if Verb.LATENCY in struck:
            self._count(Verb.LATENCY)
            waits.append(lambda: asyncio.sleep(struck[Verb.LATENCY].amount))
        if Verb.BANDWIDTH in struck:
            self._count(Verb.BANDWIDTH)
            waits.append(lambda: asyncio.sleep(size / struck[Verb.BANDWIDTH].amount))
        if Verb.HOLD in struck:
            self._count(Verb.HOLD)
            waits.append(self._released.wait)
        for wait in waits:
            await wait()

    async def _out(self, writer: asyncio.StreamWriter, data: bytes, struck: dict[Verb, Toxic]) -> None:
        size = int(struck[Verb.SLICER].amount) if Verb.SLICER in struck else len(data)
        if size < len(data):
            self._count(Verb.SLICER)
        for start in range(0, len(data), max(size, 1)):
            writer.write(data[start : start + size])
            await writer.drain()
            if size < len(data):
                await asyncio.sleep(0)

    def _count(self, verb: Verb) -> None:
        self.counts[verb] = self.counts.get(verb, 0) + 1


def _reset(writer: asyncio.StreamWriter) -> None:
    """RST instead of FIN."""
    raw = writer.get_extra_info("socket")
    if raw is not None:
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@contextlib.contextmanager
def relays(*targets: int) -> Iterator[tuple[Relay, ...]]:
    """One relay in front of each port."""
    with contextlib.ExitStack() as held:
        yield tuple(held.enter_context(Relay(target)) for target in targets)
