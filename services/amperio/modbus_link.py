"""MODBUS CLIENT: one station, one connection, one request in flight; strict about replies; speaks our errors.

Frames are made and judged here, by hand: a client library lets wrong replies through (a transaction id of 0, another
function, a wrong count or echo, trailing bytes), and costs four times as much. Whatever does not belong to the request
is refused and the connection replaced: after a wrong reply nobody knows whose answer the next bytes are. No retries
below this line; reconnecting waits 1, 2, 4, ... 10 s, and 4 s at most where not even a connection is made. Only
function codes 03, 04, 06 and 16 leave this file.
"""

import asyncio
import struct
from collections import deque
from collections.abc import Mapping, Sequence
from functools import cache
from typing import cast

import structlog
from msgspec import Struct

from services.amperio.site.orders import Orders, Outcome, Outcomes
from services.amperio.site.reads import Reading, ReadRequest
from shared.backoff import Backoff
from shared.chargepost.layout import READ_HOLDING, READ_INPUT, WRITE_ONE, RegisterWrite, Table
from shared.clock import Clock
from shared.errors import (
    DeviceBusy,
    DeviceFailed,
    DeviceRefused,
    DeviceWorking,
    GatewayProblem,
    IllegalAddress,
    IllegalFunction,
    IllegalValue,
    LinkDown,
    SiteError,
    WrongReply,
)

TIMEOUT_S = 1.0
RECONNECT_FIRST_S, RECONNECT_CEILING_S = 1.0, 10.0
KNOCK_CEILING_S = 4.0
"""A station that answers wrongly or not at all is left alone for longer and longer. One that cannot be reached is none
the worse for another knock: with its timeout of a second it is polled again within 5 s of a healed path (goal D6)."""
FRAMES_KEPT = 20
HEADER, REPLY, WORDS = struct.Struct(">HHHB"), struct.Struct(">HHHBB"), struct.Struct(">HH")
LENGTH_LEAST, LENGTH_MOST = 3, 254
"""What a header may announce: unit, function and at least one byte; a frame never has more than 260."""
PAUSES_S: Mapping[type[DeviceRefused], tuple[float, ...]] = {DeviceBusy: (0.2, 0.5, 1.0), DeviceFailed: (0.2,)}
"""Before each further attempt at a write; what is not here is not tried again."""

EXCEPTIONS: dict[int, type[DeviceRefused]] = {
    1: IllegalFunction,
    2: IllegalAddress,
    3: IllegalValue,
    4: DeviceFailed,
    5: DeviceWorking,
    6: DeviceBusy,
    0x0A: GatewayProblem,
    0x0B: GatewayProblem,
}

log = structlog.get_logger()


class Ask(Struct, frozen=True, kw_only=True):
    """One request, and what a right reply says: so many bytes of data, or an echo."""

    unit_id: int
    pdu: bytes
    data_bytes: int = 0
    echo: bytes = b""


class _Connection(asyncio.Protocol):
    """Bytes of one TCP connection: one request is in flight, its reply brings out the next one.

    A conversation of ten reads wakes its task once, not ten times. What comes unasked ends the connection.
    """

    def __init__(self, frames: deque[tuple[str, bytes]]) -> None:
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._frames = frames
        self._received = b""
        self._asks: Sequence[Ask] = ()
        self._answers: list[bytes | DeviceRefused] = []
        self._done: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle
        self._transaction_id = 0
        self._asked_s = self._timeout_s = 0.0

    @property
    def open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    async def converse(self, asks: Sequence[Ask], timeout_s: float) -> list[bytes | DeviceRefused]:
        """The reply to each, in order; OSError where one does not come within `timeout_s`, WrongReply where it lies."""
        assert self._done is None, "one conversation at a time"
        if not self.open:
            raise ConnectionError("the station closed the connection")
        self._asks, self._answers, self._timeout_s = asks, [], timeout_s
        self._done = done = self._loop.create_future()
        self._send()
        self._watch(timeout_s)
        try:
            await done
        finally:
            self._timer.cancel()
            self._done = None
        return self._answers

    def abort(self) -> None:
        """Drop the connection at once; what is on its way belongs to nobody."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transport is no subclass of asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Noticed now, not at the timeout."""
        self._transport = None
        self._fail(ConnectionError(str(exc) if exc else "the station closed the connection"))

    def data_received(self, data: bytes) -> None:
        self._frames.append(("<", data))
        if self._done is None or self._done.done():
            self.abort()
            return
        received = self._received = self._received + data if self._received else data
        if len(received) < HEADER.size:
            return
        length = received[4] << 8 | received[5]
        if len(received) < length + 6 and LENGTH_LEAST <= length <= LENGTH_MOST:
            return
        try:
            self._answers.append(judged(received, self._transaction_id, self._asks[len(self._answers)]))
        except WrongReply as error:
            self._fail(error)
            return
        if len(self._answers) < len(self._asks):
            self._send()
        else:
            self._done.set_result(None)

    def _send(self) -> None:
        assert self._transport is not None
        ask = self._asks[len(self._answers)]
        self._transaction_id = (self._transaction_id + 1) & 0xFFFF
        self._received = b""
        self._asked_s = self._loop.time()
        frame = HEADER.pack(self._transaction_id, 0, len(ask.pdu) + 1, ask.unit_id) + ask.pdu
        self._frames.append((">", frame))
        self._transport.write(frame)

    def _fail(self, error: Exception) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(error)

    def _watch(self, wait_s: float) -> None:
        """One timer for a whole conversation: it looks when the latest request was sent."""
        self._timer = self._loop.call_later(wait_s, self._look)

    def _look(self) -> None:
        left_s = self._asked_s + self._timeout_s - self._loop.time()
        if left_s > 0.0:
            self._watch(left_s)
        else:
            self._fail(TimeoutError("no reply in time"))


