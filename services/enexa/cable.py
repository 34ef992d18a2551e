"""A cut between Enexa and Amperio, made on purpose: for drills and demos, never by itself.

Enexa stands at one end of both conversations, so it can play the dead line for each: what it would send is lost, and
what the middleware sends is answered as a gateway would that finds nobody behind it. People and pages go on.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from litestar.types import Receive, Scope

from services.enexa.insight.drills import Way
from shared.clock import Clock
from shared.contract.operations import Operation
from shared.contract.operations import Scope as Permission
from shared.contract.wire import Problem, encode
from shared.errors import PeerDown, SiteError
from shared.rest.answers import Raw
from shared.rest.call import Caller, Reply
from shared.rest.gate import PROBLEM_TYPE, Gate, Route

DEAD_LINE = Raw(
    status=504,
    body=encode(Problem(title="link cut", status=504, code="link_cut", detail="the link is cut by a drill")),
    headers=((b"content-type", PROBLEM_TYPE),),
)


class Cable:
    """Both conversations; each may be cut for a while."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._cut_until_s: dict[Way, float] = {}

    def cut(self, ways: Iterable[Way], for_s: float) -> None:
        """A cut that lasts longer already is left alone."""
        until_s = self._clock.now().s + for_s
        for way in ways:
            self._cut_until_s[way] = max(until_s, self._cut_until_s.get(way, until_s))

    def is_cut(self, way: Way) -> bool:
        return self._clock.now().s < self._cut_until_s.get(way, float("-inf"))


class CuttableCaller(Caller):
    """Calls that find nobody while the cable is cut."""

    def __init__(self, *given: Any, cable: Cable, **more: Any) -> None:
        super().__init__(*given, **more)
        self._cable = cable

    async def call(self, operation: Operation, *given: Any, **more: Any) -> Reply:
        if self._cable.is_cut(Way.OUTWARD):
            raise PeerDown("no answer: the link is cut by a drill", operation=operation.name)
        return await super().call(operation, *given, **more)


class CuttableGate(Gate):
    """A gate at which the middleware finds nobody while the cable is cut."""

    def __init__(self, *given: Any, cable: Cable, **more: Any) -> None:
        super().__init__(*given, **more)
        self._cable = cable

    async def pass_through(self, each: Route, scope: Scope, receive: Receive, path: Mapping[str, str]) -> Raw:
        if self._cable.is_cut(Way.INWARD) and self._is_middleware(scope):
            return DEAD_LINE
        return await super().pass_through(each, scope, receive, path)

    def _is_middleware(self, scope: Scope) -> bool:
        bearer = next((value for name, value in scope["headers"] if name == b"authorization"), b"").decode("latin-1")
        try:
            principal = self.book.principal(bearer.partition(" ")[2].strip(), self.clock.now())
        except SiteError:
            return False
        return principal.scope is Permission.MIDDLEWARE
