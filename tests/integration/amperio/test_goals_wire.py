"""The P0 goals of the Modbus wire (D of reliability.md), each with a control that shows that its proof can fail."""

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from services.amperio import modbus_link
from services.amperio.modbus_link import Ask, ModbusLink, judged, read_ask, write_ask
from services.amperio.site import image as images
from services.amperio.site.image import SiteImage, image_of
from services.amperio.site.orders import Orders
from services.amperio.site.reads import Reading, plan_reads, reads_of_cycle
from shared.chargepost.registers import GRID, MANAGEMENT
from shared.clock import ManualClock
from shared.errors import DeviceRefused, LinkDown, WrongReply
from shared.moment import moment_at
from tests.integration.modbus.served import Served, serving
from tests.unit.amperio.bench import Bench
from tests.unit.emulator.rig import NOON

EVERYTHING = reads_of_cycle(1, everything=True, with_pv=False)
METER = plan_reads((GRID,))
WRITE = MANAGEMENT.write(clearance_kw=55.5)


def link_to(served: Served, timeout_s: float = 1.0) -> ModbusLink:
    return ModbusLink("SITE001", "127.0.0.1", served.port, served.clock, timeout_s=timeout_s)


# ---- D1: strict matching ---------------------------------------------------------------------------------------------


def replies_to(ask: Ask, transaction_id: int) -> bytes:
    """A right reply with a recognisable content."""
    body = ask.echo or bytes((ask.data_bytes,)) + bytes(range(1, ask.data_bytes + 1))
    return struct.pack(">HHHB", transaction_id, 0, len(body) + 2, ask.unit_id) + ask.pdu[:1] + body


def bent(frame: bytes) -> Iterator[tuple[str, bytes]]:
    """Every way in which a reply can be somebody else's, or none at all."""
    for name, at, code in (("transaction", 0, ">H"), ("protocol", 2, ">H"), ("unit", 6, ">B"), ("function", 7, ">B")):
        (value,) = struct.unpack_from(code, frame, at)
        for other in (0, value + 1, value ^ 0x40):
            changed = bytearray(frame)
            struct.pack_into(code, changed, at, other & 0xFF if code == ">B" else other & 0xFFFF)
            if bytes(changed) != frame:
                yield f"{name} {other}", bytes(changed)
    for delta in (-2, -1, 1, 2, 200):
        changed = bytearray(frame)
        struct.pack_into(">H", changed, 4, (len(frame) - 6 + delta) & 0xFFFF)
        yield f"length {delta:+}", bytes(changed)
    for cut in range(1, len(frame) - 8):
        yield f"cut by {cut}", rebuilt(frame[:-cut])
    for more in (b"\x00", b"\x00\x00", frame):
        yield f"longer by {len(more)}", rebuilt(frame + more)
    for delta in (-2, -1, 1, 2):
        changed = bytearray(frame)
        changed[8] = (changed[8] + delta) & 0xFF
        yield f"first byte of the body {delta:+}", bytes(changed)
    yield "an exception with more", rebuilt(frame[:7] + bytes((frame[7] | 0x80, 2, 0)))
    yield "an exception of another function", rebuilt(frame[:7] + b"\x81\x02")


def rebuilt(frame: bytes) -> bytes:
    """The same with a header whose length is right."""
    return frame[:4] + struct.pack(">H", len(frame) - 6) + frame[6:]


ASKS = (*(read_ask(each.unit_id, each.table, each.address, each.count) for each in EVERYTHING), write_ask(WRITE))


def test_goal_d1_none_of_thousands_of_wrong_replies_is_accepted() -> None:
    tried, kinds = 0, set()
    for ask, asked in product(ASKS, (1, 7, 0x0100, 0xFFFF)):
        right = replies_to(ask, asked)
        assert not isinstance(judged(right, asked, ask), DeviceRefused)
        for name, frame in bent(right):
            tried += 1
            kinds.add(name.split(" ")[0] if name.startswith(("transaction", "cut")) else name)
            with pytest.raises(WrongReply) as refused:
                judged(frame, asked, ask)
            assert refused.value.sentence, name
    assert tried >= 3000
    assert len(kinds) >= 15


