"""Every wire fault, seen byte by byte by a client that knows what a right answer would have been."""

import asyncio
import struct
from collections.abc import Awaitable, Callable

import pytest

from emulator.device.faults import KINDS, Layer
from tests.integration.modbus.served import HEADER, Raw, Served, read, request, serving

ASKED = request(read(4, 1000, 2), transaction=7)
BEAT = request(struct.pack(">BHH", 6, 2500, 30), transaction=7)
BLOCK = request(struct.pack(">BHHB2H", 16, 2500, 2, 4, 30, 1), transaction=7)
See = Callable[[Served, Raw, bytes], Awaitable[bool]]


async def right(served: Served) -> bytes:
    """What a healthy station answers to `ASKED`."""
    pdu = served.station.request(served.clock.now(), 1, ASKED[7:])
    return HEADER.pack(7, 0, len(pdu) + 1, 1) + pdu


def bytes_are(wanted: Callable[[bytes], bytes], asked: bytes = ASKED) -> See:
    """The reply is what `wanted` makes of the right one."""

    async def see(served: Served, client: Raw, good: bytes) -> bool:
        client.send(asked)
        reply = good if asked is ASKED else asked[:12]
        if asked is BLOCK:
            reply = HEADER.pack(7, 0, 6, 1) + BLOCK[7:12]
        return await client.bytes_until_quiet() == wanted(reply)

    return see


async def silence(served: Served, client: Raw, good: bytes) -> bool:
    client.send(BEAT)
    return await client.bytes_until_quiet() == b"" and not client.reader.at_eof()


async def acted(served: Served, client: Raw, good: bytes) -> bool:
    return await silence(served, client, good) and served.station.post.bank.value(1, 2500) == 30


async def did_not_act(served: Served, client: Raw, good: bytes) -> bool:
    return await silence(served, client, good) and served.station.post.bank.value(1, 2500) == 60


async def ended(served: Served, client: Raw, good: bytes) -> bool:
    client.send(ASKED)
    return await client.closed()


