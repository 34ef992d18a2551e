"""Sites: which this middleware serves, what it sees of each now, and the grid operator's cap."""

from collections.abc import Sequence
from typing import Any, Protocol

from shared.contract.dispatch import GridOperatorLimit
from shared.contract.operations import AMPERIO_SITES, DELETE_GRID_LIMIT, PUT_GRID_LIMIT, SITE_STATE
from shared.contract.reads import MiddlewareSite, MiddlewareSites, SiteState
from shared.errors import InvalidMessage, OutOfBounds
from shared.moment import Moment
from shared.rest.gate import Answer, Call, Route, serves


class Watched(Protocol):
    """What this conversation needs of a site."""

    @property
    def site_id(self) -> str: ...

    def state(self, now: Moment) -> SiteState: ...

    def summary(self) -> MiddlewareSite: ...

    async def set_operator_limit(self, limit: GridOperatorLimit | None) -> None: ...


class Sites(Protocol):
    """The sites of this process."""

    def of(self, site_id: str) -> Watched: ...

    def all(self) -> Sequence[Watched]: ...


def routes(sites: Sites) -> list[Route]:
    """The routes about sites."""

    @serves(AMPERIO_SITES)
    async def list_sites(call: Call[Any]) -> MiddlewareSites:
        seen = [site for site in sites.all() if call.principal and call.principal.may_see(site.site_id)]
        start = _after(call.query.cursor, [site.site_id for site in seen])
        page = seen[start : start + call.query.limit]
        more = start + len(page) < len(seen)
        return MiddlewareSites(
            sites=tuple(site.summary() for site in page), cursor=page[-1].site_id if more and page else None
        )

    @serves(SITE_STATE)
    async def state(call: Call[Any]) -> SiteState:
        return sites.of(call.path["site_id"]).state(call.now)

    @serves(PUT_GRID_LIMIT)
    async def put_grid_limit(call: Call[Any]) -> GridOperatorLimit:
        limit: GridOperatorLimit = call.body
        if limit.until is not None and limit.until <= limit.from_:
            raise OutOfBounds("`until` must be later than `from`; leave it out to limit until withdrawn", field="until")
        await sites.of(call.path["site_id"]).set_operator_limit(limit)
        return limit

    @serves(DELETE_GRID_LIMIT)
    async def delete_grid_limit(call: Call[Any]) -> Answer:
        await sites.of(call.path["site_id"]).set_operator_limit(None)
        return Answer()

    return [list_sites, state, put_grid_limit, delete_grid_limit]


def _after(cursor: str | None, seen: Sequence[str]) -> int:
    """Where the next page begins; a cursor that names none of these sites was never given to this caller."""
    if cursor is None:
        return 0
    if cursor not in seen:
        raise InvalidMessage("this cursor is none of ours; begin without one", field="cursor")
    return seen.index(cursor) + 1