async def test_goal_d1_the_control_a_client_that_does_not_judge_takes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modbus_link, "judged", lambda frame, _id, ask: frame[9 : 9 + ask.data_bytes])
    async with serving() as served:
        link = link_to(served)
        await link.look(METER)
        served.station.post.begin_fault("wrong_unit")
        (reading,) = await link.look(METER)
        link.close()

    assert reading.data is not None


# ---- D2: mutated replies ---------------------------------------------------------------------------------------------


def mutated(frame: bytes, chance: random.Random) -> bytes:
    """A reply after one to four accidents: bits, words, cuts, doublings, noise."""
    data = bytearray(frame)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(max(len(data), 1))
        match chance.randrange(6):
            case 0 if data:
                data[at] ^= 1 << chance.randrange(8)
            case 1 if data:
                data[at] = chance.choice((0x00, 0x7F, 0x80, 0xFF, chance.randrange(256)))
            case 2:
                del data[at : at + chance.randint(1, 8)]
            case 3:
                data[at:at] = chance.randbytes(chance.randint(1, 8))
            case 4 if len(data) > 12:
                struct.pack_into(">I", data, chance.randrange(9, len(data) - 3), chance.choice(EXTREMES))
            case _:
                data += data[at:]
    return bytes(data)


EXTREMES = (0, 0x8000_0000, 0x7FFF_FFFF, 0xFFFF_FFFF, 0x7FC0_0000, 0x7F80_0000, 0xFF80_0000, 1, 0x7F7F_FFFF)


def out_of_range(image: SiteImage) -> list[str]:
    """Values that no station can say, by where they are."""
    spans: list[tuple[str, str, Any]] = [("grid", "grid", image.grid), ("status", "status", image.status)]
    spans += [(f"charger_{index}", "charger", each) for index, each in enumerate(image.chargers)]
    spans += [(f"battery_{index}", "battery", each) for index, each in enumerate(image.batteries)]
    return [
        f"{place}.{name}"
        for place, kind, span in spans
        if span is not None
        for name, low, high in BOUNDS[kind]
        if (value := getattr(span, name)) is not None and not low <= value <= high
    ]


BOUNDS = dict(images._PLAUSIBLE)


def play(count: int, seed: int) -> tuple[int, int, list[str]]:
    """How many of `count` mutated replies were refused and taken, and what implausible values got through."""
    chance = random.Random(seed)
    requests = [each for each in EVERYTHING if each.spans and each.table.value == 4]
    now = moment_at(NOON)
    refused = taken = 0
    wrong: list[str] = []
    for number in range(count):
        request = chance.choice(requests)
        ask = read_ask(request.unit_id, request.table, request.address, request.count)
        try:
            answer = judged(mutated(replies_to(ask, number & 0xFFFF), chance), number & 0xFFFF, ask)
        except WrongReply:
            refused += 1
            continue
        taken += 1
        if isinstance(answer, bytes):
            wrong += out_of_range(image_of(now, (Reading(request=request, data=answer),), None))
    return refused, taken, wrong


def test_goal_d2_twenty_thousand_mutated_replies_raise_nothing_and_pass_nothing_impossible_on() -> None:
    refused, taken, wrong = play(20_000, seed=1)

    assert refused > 10_000
    assert taken > 1_000, "the mutator must also reach the decoder"
    assert not wrong


def test_goal_d2_the_control_without_plausibility_impossible_values_get_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(images, "_plausible", lambda decoded, _bounds: decoded)

    assert play(5_000, seed=1)[2]


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_goal_d2_a_million_mutated_replies() -> None:
    def resident_mb() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

    play(20_000, seed=2)
    before_mb = resident_mb()
    refused, taken, wrong = play(1_000_000, seed=3)

    assert refused + taken == 1_000_000
    assert not wrong
    assert resident_mb() - before_mb < 20.0


