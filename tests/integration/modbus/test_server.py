"""Our own rules of the port: pipelining, fragments, bad headers, limits and ends."""

import asyncio
import ssl
import struct
from pathlib import Path

import pytest
import trustme

from emulator.app import tls_of
from emulator.settings import Settings
from shared.chargepost.registers import GRID
from tests.integration.modbus.served import HEADER, read, request, serving

READ_GRID = read(4, 1000, 28)


async def test_pipelined_requests_are_all_answered_in_order_with_their_ids() -> None:
    async with serving() as served:
        client = await served.connect()
        asked = [(number * 7 + 1, 1000 + 2 * (number % 13)) for number in range(40)]
        client.send(b"".join(request(read(4, address, 2), transaction=tid) for tid, address in asked))

        whole = await (await served.connect()).ask(READ_GRID)
        for tid, address in asked:
            transaction, unit, pdu = await client.frame()
            at = 2 + 2 * (address - 1000)
            assert (transaction, unit) == (tid, 1)
            assert pdu == bytes((4, 4)) + whole[at : at + 4]


@pytest.mark.parametrize("cut", range(1, 12))
async def test_a_frame_may_come_in_pieces(cut: int) -> None:
    async with serving() as served:
        client = await served.connect()
        frame = request(READ_GRID, transaction=9)

        client.send(frame[:cut])
        await asyncio.sleep(0.01)
        client.send(frame[cut:] + request(READ_GRID, transaction=10))

        assert (await client.frame())[0] == 9
        assert (await client.frame())[0] == 10


BAD_HEADERS = [
    ("another protocol", HEADER.pack(1, 1, 6, 1)),
    ("length 0", HEADER.pack(1, 0, 0, 1)),
    ("length 1", HEADER.pack(1, 0, 1, 1)),
    ("length 255", HEADER.pack(1, 0, 255, 1)),
    ("length 65535", HEADER.pack(1, 0, 65_535, 1)),
    ("noise", b"GET / HTTP/1.1\r\n\r\n"),
    ("a TLS hello", bytes.fromhex("16030100f5010000f10303")),
]


@pytest.mark.parametrize(("why", "header"), BAD_HEADERS, ids=[row[0] for row in BAD_HEADERS])
async def test_a_header_that_cannot_be_right_ends_its_connection_and_no_other(why: str, header: bytes) -> None:
    async with serving() as served:
        healthy, bad = await served.connect(), await served.connect()

        bad.send(request(READ_GRID) + header)

        assert (await bad.frame())[2][0] == 4
        assert await bad.closed()
        assert (await healthy.ask(READ_GRID))[0] == 4


async def test_the_longest_legal_frame_is_read_whole() -> None:
    async with serving() as served:
        client = await served.connect()

        reply = await client.ask(struct.pack(">BHHB", 16, 2514, 123, 246) + bytes(246))

        assert reply == bytes((0x90, 0x02))
        assert (await client.ask(READ_GRID))[0] == 4


async def test_no_more_connections_than_the_limit() -> None:
    async with serving(most_connections=3) as served:
        clients = [await served.connect() for _ in range(3)]
        for client in clients:
            await client.ask(READ_GRID)

        assert await (await served.connect()).closed()

        await clients[0].close()
        for _ in range(100):
            if len(served.server.active_connections) < 3:
                break
            await asyncio.sleep(0.01)
        assert (await (await served.connect()).ask(READ_GRID))[0] == 4


async def test_an_idle_connection_is_closed_and_a_busy_one_stays() -> None:
    async with serving(idle_s=0.25) as served:
        idle, busy = await served.connect(), await served.connect()
        closing = asyncio.create_task(idle.closed())
        for _ in range(10):
            await busy.ask(READ_GRID)
            await asyncio.sleep(0.05)

        assert await closing
        assert (await busy.ask(READ_GRID))[0] == 4