def judged(frame: bytes, transaction_id: int, ask: Ask) -> bytes | DeviceRefused:
    """The body of a reply or the station's refusal, after every check on the raw frame; WrongReply for all else."""
    if len(frame) < 9:
        raise WrongReply("a reply that is too short", got_bytes=len(frame))
    got_id, protocol, length, unit_id, function = REPLY.unpack_from(frame)
    asked = ask.pdu[0]
    if got_id != transaction_id:
        raise _foreign("the transaction id")
    if protocol != 0:
        raise _foreign("the protocol id")
    if length + 6 != len(frame):
        raise _foreign("the length")
    if unit_id != ask.unit_id:
        raise _foreign("the unit")
    if function == asked:
        body = frame[8:]
        if ask.echo:
            if body != ask.echo:
                raise WrongReply("a write was answered with another echo", got=body.hex())
            return body
        if len(body) != 1 + ask.data_bytes or body[0] != ask.data_bytes:
            raise WrongReply("a reply of another length", asked_bytes=ask.data_bytes, got_bytes=len(body) - 1)
        return body[1:]
    if function != asked | 0x80:
        raise _foreign("the function code")
    if len(frame) != 9:
        raise WrongReply("an exception of another length", got_bytes=len(frame))
    code = frame[8]
    return EXCEPTIONS.get(code, DeviceFailed)(f"the station answered exception {code:#04x}", exception=code)


def _foreign(what: str) -> WrongReply:
    return WrongReply(f"a reply that does not belong to the request: {what}")


@cache
def read_ask(unit_id: int, table: Table, address: int, count: int) -> Ask:
    function = READ_INPUT if table is Table.INPUT else READ_HOLDING
    return Ask(unit_id=unit_id, pdu=bytes((function,)) + WORDS.pack(address, count), data_bytes=2 * count)


def write_ask(write: RegisterWrite) -> Ask:
    words = struct.pack(f">{len(write.words)}H", *write.words)
    if write.function == WRITE_ONE:
        assert len(write.words) == 1
        echo = struct.pack(">H", write.address) + words
        return Ask(unit_id=write.unit_id, pdu=bytes((write.function,)) + echo, echo=echo)
    echo = WORDS.pack(write.address, len(write.words))
    sent = bytes((write.function,)) + echo + bytes((len(words),)) + words
    return Ask(unit_id=write.unit_id, pdu=sent, echo=echo)