@pytest.mark.timeout(90)
async def test_goal_d2_over_a_real_socket_the_link_outlives_every_mutated_reply() -> None:
    chance = random.Random(4)
    bad = [True]
    serving_now: set[asyncio.Task[None]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving_now.add(task)
        try:
            while True:
                head = await reader.readexactly(7)
                transaction_id, _, length, unit = struct.unpack(">HHHB", head)
                pdu = await reader.readexactly(length - 1)
                (count,) = struct.unpack(">H", pdu[3:5])
                ask = Ask(unit_id=unit, pdu=pdu, data_bytes=2 * count)
                frame = replies_to(ask, transaction_id)
                writer.write(mutated(frame, chance) if bad[0] else frame)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    clock = ManualClock(NOON)
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        link = ModbusLink("SITE001", "127.0.0.1", server.sockets[0].getsockname()[1], clock, timeout_s=0.02)
        downs = 0
        for _ in range(300):
            try:
                await link.look(METER)
            except LinkDown:
                downs += 1
                clock.advance(11.0)
        bad[0] = False
        clock.advance(11.0)
        link._timeout_s = 5.0
        (reading,) = await link.look(METER)
        link.close()
        await asyncio.wait_for(asyncio.gather(*serving_now), 20)

    assert downs > 100
    assert reading.data == bytes(range(1, 2 * METER[0].count + 1))


# ---- D4: a policy for each exception ---------------------------------------------------------------------------------

POLICY = [
    # exception, how often a write is sent, the outcome's code, refused for good, whether reads keep the link up
    (0x01, 1, "illegal_function", True, True),
    (0x02, 1, "illegal_address", True, True),
    (0x03, 1, "illegal_value", True, True),
    (0x04, 2, "device_failed", True, True),
    (0x05, 1, "device_working", False, True),
    (0x06, 4, "device_busy", False, True),
    (0x08, 2, "device_failed", True, True),
    (0x0A, 1, "gateway_problem", False, False),
    (0x0B, 1, "gateway_problem", False, False),
    (0x63, 2, "device_failed", True, True),
]


@pytest.mark.parametrize(("exception", "sent", "code", "refused", "up"), POLICY)
async def test_goal_d4_each_exception_has_its_retries_its_code_and_its_effect_on_the_link(
    exception: int, sent: int, code: str, refused: bool, up: bool
) -> None:
    async with serving() as served:
        link = link_to(served)
        await link.look(METER)
        link._frames.clear()
        served.station.post.begin_fault(f"exception_{exception:02x}")

        carrying = asyncio.create_task(link.carry_out(Orders(writes=(WRITE,))))
        while not carrying.done():
            await asyncio.sleep(0.01)
            served.clock.advance(0.1)  # the pauses between attempts are clock time
        (outcome,) = (await carrying).writes

        writes = [data for direction, data in link._frames if direction == ">" and data[7] in (6, 16)]
        assert (len(writes), outcome.error_code, outcome.refused) == (sent, code, refused)
        if up:
            (reading,) = await link.look(METER)
            assert (reading.data, reading.error_code) == (None, code)
        else:
            with pytest.raises(LinkDown):
                await link.look(METER)
        served.station.post.end_fault(f"exception_{exception:02x}")
        served.clock.advance(11.0)
        assert (await link.look(METER))[0].data is not None
        link.close()


async def test_goal_d4_the_control_a_client_that_tries_nothing_again_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modbus_link, "PAUSES_S", {})

    with pytest.raises(AssertionError):
        await test_goal_d4_each_exception_has_its_retries_its_code_and_its_effect_on_the_link(*POLICY[5])


# ---- D6: a path that is cut and healed -------------------------------------------------------------------------------


async def seconds_until_polled(times: int) -> float:
    """The longest wait for a reading after a path that nobody could pass for 5 to 300 s was open again."""
    chance, longest_s = random.Random(6), 0.0
    for _ in range(times):
        clock = ManualClock(NOON)
        with socket.socket() as port:
            port.bind(("127.0.0.1", 0))  # nobody listens yet: every connection is refused
            link = ModbusLink("SITE001", "127.0.0.1", port.getsockname()[1], clock, timeout_s=20.0)
            for _ in range(chance.randint(10, 600)):
                with pytest.raises(LinkDown):
                    await link.look(METER)
                clock.advance(0.5)
            async with answering(port):
                healed_s = clock.now().s
                while not await polled(link):
                    clock.advance(0.5)
                    assert clock.now().s - healed_s < 60.0
                longest_s = max(longest_s, clock.now().s - healed_s)
                link.close()
    return longest_s