async def test_all_registers_of_a_reply_are_of_one_second() -> None:
    async with serving() as served:
        served.charge(max_kw=100.0)
        client = await served.connect()
        for _ in range(20):
            client.send(b"".join(request(READ_GRID, transaction=tid) for tid in range(5)))
            meters = [GRID.decode_bytes((await client.frame())[2][2:]) for _ in range(5)]
            served.run(1)
            assert all(meter == meters[0] for meter in meters)
            volts = [meters[0].voltage_l1_v, meters[0].voltage_l2_v, meters[0].voltage_l3_v]
            amps = [meters[0].current_l1_a, meters[0].current_l2_a, meters[0].current_l3_a]
            apparent_kva = sum((v or 0.0) * (a or 0.0) for v, a in zip(volts, amps, strict=True)) / 1000.0
            assert apparent_kva * (meters[0].power_factor_ratio or 0.0) == pytest.approx(meters[0].grid_kw, rel=1e-4)


async def test_a_reboot_drops_the_connection_and_comes_back_with_power_on_values() -> None:
    async with serving() as served:
        client = await served.connect()
        await client.ask(struct.pack(">BHHB2H", 16, 2500, 2, 4, 30, 1))
        served.charge(max_kw=100.0)
        imported_kwh = served.station.post.meter.imported_kwh

        served.station.post.begin_fault("reboot")
        served.server.drop_all()

        assert await client.closed()
        assert await (await served.connect()).closed()
        served.run(60)
        after = await served.connect()
        assert await after.ask(read(3, 2500, 2)) == bytes((3, 4, 0, 60, 0, 0))
        assert await after.ask(read(4, 2100, 1)) == bytes((4, 2, 0, 2))
        assert served.station.post.meter.imported_kwh >= imported_kwh > 0.0


async def test_a_peer_that_never_reads_its_answers_is_taken_no_more_requests_from() -> None:
    async with serving() as served:
        deaf, healthy = await served.connect(), await served.connect()
        flood = request(read(4, 3000, 45)) * 1_000
        handed_over = 0
        for _ in range(3_000):
            deaf.send(flood)
            try:
                await asyncio.wait_for(deaf.writer.drain(), 0.2)
            except TimeoutError:
                break
            handed_over += len(flood)

        assert handed_over < 3_000 * len(flood), "the server went on taking requests"
        assert (await healthy.ask(READ_GRID))[0] == 4


async def test_a_flood_of_one_peer_keeps_no_other_waiting_and_is_answered_whole() -> None:
    async with serving() as served:
        greedy, healthy = await served.connect(), await served.connect()
        greedy.send(b"".join(request(READ_GRID, transaction=number) for number in range(3_000)))
        order = []

        async def listen() -> None:
            for number in range(3_000):
                assert (await greedy.frame())[0] == number
            order.append("greedy")

        async def ask() -> None:
            assert (await healthy.ask(READ_GRID))[0] == 4
            order.append("healthy")

        await asyncio.gather(listen(), ask())
        assert order == ["healthy", "greedy"]


async def test_modbus_security_wants_a_client_certificate(tmp_path: Path) -> None:
    authority = trustme.CA()
    own = authority.issue_cert("127.0.0.1")
    cert, key, ca = tmp_path / "cert.pem", tmp_path / "key.pem", tmp_path / "ca.pem"
    own.cert_chain_pems[0].write_to_path(cert)
    own.private_key_pem.write_to_path(key)
    authority.cert_pem.write_to_path(ca)
    known, unknown = (ssl.create_default_context() for _ in range(2))
    for each in (known, unknown):
        authority.configure_trust(each)
    authority.issue_cert("amperio@example.org").configure_cert(known)

    async with serving(tls=tls_of(Settings(tls_cert=cert, tls_key=key, tls_client_ca=ca))) as served:
        assert len(await _read_over_tls(served.port, known)) == 65
        with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
            await _read_over_tls(served.port, unknown)


async def _read_over_tls(port: int, context: ssl.SSLContext) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        writer.write(request(READ_GRID))
        return await asyncio.wait_for(reader.readexactly(65), 5.0)
    finally:
        writer.transport.abort()