class ModbusLink:
    """The link to one station. `look` and `carry_out` belong to one task; there are no locks."""

    def __init__(self, site_id: str, host: str, port: int, clock: Clock, *, timeout_s: float = TIMEOUT_S) -> None:
        self.site_id = site_id
        self.host = host
        self.port = port
        self._clock = clock
        self._timeout_s = timeout_s
        self._connection: _Connection | None = None
        self._backoff = Backoff(first_s=RECONNECT_FIRST_S, ceiling_s=RECONNECT_CEILING_S)
        self._not_before_s = float("-inf")
        self._told_down = False
        self._frames: deque[tuple[str, bytes]] = deque(maxlen=FRAMES_KEPT)

    @property
    def up(self) -> bool:
        return self._connection is not None and self._connection.open

    @property
    def frames(self) -> list[str]:
        """The last bytes in both directions, for a person."""
        return [f"{direction} {data.hex()}" for direction, data in self._frames]

    async def look(self, requests: Sequence[ReadRequest]) -> tuple[Reading, ...]:
        """All readings of a cycle; LinkDown where the station is not there (also while waiting to try again)."""
        if not self.up:
            await self._connect()
        return await self._read(requests)

    async def carry_out(self, orders: Orders) -> Outcomes:
        """Each write with its read-back, in order, then the checks; a lost link ends it, and what was left says so."""
        writes = tuple([await self._write(write) for write in orders.writes])
        try:
            checks = await self._read(orders.checks)
        except LinkDown:
            checks = ()
        return Outcomes(writes=writes, checks=checks)

    def close(self) -> None:
        """Drop the connection; the next look makes a new one, after the backoff."""
        if self._connection is not None:
            self._connection.abort()
            self._connection = None

    # ---- connection --------------------------------------------------------------------------------------------------

    async def _connect(self) -> None:
        now = self._clock.now()
        if now.s < self._not_before_s:
            raise LinkDown("waiting to reconnect", retry_after_s=round(self._not_before_s - now.s, 3))
        self.close()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout_s):
                _, connection = await loop.create_connection(lambda: _Connection(self._frames), self.host, self.port)
        except OSError as error:
            unreachable = LinkDown(f"no connection to {self.host}:{self.port}: {_told(error)}")
            raise self._down(unreachable, ceiling_s=KNOCK_CEILING_S) from error
        self._connection = connection

    def _down(self, error: LinkDown, *, ceiling_s: float = RECONNECT_CEILING_S) -> LinkDown:
        """Close, wait longer each time, and tell the first failure with the frames that led to it."""
        self.close()
        self._backoff = self._backoff.failed()
        self._not_before_s = self._clock.now().s + min(self._backoff.wait_s(), ceiling_s)
        if not self._told_down:
            self._told_down = True
            log.warning("link_lost", site_id=self.site_id, code=error.code, error=str(error), frames=self.frames)
        return error

    def _answered(self) -> None:
        """Only a right reply proves the link; a connection alone does not."""
        if self._backoff.failures:
            self._backoff = self._backoff.cleared()
        if self._told_down:
            self._told_down = False
            log.info("link_back", site_id=self.site_id)

    # ---- conversations -----------------------------------------------------------------------------------------------

    async def _read(self, requests: Sequence[ReadRequest]) -> tuple[Reading, ...]:
        asks = [read_ask(each.unit_id, each.table, each.address, each.count) for each in requests]
        answers = await self._converse(asks) if asks else ()
        if answers and all(isinstance(answer, GatewayProblem) for answer in answers):
            raise self._down(LinkDown("a gateway answers that it cannot reach the station"))
        return tuple(
            Reading(request=request, data=answer)
            if isinstance(answer, bytes)
            else Reading(request=request, error_code=answer.code)
            for request, answer in zip(requests, answers, strict=True)
        )

    async def _write(self, write: RegisterWrite) -> Outcome:
        """The write and its read-back; a lost reply is resolved by reading, never by writing again blindly."""
        try:
            await self._write_patiently(write_ask(write))
            back = read_ask(write.unit_id, Table.HOLDING, write.address, len(write.words))
            data = await self._one(back)
        except SiteError as error:
            refused = isinstance(error, DeviceRefused) and not error.retry
            return Outcome(write=write, error_code=error.code, refused=refused)
        return Outcome(write=write, words=struct.unpack(f">{len(write.words)}H", data))

    async def _write_patiently(self, ask: Ask) -> None:
        attempts = 0
        while True:
            try:
                await self._one(ask)
            except DeviceRefused as error:
                pauses_s = PAUSES_S.get(type(error), ())
                if attempts == len(pauses_s):
                    raise
                await self._clock.sleep(pauses_s[attempts])
                attempts += 1
            else:
                return

    async def _one(self, ask: Ask) -> bytes:
        (answer,) = await self._converse((ask,))
        if isinstance(answer, DeviceRefused):
            raise answer
        return answer

    async def _converse(self, asks: Sequence[Ask]) -> list[bytes | DeviceRefused]:
        """The answers to all; LinkDown where one did not come or was not one, and the connection is gone with it."""
        if self._connection is None:
            raise LinkDown("the connection is gone")
        try:
            answers = await self._connection.converse(asks, self._timeout_s)
        except WrongReply as error:
            raise self._down(error) from error
        except OSError as error:
            raise self._down(LinkDown(f"no valid reply: {_told(error)}")) from error
        except asyncio.CancelledError:
            # The reply would arrive for the next request.
            self.close()
            raise
        self._answered()
        return answers


def _told(error: BaseException) -> str:
    return str(error) or type(error).__name__
