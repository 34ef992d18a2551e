"""How many requests are worked on at once, apart for each budget: overload sheds telemetry, and commands last."""

from collections.abc import Mapping
from types import TracebackType

from shared.contract.operations import Budget
from shared.errors import Overloaded

PLACES: Mapping[Budget, int] = {Budget.TELEMETRY: 1024, Budget.GENERAL: 512}
"""Commands have as many places as there are connections: they are few, and shed last."""

COME_BACK_S = 1.0


class Room:
    """A number of places; whoever finds none is told at once, which costs less than a queue that nobody outlives."""

    __slots__ = ("_free",)

    def __init__(self, places: int) -> None:
        self._free = places

    def __enter__(self) -> None:
        if self._free <= 0:
            raise Overloaded("more is being asked than can be done: come back in a moment", retry_after_s=COME_BACK_S)
        self._free -= 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._free += 1


def rooms(connections_max: int, places: Mapping[Budget, int] = PLACES) -> dict[Budget, Room]:
    return {budget: Room(places.get(budget, connections_max)) for budget in Budget}