async def polled(link: ModbusLink) -> bool:
    try:
        return (await link.look(METER))[0].data is not None
    except LinkDown:
        return False


@contextlib.asynccontextmanager
async def answering(port: socket.socket) -> AsyncIterator[None]:
    """A station that says something right to every read, until the block ends."""
    done = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                transaction_id, _, _, unit, *_, count = struct.unpack(">HHHBBHH", await reader.readexactly(12))
                ask = Ask(unit_id=unit, pdu=b"\x04", data_bytes=2 * count)
                writer.write(replies_to(ask, transaction_id))
        writer.close()
        done.set()

    async with await asyncio.start_server(answer, sock=port):
        yield
        await asyncio.wait_for(done.wait(), 20)


MOST_S = 5.0 - modbus_link.TIMEOUT_S
"""Polling again within 5 s, of which the attempt that was on its way when the path healed takes its timeout."""


async def test_goal_d6_a_station_is_polled_again_within_five_seconds_of_a_healed_path() -> None:
    assert await seconds_until_polled(10) <= MOST_S


async def test_goal_d6_the_control_knocking_as_rarely_as_asking_takes_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modbus_link, "KNOCK_CEILING_S", modbus_link.RECONNECT_CEILING_S)

    assert await seconds_until_polled(10) > MOST_S


@pytest.mark.soak
async def test_goal_d6_two_hundred_healed_paths() -> None:
    assert await seconds_until_polled(200) <= MOST_S


# ---- D5: torn values -------------------------------------------------------------------------------------------------


def torn_as_good(seconds: int) -> list[tuple[str, float]]:
    """Good values that the station did not show in this second or the one before, while cars come and go.

    One step of the high word of an energy (31 Wh here) is as much as flows in two seconds: that much nobody can tell.
    """
    bench = Bench().online(-30.0, -30.0)
    bench.rig.post.begin_fault("torn_32_bit")
    wrong = []
    shown = truth(bench)
    for second in range(seconds):
        if second % 100 == 20:
            bench.rig.plug(max_kw=140.0)
        if second % 100 == 80:
            bench.rig.post.unplug(1)
        before = shown
        bench.seconds(1)
        shown, sample = truth(bench), bench.last
        seen = {
            "grid.import_kw": sample.grid.import_kw,
            "battery.power_kw": sample.battery.power_kw,
            "chargers.0.power_kw": sample.chargers[0].power_kw,
            "aux_kw": sample.aux_kw,
            "grid.import_kwh": sample.grid.import_kwh,
        }
        for name, value in seen.items():
            low, high = sorted((before[name], shown[name]))
            slack = 0.035 if name.endswith("kwh") else 0.7
            if value is not None and name not in sample.quality and not low - slack <= value <= high + slack:
                wrong.append((name, value))
    return wrong


def truth(bench: Bench) -> dict[str, float]:
    post = bench.rig.post
    return {
        "grid.import_kw": max(post.flows.grid_kw, 0.0),
        "battery.power_kw": post.flows.battery_1_kw + post.flows.battery_2_kw,
        "chargers.0.power_kw": post.flows.ev_1_kw,
        "aux_kw": post.flows.own_kw,
        "grid.import_kwh": post.meter.imported_kwh,
    }


def test_goal_d5_of_thousands_of_torn_values_none_is_delivered_as_good() -> None:
    """600 seconds of ten torn values each, in ramps that cross the boundary between the words."""
    assert torn_as_good(600) == []


@pytest.mark.soak
def test_goal_d5_fifty_thousand_torn_values() -> None:
    assert torn_as_good(5000) == []


def test_goal_d5_the_control_without_the_gate_torn_values_are_delivered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.amperio.site.trust.EV_OFF_BALANCE_KW", 1e9)

    assert torn_as_good(200)
