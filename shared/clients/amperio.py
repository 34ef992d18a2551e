"""Typed calls of every operation of Amperio; made by docs/build.py from the table."""

from typing import cast

from shared.clients.base import Api
from shared.contract.dispatch import (
    DispatchAck,
    DispatchCommand,
    DispatchRecord,
    GridOperatorLimit,
)
from shared.contract.operations import (
    AMPERIO_HEALTH,
    AMPERIO_SITES,
    AMPERIO_TOKEN,
    DELETE_GRID_LIMIT,
    DISPATCH,
    GET_DISPATCH,
    PUT_GRID_LIMIT,
    SITE_STATE,
)
from shared.contract.reads import (
    Health,
    MiddlewareSites,
    PageQuery,
    SiteState,
)
from shared.contract.tokens import (
    TokenReply,
    TokenRequest,
)


class AmperioApi(Api):
    """Each method is one operation; its name is the table's."""

    async def amperio_token(self, body: TokenRequest) -> TokenReply:
        """An access token for client credentials or a refresh token."""
        return cast("TokenReply", await self._call(AMPERIO_TOKEN, body))

    async def dispatch(self, body: DispatchCommand) -> DispatchAck:
        """One command; answers when its registers are read back, at most 2 s later."""
        return cast("DispatchAck", await self._call(DISPATCH, body))

    async def get_dispatch(self, command_id: str) -> DispatchRecord:
        """The record of a command."""
        return cast("DispatchRecord", await self._call(GET_DISPATCH, path={"command_id": command_id}))

    async def put_grid_limit(self, site_id: str, body: GridOperatorLimit) -> GridOperatorLimit:
        """The grid operator's cap, above everything remote."""
        return cast("GridOperatorLimit", await self._call(PUT_GRID_LIMIT, body, path={"site_id": site_id}))

    async def delete_grid_limit(self, site_id: str) -> None:
        """Withdraw the grid operator's cap."""
        await self._call(DELETE_GRID_LIMIT, path={"site_id": site_id})

    async def amperio_sites(self, *, query: PageQuery | None = None) -> MiddlewareSites:
        """Sites of this middleware."""
        return cast("MiddlewareSites", await self._call(AMPERIO_SITES, query=query))

    async def site_state(self, site_id: str) -> SiteState:
        """What the middleware sees now."""
        return cast("SiteState", await self._call(SITE_STATE, path={"site_id": site_id}))

    async def amperio_health(self) -> Health:
        """Health of the middleware and of each site."""
        return cast("Health", await self._call(AMPERIO_HEALTH))
