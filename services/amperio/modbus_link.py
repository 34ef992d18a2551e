"""MODBUS CLIENT: one station, one connection, one request in flight; strict about replies; speaks our errors.

pymodbus carries the bytes and builds the requests. What it lets through (a transaction id of 0, another function, a
wrong count or echo, trailing bytes) is refused here on the raw frame, and the connection is replaced: after a wrong
reply nobody knows whose answer the next bytes are. No retries below this line; reconnecting waits 1, 2, 4, ... 10 s.
Only function codes 03, 04, 06 and 16 leave this file.
"""

import asyncio
import struct
from collections import deque
from collections.abc import Sequence

import structlog
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException
from pymodbus.pdu import ModbusPDU
from pymodbus.pdu.register_message import (
    ReadHoldingRegistersRequest,
    ReadInputRegistersRequest,
    WriteMultipleRegistersRequest,
    WriteSingleRegisterRequest,
)

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
FRAME_MAX_BYTES = 260
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


class ModbusLink:
    """The link to one station. `look` and `carry_out` belong to one task; there are no locks."""

    def __init__(self, site_id: str, host: str, port: int, clock: Clock, *, timeout_s: float = TIMEOUT_S) -> None:
        self.site_id = site_id
        self.host = host
        self.port = port
        self._clock = clock
        self._timeout_s = timeout_s
        self._client: AsyncModbusTcpClient | None = None
        self._backoff = Backoff(first_s=RECONNECT_FIRST_S, ceiling_s=RECONNECT_CEILING_S)
        self._not_before_s = float("-inf")
        self._received = b""
        self._told_down = False
        self._asking = False
        self.frames: deque[str] = deque(maxlen=FRAMES_KEPT)

    @property
    def up(self) -> bool:
        return self._client is not None and self._client.connected

    async def look(self, requests: Sequence[ReadRequest]) -> tuple[Reading, ...]:
        """All readings of a cycle; LinkDown where the station is not there (also while waiting to try again)."""
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
        if self._client is not None:
            self._client.close()
            self._client = None

    # ---- connection --------------------------------------------------------------------------------------------------

    async def _connect(self) -> None:
        if self.up:
            return
        now = self._clock.now()
        if now.s < self._not_before_s:
            raise LinkDown("waiting to reconnect", retry_after_s=round(self._not_before_s - now.s, 3))
        self.close()
        client = AsyncModbusTcpClient(
            self.host,
            port=self.port,
            name=self.site_id,
            timeout=self._timeout_s,
            retries=0,
            reconnect_delay=0,
            trace_packet=self._trace,
            trace_connect=self._connection_changed,
        )
        try:
            connected = await client.connect()
        except (OSError, ModbusException) as error:
            connected = False
            log.debug("connect_failed", error=str(error))
        if not connected:
            client.close()
            raise self._down(LinkDown(f"no connection to {self.host}:{self.port}"))
        self._client = client

    def _down(self, error: LinkDown) -> LinkDown:
        """Close, wait longer each time, and tell the first failure with the frames that led to it."""
        self.close()
        self._backoff = self._backoff.failed()
        self._not_before_s = self._clock.now().s + self._backoff.wait_s()
        if not self._told_down:
            self._told_down = True
            log.warning("link_lost", site_id=self.site_id, code=error.code, error=str(error), frames=list(self.frames))
        return error

    def _answered(self) -> None:
        """Only a right reply proves the link; a connection alone does not."""
        if self._backoff.failures:
            self._backoff = self._backoff.cleared()
        if self._told_down:
            self._told_down = False
            log.info("link_back", site_id=self.site_id)

    def _trace(self, sending: bool, data: bytes) -> bytes:
        """pymodbus shows every packet here: the raw bytes are what the checks judge."""
        if sending:
            self._received = b""
            self.frames.append("> " + data[:FRAME_MAX_BYTES].hex())
        else:
            self._received = bytes(data)
            self.frames.append("< " + data[:FRAME_MAX_BYTES].hex())
        return data

    def _connection_changed(self, connected: bool) -> None:
        """A connection that closes in the middle of a request is noticed now, not at the timeout."""
        if connected or not self._asking or self._client is None:
            return
        future = self._client.ctx.response_future
        if not future.done():
            future.set_exception(ModbusException("the station closed the connection"))

    # ---- one exchange ------------------------------------------------------------------------------------------------

    async def _read(self, request: ReadRequest) -> Reading:
        try:
            data = await self._read_words(request.unit_id, request.table, request.address, request.count)
        except DeviceRefused as error:
            return Reading(request=request, error_code=error.code)
        return Reading(request=request, data=data)

    async def _read_words(self, unit_id: int, table: Table, address: int, count: int) -> bytes:
        kind = ReadInputRegistersRequest if table is Table.INPUT else ReadHoldingRegistersRequest
        function = READ_INPUT if table is Table.INPUT else READ_HOLDING
        body = await self._ask(kind(address=address, count=count, dev_id=unit_id), unit_id, function)
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
        request: ModbusPDU
        if write.function == WRITE_ONE:
            assert len(write.words) == 1
            request = WriteSingleRegisterRequest(
                address=write.address, registers=list(write.words), dev_id=write.unit_id
            )
            echo = struct.pack(">HH", write.address, write.words[0])
        else:
            request = WriteMultipleRegistersRequest(
                address=write.address, registers=list(write.words), dev_id=write.unit_id
            )
            echo = struct.pack(">HH", write.address, len(write.words))
        body = await self._ask(request, write.unit_id, write.function)
        if body != echo:
            raise self._down(WrongReply("a write was answered with another echo", got=body.hex()))

    async def _ask(self, request: ModbusPDU, unit_id: int, function: int) -> bytes:
        """The body of the reply to one request, after every check on the raw frame."""
        client = self._client
        if client is None:
            raise LinkDown("the connection is gone")
        if not client.connected:
            raise self._down(LinkDown("the station closed the connection"))
        self._asking = True
        try:
            await client.execute(False, request)
        except (ModbusException, OSError, TimeoutError, struct.error, IndexError, ValueError) as error:
            raise self._down(LinkDown(f"no valid reply: {_told(error)}")) from error
        except asyncio.CancelledError:
            # The reply would arrive for the next request.
            self.close()
            raise
        finally:
            self._asking = False
        return self._checked(self._received, client.ctx.request_transaction_id, unit_id, function)

    def _checked(self, frame: bytes, transaction_id: int, unit_id: int, function: int) -> bytes:
        if len(frame) < 9:
            raise self._down(WrongReply("a reply that is too short", got_bytes=len(frame)))
        got_id, protocol, length, got_unit, got_function = struct.unpack(">HHHBB", frame[:8])
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
