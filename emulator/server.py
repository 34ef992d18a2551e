"""The Modbus/TCP server: pymodbus's transport and server, its request handler tightened to the rules of the wire.

pymodbus 3.16.1 answers only the first of several pipelined requests, waits for frames of 65 kB, knows no limit for
connections or idle time, and serves function codes that a ChargePost does not have. The handler below reads frames
itself: every request of a segment is answered, in order; a header that cannot be right closes its connection, and
only that one. Reads are served from the bytes that were packed for this physics second.
"""

import asyncio
import socket
import ssl
import struct
from collections import deque
from functools import partial
from typing import cast

from pymodbus.server import ModbusTcpServer
from pymodbus.server.requesthandler import ServerRequestHandler
from pymodbus.simulator import DataType, SimData, SimDevice
from pymodbus.transport import ModbusProtocol

from emulator.station import Station
from emulator.wire import Wire
from shared.clock import Clock
from shared.rest.server import Listener, bind

HEADER = struct.Struct(">HHHB")
LENGTH_LEAST, LENGTH_MOST = 2, 254
MOST_CONNECTIONS = 8
IDLE_S = 30.0
BATCH = 64


class Handler(ServerRequestHandler):
    """One connection."""

    def __init__(self, owner: "Server") -> None:
        super().__init__(owner, owner.wire.outgoing, None, None)  # type: ignore[no-untyped-call]  # pymodbus
        self.owner = owner
        self._rest = b""
        self._later = self._deaf = self._paused = False
        self._heard_s = self._put_off_until_s = 0.0
        self._put_off: deque[bytes] = deque()
        self._idle: asyncio.TimerHandle | None = None
        self.peer = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        name = transport.get_extra_info("peername")
        self.peer = f"{name[0]}:{name[1]}" if name else "local"
        self._heard_s = self.loop.time()
        if not self.owner.welcomes(self):
            self.abort()
            return
        self._idle = self.loop.call_later(self.owner.idle_s, self._end_if_idle)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._idle is not None:
            self._idle.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._heard_s = self.loop.time()
        self._rest = self._rest + data if self._rest else data
        if not self._later:
            self._work()

    def pause_writing(self) -> None:
        """The peer does not read its answers: take no more of its requests."""
        self._deaf = True
        self._pause()

    def resume_writing(self) -> None:
        self._deaf = False
        if not self._later:
            self._work()

    def _work(self) -> None:
        """Answer what has come in whole, a batch at a time, so that no peer keeps the others waiting."""
        self._later = False
        data, at, size = self._rest, 0, len(self._rest)
        replies: list[bytes] = []
        owner, left = self.owner, BATCH
        while size - at >= HEADER.size and not self._deaf:
            transaction, protocol, length, unit = HEADER.unpack_from(data, at)
            if protocol or not LENGTH_LEAST <= length <= LENGTH_MOST:
                self._flush(replies)
                self.close()
                return
            end = at + 6 + length
            if end > size:
                break
            if left == 0:
                self._later = True
                break
            left -= 1
            pdu = data[at + HEADER.size : end]
            at = end
            if owner.wire.active:
                self._flush(replies)
                replies = []
                owner.wire.answer(self, transaction, unit, pdu)
                continue
            reply = owner.answer(unit, pdu, self.peer)
            if not reply:
                self.abort()
                return
            replies.append(HEADER.pack(transaction, 0, len(reply) + 1, unit) + reply)
        self._rest = data[at:] if at else data
        self._flush(replies)
        self._go_on()

    def _go_on(self) -> None:
        """Read on, or come back to what is left in the next round of the loop."""
        if self.is_closing:
            return
        if self._later:
            self._pause()
            self.loop.call_soon(self._work)
        elif self._paused and not self._deaf:
            self._paused = False
            link = self._link()
            if link is not None:
                link.resume_reading()

    def _pause(self) -> None:
        link = self._link()
        if link is not None and not self._paused:
            self._paused = True
            link.pause_reading()

    def abort(self) -> None:
        """Reset the connection."""
        transport = self._link()
        self.close()
        if transport is not None:
            transport.abort()

    def put(self, data: bytes) -> None:
        """Write bytes, if the connection still stands."""
        transport = self._link()
        if transport is not None:
            transport.write(data)

    def put_after(self, delay_s: float, data: bytes) -> None:
        """The same later; what was put off first goes out first."""
        self._put_off.append(data)
        self._put_off_until_s = max(self._put_off_until_s, self.loop.time() + delay_s)
        self.loop.call_at(self._put_off_until_s, lambda: self.put(self._put_off.popleft()))

    def _link(self) -> asyncio.Transport | None:
        """pymodbus declares a bare transport and forgets it on close; uvloop's is no subclass of asyncio's."""
        return cast("asyncio.Transport | None", self.transport)

    def _flush(self, replies: list[bytes]) -> None:
        if replies:
            self.put(replies[0] if len(replies) == 1 else b"".join(replies))

    def _end_if_idle(self) -> None:
        idle_s = self.loop.time() - self._heard_s
        if idle_s >= self.owner.idle_s:
            self.close()
        else:
            self._idle = self.loop.call_later(self.owner.idle_s - idle_s, self._end_if_idle)


class Server(ModbusTcpServer):
    """One station on one bound socket; call inside a running loop, then `start`."""

    def __init__(
        self,
        station: Station,
        clock: Clock,
        bound: socket.socket,
        *,
        most_connections: int = MOST_CONNECTIONS,
        idle_s: float = IDLE_S,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        unused = SimDevice(1, simdata=[SimData(0, datatype=DataType.REGISTERS)])
        super().__init__(unused, address=bound.getsockname()[:2])
        self.station = station
        self.wire = Wire(station.post.faults)
        self.clock = clock
        self.most_connections = most_connections
        self.idle_s = idle_s
        self.host: str = bound.getsockname()[0]
        self.port: int = bound.getsockname()[1]
        self._tls = tls
        self._listen_on(bound)

    def callback_new_connection(self) -> ModbusProtocol:
        return Handler(self)

    async def start(self) -> None:
        """Listen; returns at once."""
        await self.serve_forever(background=True)

    async def mind_the_port(self) -> None:
        """Close the port while it has to refuse connections, and open it again afterwards."""
        listens = self.transport is not None
        if listens and self.wire.refused:
            self.transport.close()
            self.transport = None  # type: ignore[assignment]  # pymodbus spells it so, too
            self.drop_all()
        elif not listens and not self.wire.refused:
            self._listen_on(bind(Listener(self.host, self.port)))
            await self.listen()

    def _listen_on(self, bound: socket.socket) -> None:
        self.call_create = partial(self.loop.create_server, self.handle_new_connection, sock=bound, ssl=self._tls)

    async def stop(self) -> None:
        """Close the port and every connection."""
        await self.shutdown()  # type: ignore[no-untyped-call]  # pymodbus

    def welcomes(self, newcomer: Handler) -> bool:
        """Whether another connection may stay; the newcomer is already counted."""
        del newcomer
        return (
            len(self.active_connections) <= self.most_connections
            and not self.station.post.silent
            and not self.wire.occupied
        )

    def answer(self, unit: int, pdu: bytes, peer: str) -> bytes:
        """The reply PDU, or nothing from a station that is silent."""
        return self.station.request(self.clock.now(), unit, pdu, peer=peer)

    def drop_all(self) -> None:
        """Reset every connection, as a rebooting station does."""
        for connection in list(self.active_connections.values()):
            if isinstance(connection, Handler):
                connection.abort()