async def half_then_ended(served: Served, client: Raw, good: bytes) -> bool:
    client.send(ASKED)
    got = await client.bytes_until_quiet()
    return got == good[: len(good) // 2] and await client.closed()


async def no_connection(served: Served, client: Raw, good: bytes) -> bool:
    return await (await served.connect()).closed()


async def nobody_listens(served: Served, client: Raw, good: bytes) -> bool:
    await served.server.mind_the_port()
    with pytest.raises(ConnectionRefusedError):
        await served.connect()
    return await client.closed()


async def occupied(served: Served, client: Raw, good: bytes) -> bool:
    client.send(ASKED)
    return await client.bytes_until_quiet() == good and await (await served.connect()).closed()


async def late(served: Served, client: Raw, good: bytes) -> bool:
    client.send(ASKED)
    early = await client.bytes_until_quiet(0.2)
    return early == b"" and await client.bytes_until_quiet(1.0) == good


async def burst(served: Served, client: Raw, good: bytes) -> bool:
    for _ in range(3):
        client.send(ASKED)
        if await client.bytes_until_quiet(0.05):
            return False
    first = await asyncio.wait_for(client.reader.read(4096), 5.0)
    return first == good * 3


async def byte_by_byte(served: Served, client: Raw, good: bytes) -> bool:
    client.send(ASKED)
    pieces: list[bytes] = []
    while sum(map(len, pieces)) < len(good):
        pieces.append(await asyncio.wait_for(client.reader.read(4096), 5.0))
    return b"".join(pieces) == good and len(pieces) > len(good) // 2


async def previous_id(served: Served, client: Raw, good: bytes) -> bool:
    seen = []
    for transaction in (21, 22):
        client.send(request(read(4, 1000, 2), transaction=transaction))
        seen.append((await client.frame())[0])
    return seen[1] == 21


def refused(code: int) -> See:
    return bytes_are(lambda _: HEADER.pack(7, 0, 3, 1) + bytes((0x84, code)))


def header(data: bytes, *, transaction: int = 7, protocol: int = 0, length: int = 7, unit: int = 1) -> bytes:
    return HEADER.pack(transaction, protocol, length, unit) + data[7:]


SEEN: dict[str, tuple[See, dict[str, float]]] = {
    "telemetry_gap": (no_connection, {}),
    "refused": (nobody_listens, {}),
    "occupied": (occupied, {}),
    "slow_replies": (late, {"delay": 0.4}),
    "lost_replies": (acted, {}),
    "half_open": (did_not_act, {}),
    "stalled_burst": (burst, {"hold": 0.5}),
    "reset": (ended, {}),
    "reset_mid_frame": (half_then_ended, {}),
    "finish": (ended, {}),
    "wrong_transaction_id": (bytes_are(lambda good: header(good, transaction=8)), {}),
    "zero_transaction_id": (bytes_are(lambda good: header(good, transaction=0)), {}),
    "repeated_transaction_id": (previous_id, {}),
    "wrong_protocol_id": (bytes_are(lambda good: header(good, protocol=1)), {}),
    "wrong_length": (bytes_are(lambda good: header(good, length=9)), {}),
    "wrong_unit": (bytes_are(lambda good: header(good, unit=2)), {}),
    "wrong_function": (bytes_are(lambda good: good[:7] + b"\x03" + good[8:]), {}),
    "wrong_byte_count": (bytes_are(lambda good: good[:8] + b"\x06" + good[9:]), {}),
    "short_data": (bytes_are(lambda good: header(good[:7] + b"\x04\x02" + good[9:11], length=5)), {}),
    "long_data": (bytes_are(lambda good: header(good[:7] + b"\x04\x06" + good[9:] + b"\x12\x34", length=9)), {}),
    "wrong_echo": (bytes_are(lambda good: good[:9] + b"\xc5" + good[10:], BEAT), {}),
    "wrong_quantity": (bytes_are(lambda good: good[:11] + b"\x03", BLOCK), {}),
    "trickle": (byte_by_byte, {"delay": 0.02}),
    "glued_replies": (bytes_are(lambda good: good + good), {}),
    "garbage_before": (bytes_are(lambda good: b"\xa5" * 5 + good), {}),
    "garbage_after": (bytes_are(lambda good: good + b"\xa5" * 3), {"count": 3}),
    "truncated": (bytes_are(lambda good: good[:-1]), {}),
    **{
        f"exception_{code:02x}": (refused(code), {})
        for code in (0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x08, 0x0A, 0x0B, 0x63)
    },
}


def test_every_wire_fault_has_an_observer() -> None:
    assert set(SEEN) == {kind.name for kind in KINDS if kind.layer is Layer.WIRE}


@pytest.mark.parametrize("name", SEEN)
async def test_a_wire_fault_is_seen_and_gone_when_it_is_cleared(name: str) -> None:
    see, options = SEEN[name]
    async with serving() as served:
        client = await served.connect()
        good = await right(served)

        served.station.post.begin_fault(name, options=options)
        assert await see(served, client, good)

        served.station.post.end_fault(name)
        await served.server.mind_the_port()
        again = await served.connect()
        again.send(ASKED)
        assert await asyncio.wait_for(again.reader.readexactly(len(good)), 5.0) == good


async def test_a_busy_device_is_busy_for_a_burst_only() -> None:
    async with serving() as served:
        client = await served.connect()
        served.station.post.begin_fault("exception_06", options={"count": 3})

        codes = [(await client.ask(read(4, 1000, 2)))[0] for _ in range(5)]

        assert codes == [0x84, 0x84, 0x84, 0x04, 0x04]


async def test_an_exception_may_hit_one_function_code() -> None:
    async with serving() as served:
        client = await served.connect()
        served.station.post.begin_fault("exception_03", options={"function": 16})

        assert (await client.ask(read(4, 1000, 2)))[0] == 4
        assert await client.ask(BLOCK[7:]) == b"\x90\x03"
        assert served.station.post.bank.value(1, 2500) == 60


async def test_an_exception_may_hit_a_range_of_addresses() -> None:
    async with serving() as served:
        client = await served.connect()
        served.station.post.begin_fault("exception_02", options={"from_address": 1010, "to_address": 1015})

        touches = [(1000, 10), (1000, 11), (1015, 1), (1016, 2), (1008, 12)]
        codes = [(await client.ask(read(4, address, count)))[0] for address, count in touches]
        assert codes == [4, 0x84, 0x84, 4, 0x84]
        served.station.post.begin_fault("exception_04", options={"from_address": 2500, "to_address": 2500})
        assert (await client.ask(BEAT[7:])) == b"\x86\x04"
        assert (await client.ask(struct.pack(">BHH", 6, 2501, 1)))[0] == 6


async def test_replies_that_come_late_by_chance_keep_their_order() -> None:
    async with serving() as served:
        client = await served.connect()
        served.station.post.begin_fault("slow_replies", options={"delay": 0.0, "jitter": 0.2})
        client.send(b"".join(request(read(4, 1000, 2), transaction=number) for number in range(20)))

        assert [(await client.frame())[0] for _ in range(20)] == list(range(20))


async def test_some_replies_are_lost_and_the_rest_come() -> None:
    async with serving() as served:
        client = await served.connect()
        served.station.post.begin_fault("lost_replies", options={"ratio": 0.3})
        for transaction in range(200):
            client.send(request(read(4, 1000, 2), transaction=transaction))

        got = len(await client.bytes_until_quiet()) / 13

        assert 130 <= got <= 150
