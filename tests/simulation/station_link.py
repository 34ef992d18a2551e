"""The last inch between Amperio's real Modbus client and the field wire: a transport that is no socket."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from services.amperio.modbus_link import RECONNECT_CEILING_S, ModbusLink
from services.amperio.site.orders import Orders, Outcomes
from services.amperio.site.reads import Reading, ReadRequest
from shared.clock import ManualClock
from shared.errors import LinkDown
from tests.simulation.links import DeviceLink

NOTHING = (Orders(), Outcomes())


class FieldTransport(asyncio.Transport):
    """One connection to the station: what is written is answered at once, or never, or the connection ends."""

    def __init__(self, wire: DeviceLink, world: ManualClock, protocol: asyncio.BaseProtocol) -> None:
        super().__init__()
        self._wire = wire
        self._world = world
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._closing = False

    def write(self, data: Any) -> None:
        if self._closing:
            return
        try:
            reply = self._wire.exchange(self._world.now(), bytes(data))
        except OSError:
            self.abort()
            return
        if reply:
            assert isinstance(self._protocol, asyncio.Protocol)
            self._protocol.data_received(reply)

    def is_closing(self) -> bool:
        return self._closing

    def abort(self) -> None:
        if not self._closing:
            self._closing = True
            self._loop.call_soon(self._protocol.connection_lost, None)


class WatchedLink(ModbusLink):
    """The real client, and somebody who looks over its shoulder."""

    last: tuple[Orders, Outcomes] = NOTHING
    """What was carried out since the last look."""
    dropped: Callable[[], None]
    """Who wants to know when the connection is given up."""

    async def look(self, requests: Sequence[ReadRequest]) -> tuple[Reading, ...]:
        self.last = NOTHING
        return await super().look(requests)

    async def carry_out(self, orders: Orders) -> Outcomes:
        outcomes = await super().carry_out(orders)
        self.last = (orders, outcomes)
        return outcomes

    def _down(self, error: LinkDown, *, ceiling_s: float = RECONNECT_CEILING_S) -> LinkDown:
        self.dropped()
        return super()._down(error, ceiling_s=ceiling_s)
