"""One well-formed request for each route of the map of either host, for tests of what stands before all of them."""

from typing import Any

from msgspec import Struct

from shared.contract.operations import OPERATIONS, Host, Operation
from tests.contract.enexa.http import Http

IDS = {
    "site_id": "SITE001",
    "controller_id": "CTRL001",
    "id": "CTRL001",
    "type": "battery",
    "command_id": "none",
    "device_type": "controller",
    "sha256": "0" * 64,
    "version": "1",
}


class Try(Struct, frozen=True):
    """A request that is well formed except, perhaps, for its credential."""

    operation: Operation
    path: str
    rest: dict[str, Any]


def tries(host: Host) -> list[Try]:
    """One request for each served route; a stream that never ends is tried elsewhere."""
    return [
        Try(
            each,
            each.path.format(**IDS),
            {"data": b"{}", "headers": {"Content-Type": "application/json"}} if each.request is not None else {},
        )
        for each in OPERATIONS
        if each.host is host and each.served and each.name != "stream"
    ]


async def routes_are_those_of_the_map(link: Http, host: Host) -> None:
    for each in OPERATIONS:
        if each.host is not host:
            continue
        got = await link.send(each.method, each.path.format(**IDS))
        assert (got.status not in (404, 405)) is each.served, (each.name, got.status)
