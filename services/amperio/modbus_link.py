"""MODBUS CLIENT: one station, one connection, one request in flight; strict about replies; speaks our errors.

Frames are made and judged here, by hand: a client library lets wrong replies through (a transaction id of 0, another
function, a wrong count or echo, trailing bytes), and costs four times as much. Whatever does not belong to the request
is refused and the connection replaced: after a wrong reply nobody knows whose answer the next bytes are. No retries
below this line; reconnecting waits 1, 2, 4, ... 10 s. Only function codes 03, 04, 06 and 16 leave this file.
"""

import asyncio
import struct
from collections import deque
from collections.abc import Sequence
from typing import cast

import structlog

from services.amperio.site.orders import Orders, Outcome, Outcomes
from services.amperio.site.reads import Reading, ReadRequest
from shared.backoff import Backoff
from shared.chargepost.layout import READ_HOLDING, READ_INPUT, WRITE_ONE, RegisterWrite, Table
from shared.clock import Clock
from shared.errors import (
    DeviceBusy,
    DeviceFailed,
    DeviceRefused,
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
FRAMES_KEPT = 20
HEADER, REPLY, WORDS = struct.Struct(">HHHB"), struct.Struct(">HHHBB"), struct.Struct(">HH")
LENGTH_LEAST, LENGTH_MOST = 3, 254
"""What a header may announce: unit, function and at least one byte; a frame never has more than 260."""
BUSY_PAUSES_S = (0.2, 0.5, 1.0)

EXCEPTIONS: dict[int, type[DeviceRefused]] = {
    1: IllegalFunction,
    2: IllegalAddress,
    3: IllegalValue,
    4: DeviceFailed,
    6: DeviceBusy,
    0x0A: GatewayProblem,
    0x0B: GatewayProblem,
}

log = structlog.get_logger()


class _Connection(asyncio.Protocol):
    """Bytes of one TCP connection: a request out, a whole frame in; whatever comes unasked ends it."""

    def __init__(self, frames: deque[tuple[str, bytes]]) -> None:
        self.transport: asyncio.Transport | None = None
        self._frames = frames
        self._received = b""
        self._reply: asyncio.Future[bytes] | None = None
        self._transaction_id = 0

    @property
    def open(self) -> bool:
        return self.transport is not None and not self.transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transport is no subclass of asyncio's.
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Noticed now, not at the timeout."""
        self.transport = None
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(ConnectionError(str(exc) if exc else "the station closed the connection"))

    def data_received(self, data: bytes) -> None:
        self._frames.append(("<", data))
        if self._reply is None or self._reply.done():
            self.abort()
            return
        received = self._received = self._received + data if self._received else data
        if len(received) < HEADER.size:
            return
        length = int.from_bytes(received[4:6], "big")
        if len(received) >= length + 6 or not LENGTH_LEAST <= length <= LENGTH_MOST:
            self._reply.set_result(received)

    async def ask(self, unit_id: int, pdu: bytes, timeout_s: float) -> tuple[int, bytes]:
        """The transaction id that was used, and the bytes that came; OSError or TimeoutError where none did."""
        assert self._reply is None, "one request in flight"
        if self.transport is None or self.transport.is_closing():
            raise ConnectionError("the station closed the connection")
        loop = asyncio.get_running_loop()
        self._transaction_id = (self._transaction_id + 1) & 0xFFFF
        self._received = b""
        self._reply = reply = loop.create_future()
        frame = HEADER.pack(self._transaction_id, 0, len(pdu) + 1, unit_id) + pdu
        self._frames.append((">", frame))
        deadline = loop.call_later(timeout_s, _expire, reply)
        try:
            self.transport.write(frame)
            return self._transaction_id, await reply
        finally:
            deadline.cancel()
            self._reply = None

    def abort(self) -> None:
        """Drop the connection at once; what is on its way belongs to nobody."""
        if self.transport is not None:
            self.transport.abort()


def _expire(reply: asyncio.Future[bytes]) -> None:
    if not reply.done():
        reply.set_exception(TimeoutError("no reply in time"))


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
        return tuple([await self._read(request) for request in requests])

    async def carry_out(self, orders: Orders) -> Outcomes:
        """Each write with its read-back, in order, then the checks; a lost link ends it, and what was left says so."""
        writes = tuple([await self._write(write) for write in orders.writes])
        try:
            checks = tuple([await self._read(request) for request in orders.checks])
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
            raise self._down(LinkDown(f"no connection to {self.host}:{self.port}: {_told(error)}")) from error
        self._connection = connection

    def _down(self, error: LinkDown) -> LinkDown:
        """Close, wait longer each time, and tell the first failure with the frames that led to it."""
        self.close()
        self._backoff = self._backoff.failed()
        self._not_before_s = self._clock.now().s + self._backoff.wait_s()
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

    # ---- one exchange ------------------------------------------------------------------------------------------------

    async def _read(self, request: ReadRequest) -> Reading:
        try:
            data = await self._read_words(request.unit_id, request.table, request.address, request.count)
        except DeviceRefused as error:
            return Reading(request=request, error_code=error.code)
        return Reading(request=request, data=data)

    async def _read_words(self, unit_id: int, table: Table, address: int, count: int) -> bytes:
        function = READ_INPUT if table is Table.INPUT else READ_HOLDING
        body = await self._ask(unit_id, function, WORDS.pack(address, count))
        if len(body) != 1 + 2 * count or body[0] != 2 * count:
            raise self._down(WrongReply("a reply of another length", asked=count, got_bytes=len(body)))
        return body[1:]

    async def _write(self, write: RegisterWrite) -> Outcome:
        """The write and its read-back; a lost reply is resolved by reading, never by writing again blindly."""
        try:
            await self._write_words(write)
            data = await self._read_words(write.unit_id, Table.HOLDING, write.address, len(write.words))
        except SiteError as error:
            refused = isinstance(error, DeviceRefused) and not error.retry
            return Outcome(write=write, error_code=error.code, refused=refused)
        return Outcome(write=write, words=struct.unpack(f">{len(write.words)}H", data))

    async def _write_words(self, write: RegisterWrite) -> None:
        for pause_s in (*BUSY_PAUSES_S, None):
            try:
                await self._write_once(write)
            except DeviceBusy:
                if pause_s is None:
                    raise
                await self._clock.sleep(pause_s)
            else:
                return

    async def _write_once(self, write: RegisterWrite) -> None:
        words = struct.pack(f">{len(write.words)}H", *write.words)
        if write.function == WRITE_ONE:
            assert len(write.words) == 1
            sent = echo = struct.pack(">H", write.address) + words
        else:
            echo = WORDS.pack(write.address, len(write.words))
            sent = echo + bytes((len(words),)) + words
        body = await self._ask(write.unit_id, write.function, sent)
        if body != echo:
            raise self._down(WrongReply("a write was answered with another echo", got=body.hex()))

    async def _ask(self, unit_id: int, function: int, body: bytes) -> bytes:
        """The body of the reply to one request, after every check on the raw frame."""
        connection = self._connection
        if connection is None:
            raise LinkDown("the connection is gone")
        try:
            transaction_id, frame = await connection.ask(unit_id, bytes((function,)) + body, self._timeout_s)
        except OSError as error:
            raise self._down(LinkDown(f"no valid reply: {_told(error)}")) from error
        except asyncio.CancelledError:
            # The reply would arrive for the next request.
            self.close()
            raise
        return self._checked(frame, transaction_id, unit_id, function)

    def _checked(self, frame: bytes, transaction_id: int, unit_id: int, function: int) -> bytes:
        if len(frame) < 9:
            raise self._down(WrongReply("a reply that is too short", got_bytes=len(frame)))
        got_id, protocol, length, got_unit, got_function = REPLY.unpack_from(frame)
        checks = (
            (got_id == transaction_id, "the transaction id"),
            (protocol == 0, "the protocol id"),
            (length + 6 == len(frame), "the length"),
            (got_unit == unit_id, "the unit"),
            (got_function in (function, function | 0x80), "the function code"),
        )
        for good, what in checks:
            if not good:
                raise self._down(WrongReply(f"a reply that does not belong to the request: {what}"))
        self._answered()
        if got_function == function:
            return frame[8:]
        if len(frame) != 9:
            raise self._down(WrongReply("an exception of another length", got_bytes=len(frame)))
        code = frame[8]
        raise EXCEPTIONS.get(code, DeviceFailed)(f"the station answered exception {code:#04x}", exception=code)


def _told(error: BaseException) -> str:
    return str(error) or type(error).__name__
