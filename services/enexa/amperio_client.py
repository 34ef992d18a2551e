"""The calls that Enexa makes to Amperio, each a few lines over the REST map."""

from shared.contract.dispatch import CommandBase, DispatchAck, DispatchRecord
from shared.contract.operations import AMPERIO_HEALTH, DISPATCH, GET_DISPATCH, SITE_STATE
from shared.contract.reads import Health, SiteState
from shared.errors import NotFound
from shared.rest.call import Caller


class AmperioClient:
    """Raises Refused, PeerBusy or PeerDown; never retries."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def dispatch(self, command: CommandBase) -> DispatchAck:
        reply = await self._caller.call(DISPATCH, command)
        assert isinstance(reply.message, DispatchAck)
        return reply.message

    async def ask(self, command_id: str) -> DispatchRecord | None:
        """What became of a command; None where the middleware does not know it."""
        try:
            reply = await self._caller.call(GET_DISPATCH, path={"command_id": command_id})
        except NotFound:
            return None
        assert isinstance(reply.message, DispatchRecord)
        return reply.message

    async def state(self, site_id: str) -> SiteState:
        reply = await self._caller.call(SITE_STATE, path={"site_id": site_id})
        assert isinstance(reply.message, SiteState)
        return reply.message

    async def health(self, request_id: str = "") -> Health:
        """`request_id` is what the middleware's audit log keeps of this call."""
        headers = {"X-Request-ID": request_id} if request_id else None
        reply = await self._caller.call(AMPERIO_HEALTH, headers=headers)
        assert isinstance(reply.message, Health)
        return reply.message

    async def close(self) -> None:
        await self._caller.close()
