"""The Modbus client against a station on a real socket, healthy and misbehaving in every way of the catalogue."""

import asyncio
import socket
import struct

import pytest

from emulator.device.faults import KINDS, Layer
from services.amperio.modbus_link import ModbusLink
from services.amperio.site.orders import Orders
from services.amperio.site.reads import CHECKS, plan_reads, reads_of_cycle
from shared.chargepost.registers import GRID, MANAGEMENT
from shared.clock import ManualClock
from shared.errors import LinkDown
from tests.integration.modbus.served import Served, serving
from tests.unit.emulator.rig import NOON

EVERYTHING = reads_of_cycle(1, everything=True, with_pv=False)
METER = plan_reads((GRID,))
WIRE_FAULTS = sorted(kind.name for kind in KINDS if kind.layer is Layer.WIRE and not kind.name.startswith("exception"))


def link_to(served: Served, timeout_s: float = 1.0) -> ModbusLink:
    return ModbusLink("SITE001", "127.0.0.1", served.port, served.clock, timeout_s=timeout_s)


async def test_a_cycle_is_a_handful_of_requests_and_every_span_comes() -> None:
    async with serving() as served:
        link = link_to(served)

        readings = await link.look(EVERYTHING)

        assert all(reading.data is not None for reading in readings)
        assert len(reads_of_cycle(2, everything=False, with_pv=False)) <= 10
        link.close()


async def test_a_write_is_read_back_word_for_word() -> None:
    async with serving() as served:
        link = link_to(served)
        await link.look(METER)
        writes = (
            MANAGEMENT.write(watchdog_interval_s=30, operation_mode=1),
            MANAGEMENT.write(clearance_kw=55.5, request_kw=12.345),
        )

        outcomes = await link.carry_out(Orders(writes=writes, checks=CHECKS))

        assert all(outcome.confirmed for outcome in outcomes.writes)
        assert all(reading.data is not None for reading in outcomes.checks)
        link.close()


async def test_a_refused_write_says_which_exception_and_the_link_stays_up() -> None:
    async with serving() as served:
        link = link_to(served)
        await link.look(METER)
        served.station.post.begin_fault("exception_03")

        outcomes = await link.carry_out(Orders(writes=(MANAGEMENT.write(watchdog_interval_s=30),)))

        assert (outcomes.writes[0].error_code, outcomes.writes[0].refused) == ("illegal_value", True)
        assert link.up
        link.close()


@pytest.mark.parametrize("fault", WIRE_FAULTS)
async def test_d1_no_wrong_reply_is_ever_taken_for_a_right_one(fault: str) -> None:
    async with serving() as served:
        link = link_to(served, timeout_s=0.25)
        (healthy,) = await link.look(METER)
        served.station.post.begin_fault(fault)

        for _ in range(3):
            try:
                (reading,) = await link.look(METER)
            except LinkDown:
                served.clock.advance(11.0)
            else:
                assert reading.data == healthy.data

        served.station.post.end_fault(fault)
        served.clock.advance(11.0)
        assert await eventually_reads(link, served) == healthy.data
        link.close()


@pytest.mark.parametrize("fault", ["wrong_echo", "wrong_quantity", "wrong_transaction_id", "wrong_function"])
async def test_d1_a_write_confirmed_wrongly_is_no_success(fault: str) -> None:
    async with serving() as served:
        link = link_to(served, timeout_s=0.25)
        await link.look(METER)
        served.station.post.begin_fault(fault)

        outcomes = await link.carry_out(Orders(writes=(MANAGEMENT.write(clearance_kw=50.0),)))

        assert not outcomes.writes[0].confirmed
        assert not link.up
        link.close()


async def eventually_reads(link: ModbusLink, served: Served) -> bytes | None:
    for _ in range(5):
        try:
            return (await link.look(METER))[0].data
        except LinkDown:
            served.clock.advance(11.0)
    return None


async def test_d6_a_silent_station_is_noticed_within_a_timeout_and_tried_after_1_2_4_up_to_10_seconds() -> None:
    clock = ManualClock(NOON)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        link = ModbusLink("SITE001", "127.0.0.1", silent.getsockname()[1], clock, timeout_s=0.1)
        waits = []
        for _ in range(6):
            with pytest.raises(LinkDown):
                await link.look(METER)
            waited = 0.0
            while waited < 20.0:
                with pytest.raises(LinkDown) as told:
                    await link.look(METER)
                retry_after = told.value.facts.get("retry_after_s")
                if retry_after is None:
                    break
                assert isinstance(retry_after, float)
                clock.advance(retry_after)
                waited += retry_after
            waits.append(round(waited, 3))
        link.close()

    assert waits == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


async def test_w06_a_closed_connection_is_noticed_at_once_and_not_at_the_timeout() -> None:
    async with serving() as served:
        link = link_to(served, timeout_s=25.0)
        await link.look(METER)
        served.station.post.begin_fault("finish")

        async with asyncio.timeout(5.0):
            with pytest.raises(LinkDown):
                await link.look(METER)
        link.close()


async def test_a_hand_made_server_with_the_wrong_transaction_id_is_cut_off() -> None:
    """The one that client libraries let through: transaction id 0."""
    hung_up = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(12)
        count = METER[0].count
        writer.write(struct.pack(">HHHBBB", 0, 0, 3 + 2 * count, 1, 4, 2 * count) + bytes(2 * count))
        await writer.drain()
        await reader.read()
        writer.close()
        await writer.wait_closed()
        hung_up.set()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        link = ModbusLink("SITE001", "127.0.0.1", server.sockets[0].getsockname()[1], ManualClock(), timeout_s=2.0)
        with pytest.raises(LinkDown, match="transaction id"):
            await link.look(METER)
        assert not link.up
        assert link.frames
        link.close()
        await asyncio.wait_for(hung_up.wait(), 10)
