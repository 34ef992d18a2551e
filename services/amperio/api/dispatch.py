"""Dispatch: commands come in here, and the record of each can be read back."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from shared.contract.dispatch import DispatchAck, DispatchCommand, DispatchRecord
from shared.contract.operations import DISPATCH, GET_DISPATCH
from shared.errors import NotFound
from shared.rest.gate import Call, Route, serves


class Dispatching(Protocol):
    """What this conversation needs of a site."""

    @property
    def site_id(self) -> str: ...

    async def submit(self, command: DispatchCommand) -> DispatchAck: ...

    def record(self, command_id: str) -> DispatchRecord | None: ...


class Sites(Protocol):
    """The sites of this process."""

    def of(self, site_id: str) -> Dispatching: ...

    def all(self) -> Sequence[Dispatching]: ...


def routes(sites: Sites) -> list[Route]:
    """The two routes of dispatch."""

    @serves(DISPATCH)
    async def dispatch(call: Call[Any]) -> DispatchAck:
        return await sites.of(call.body.site_id).submit(call.body)

    @serves(GET_DISPATCH)
    async def get_dispatch(call: Call[Any]) -> DispatchRecord:
        command_id = call.path["command_id"]
        may_see: Callable[[str], bool] = call.principal.may_see if call.principal else lambda _: False
        for site in sites.all():
            record = site.record(command_id) if may_see(site.site_id) else None
            if record is not None:
                return record
        raise NotFound("no such command", command_id=command_id)

    return [dispatch, get_dispatch]
