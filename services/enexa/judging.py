"""What a measured stretch is judged against, for the API and the pages alike: asked of the engine, and kept."""

import asyncio
from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from services.enexa.insight.bounds import Bounds, Measured
from services.enexa.jobs import Jobs, Work, bounds_in_a_process
from services.enexa.market.prices import PriceSeries
from services.enexa.planning_request import plant_of, tariff_of
from services.enexa.state import SiteBoard
from shared.contract.config import SiteConfig
from shared.contract.reads import Point
from shared.energy.slots import slot_start
from shared.errors import SiteError

KEPT_MAX = 100


class Judgement(Struct, frozen=True, kw_only=True):
    """The bounds of a stretch, or why there are none; `renewing`: those of an earlier end, or none, until they are."""

    bounds: Bounds | None = None
    problem: str = ""
    renewing: bool = False


class Judge:
    """`ask` answers at once with what is known; the engine works beside the server, one stretch after the other."""

    def __init__(
        self, work: "Work[Measured, Bounds]" = bounds_in_a_process, turn: asyncio.Semaphore | None = None
    ) -> None:
        self._jobs: Jobs[Measured, Bounds] = Jobs(work, turn)
        self._newest: dict[tuple[str, datetime], Bounds] = {}

    def ask(self, site_id: str, wish: Measured | None) -> Judgement:
        if wish is None or not wish.points:
            return Judgement(problem="Bounds need a quarter hour that is over and was measured.")
        try:
            found = self._jobs.ask(wish)
        except SiteError as error:
            return Judgement(problem=f"{error.sentence[0].upper()}{error.sentence[1:]}.")
        key = (site_id, wish.start)
        newest = self._newest.get(key)
        if found is None:
            return Judgement(bounds=newest, renewing=True)
        if newest is None or newest.until <= found.until:
            self._newest[key] = found
            while len(self._newest) > KEPT_MAX:
                del self._newest[next(iter(self._newest))]
        return Judgement(bounds=found)


def known_until(board: SiteBoard, now: datetime) -> datetime:
    """The last whole minute of which every sample is there."""
    at = min(now, board.latest.sample.timestamp) if board.latest is not None else now
    return at.replace(second=0, microsecond=0)


def stretch(
    points: Sequence[Point], prices: PriceSeries, config: SiteConfig, *, start: datetime, until: datetime
) -> Measured | None:
    """What the bounds of [start, until) are computed from, up to the last whole quarter hour; None before one is over.

    `start` is the start of a quarter hour.
    """
    until = slot_start(until)
    if until <= start:
        return None
    return Measured(
        start=start,
        until=until,
        points=tuple(point for point in points if start <= point.at < until),
        prices=prices,
        plant=plant_of(config),
        tariff=tariff_of(config),
    )
