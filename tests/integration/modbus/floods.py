"""Floods for the port: pipelined and fragmented requests, mutated ones, and a healthy client beside them.

Each knows what must come back. Requests read registers that stand still, so the answers are the same in a test, where
time stands still too, and in a bench, where it does not.
"""

import asyncio
import random
import struct
import time

from msgspec import Struct

from tests.integration.modbus.served import HEADER, read, request

WAIT_S = 60.0
STANDING = ((515, 7), (2500, 30), (12_000, 11), (22_000, 11))
"""Holding registers that only a write changes: address and count."""
BEATEN = [
    read(4, 1000, 28),
    read(3, 2500, 12),
    struct.pack(">BHH", 6, 2500, 10),
    struct.pack(">BHHB2H", 16, 2506, 2, 4, 0, 9),
]
"""What mutations begin with."""


class Seen(Struct):
    """What came of a flood."""

    answered: int = 0
    wrong: int = 0
    closed: int = 0
    kept_open: int = 0
    took_s: list[float] = []


async def known_answers(port: int) -> list[tuple[bytes, bytes]]:
    """Every read of a few standing registers, and a write that changes nothing, each with its answer."""
    pdus = [
        read(3, address + first, count)
        for address, size in STANDING
        for first in range(size)
        for count in range(1, min(5, size - first) + 1)
    ]
    pdus.append(struct.pack(">BHH", 6, 515, 90))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    known = []
    for pdu in pdus:
        writer.write(request(pdu))
        _, _, length, _ = HEADER.unpack(await asyncio.wait_for(reader.readexactly(HEADER.size), WAIT_S))
        known.append((pdu, await asyncio.wait_for(reader.readexactly(length - 1), WAIT_S)))
    writer.close()
    assert all(answer[0] == pdu[0] for pdu, answer in known)
    return known


async def pipelined(port: int, known: list[tuple[bytes, bytes]], requests: int, *, depth: int, seed: int) -> Seen:
    """Requests `depth` at a time, cut anywhere; the answers must be exactly the right bytes in the right order."""
    chance = random.Random(seed)
    seen = Seen()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while seen.answered < requests:
        frames, wanted = b"", b""
        for pdu, answer in chance.choices(known, k=depth):
            transaction = chance.randrange(65_536)
            frames += request(pdu, transaction=transaction)
            wanted += request(answer, transaction=transaction)
        cuts = sorted(chance.randrange(len(frames) + 1) for _ in range(chance.randrange(4)))
        for first, last in zip([0, *cuts], [*cuts, len(frames)], strict=True):
            writer.write(frames[first:last])
            await asyncio.sleep(0)
        got = await asyncio.wait_for(reader.readexactly(len(wanted)), WAIT_S)
        seen.answered += depth
        seen.wrong += got != wanted
    writer.close()
    return seen


async def mutated(port: int, requests: int, *, seed: int, batch: int = 50) -> Seen:
    """Broken requests: each that can be told apart is answered with its own id, unit and function, and no other is.

    A header that cannot be right must end its connection; then the next one is opened.
    """
    chance = random.Random(seed)
    seen = Seen()
    sent = 0
    while sent < requests:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        rest, broken, replies = b"", False, b""
        while sent < requests and not broken:
            stream = b"".join(_mutation(chance) for _ in range(batch))
            sent += batch
            writer.write(stream)
            asked, rest, broken = _told_apart(rest + stream)
            answers: list[tuple[int, int, int]] = []
            try:
                while len(answers) < len(asked):
                    more = await asyncio.wait_for(reader.read(65_536), WAIT_S)
                    if not more:
                        break
                    found, replies, nonsense = _told_apart(replies + more)
                    answers += found
                    seen.wrong += nonsense
                ended = broken and await asyncio.wait_for(reader.read(1), WAIT_S) == b""
            except ConnectionError:
                # The port closed while bytes were still on their way to it, and the system threw answers away.
                ended = broken
            else:
                seen.wrong += len(asked) - len(answers)
            seen.answered += len(answers)
            seen.wrong += sum(
                (tid, unit, function) != (other_tid, other_unit, answered & 0x7F)
                for (tid, unit, function), (other_tid, other_unit, answered) in zip(asked, answers, strict=False)
            )
            seen.closed += ended
            seen.kept_open += broken and not ended
        writer.close()
    return seen


async def healthy(port: int, stop: asyncio.Event) -> Seen:
    """A client that minds its own business, and measures how long it waits."""
    seen = Seen(took_s=[])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    wanted = struct.pack(">BBL", 3, 4, 40_000)  # register 520 is read-only: no mutation changes it
    while not stop.is_set():
        start = time.perf_counter()
        frame = request(read(3, 520, 2), transaction=seen.answered & 0xFFFF)
        writer.write(frame)
        got = await asyncio.wait_for(reader.readexactly(13), WAIT_S)
        seen.took_s.append(time.perf_counter() - start)
        seen.wrong += got != request(wanted, transaction=seen.answered & 0xFFFF)
        seen.answered += 1
        await asyncio.sleep(0.002)
    writer.close()
    return seen


def _told_apart(stream: bytes) -> tuple[list[tuple[int, int, int]], bytes, bool]:
    """Id, unit and function of the whole frames of a stream, what is left of it, and whether it went wrong there."""
    frames: list[tuple[int, int, int]] = []
    at = 0
    while len(stream) - at >= HEADER.size:
        transaction, protocol, length, unit = HEADER.unpack_from(stream, at)
        if protocol or not 2 <= length <= 254:
            return frames, stream[at:], True
        if len(stream) - at < 6 + length:
            break
        frames.append((transaction, unit, stream[at + 7] & 0x7F))
        at += 6 + length
    return frames, stream[at:], False


def _mutation(chance: random.Random) -> bytes:
    """A request that began well; most keep their header, or the flood would only ever open connections."""
    frame = bytearray(request(chance.choice(BEATEN), transaction=chance.randrange(65_536)))
    draw = chance.random()
    if draw < 0.002:
        frame[chance.randrange(2, 6)] ^= 1 << chance.randrange(8)
    elif draw < 0.003:
        del frame[chance.randrange(len(frame)) :]
    elif draw < 0.004:
        frame += chance.randbytes(chance.randrange(300))
    else:
        for _ in range(chance.randrange(4)):
            frame[chance.randrange(6, len(frame))] ^= 1 << chance.randrange(8)
    return bytes(frame)
