"""Amperio's Modbus client without its socket: the real retries, backoff and read-back over PDUs of this world."""

import struct
from collections.abc import Callable

from services.amperio.modbus_link import EXCEPTIONS, ModbusLink
from services.amperio.site.orders import Orders, Outcomes
from shared.chargepost.layout import READ_HOLDING, READ_INPUT, WRITE_ONE, RegisterWrite, Table
from shared.clock import Clock
from shared.errors import DeviceFailed, LinkDown, WrongReply
from tests.simulation.links import DeviceLink

READ = struct.Struct(">BHH")
HEAD = struct.Struct(">BHHB")
NOTHING = (Orders(), Outcomes())


class StationLink(ModbusLink):
    """Everything above a single request is the product's own; the requests are packed and checked here."""

    def __init__(self, site_id: str, clock: Clock, wire: DeviceLink) -> None:
        super().__init__(site_id, "station", 502, clock)
        self.last: tuple[Orders, Outcomes] = NOTHING
        """What was carried out since the last look."""
        self.dropped: list[Callable[[], None]] = []
        """Who wants to know when the connection is given up."""
        self._wire = wire
        self._open = False

    @property
    def up(self) -> bool:
        return self._open

    def close(self) -> None:
        self._open = False

    async def carry_out(self, orders: Orders) -> Outcomes:
        outcomes = await super().carry_out(orders)
        self.last = (orders, outcomes)
        return outcomes

    def _down(self, error: LinkDown) -> LinkDown:
        for tell in self.dropped:
            tell()
        return super()._down(error)

    async def _connect(self) -> None:
        self.last = NOTHING
        if self._open:
            return
        now = self._clock.now()
        if now.s < self._not_before_s:
            raise LinkDown("waiting to reconnect", retry_after_s=round(self._not_before_s - now.s, 3))
        self._open = True

    async def _read_words(self, unit_id: int, table: Table, address: int, count: int) -> bytes:
        function = READ_INPUT if table is Table.INPUT else READ_HOLDING
        body = self._exchange(unit_id, READ.pack(function, address, count))
        if len(body) != 1 + 2 * count or body[0] != 2 * count:
            raise self._down(WrongReply("a reply of another length", asked=count, got_bytes=len(body)))
        return body[1:]

    async def _write_once(self, write: RegisterWrite) -> None:
        words = struct.pack(f">{len(write.words)}H", *write.words)
        if write.function == WRITE_ONE:
            pdu = struct.pack(">BH", write.function, write.address) + words
            echo = pdu[1:]
        else:
            pdu = HEAD.pack(write.function, write.address, len(write.words), len(words)) + words
            echo = pdu[1:5]
        if self._exchange(write.unit_id, pdu) != echo:
            raise self._down(WrongReply("a write was answered with another echo"))

    def _exchange(self, unit_id: int, pdu: bytes) -> bytes:
        """The body of the reply to one request; DeviceRefused for an exception, LinkDown where nothing right comes."""
        if not self._open:
            raise LinkDown("the connection is gone")
        try:
            reply = self._wire.exchange(self._clock.now(), unit_id, pdu)
        except LinkDown as error:
            raise self._down(error) from None
        if reply[0] == pdu[0]:
            self._answered()
            return reply[1:]
        if len(reply) != 2 or reply[0] != pdu[0] | 0x80:
            raise self._down(WrongReply("the reply belongs to no request"))
        self._answered()
        raise EXCEPTIONS.get(reply[1], DeviceFailed)(f"the station answered exception {reply[1]:#04x}")
