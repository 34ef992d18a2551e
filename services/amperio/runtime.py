"""What runs beside the lanes: finding the lane of a site, the housekeeping of buffers, and the doctor."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from typing import Literal

import structlog

from services.amperio.checks import site_checks, store_check
from services.amperio.lane import SiteLane
from services.amperio.site.outbox import REWIND_S
from services.amperio.store import tables
from services.amperio.store.database import Database
from services.amperio.version import VERSION
from shared.clock import Clock
from shared.contract.reads import Check, Health
from shared.errors import StoreFailed, UnknownSite
from shared.moment import Moment

HOUSEKEEPING_EVERY_S = 60.0

log = structlog.get_logger()


class Lanes:
    """The lanes of this process, by site."""

    def __init__(self, lanes: Sequence[SiteLane]) -> None:
        self._by_site = {lane.site_id: lane for lane in lanes}

    def of(self, site_id: str) -> SiteLane:
        """The lane of a site; UnknownSite for any other, never a default one."""
        lane = self._by_site.get(site_id)
        if lane is None:
            raise UnknownSite("no such site", site_id=site_id)
        return lane

    def all(self) -> tuple[SiteLane, ...]:
        return tuple(self._by_site.values())

    def __iter__(self) -> Iterator[SiteLane]:
        return iter(self.all())

    def add(self, lane: SiteLane) -> None:
        """A site that came while we run."""
        assert lane.site_id not in self._by_site
        self._by_site[lane.site_id] = lane


class Housekeeper:
    """Keeps every buffer within its bound, and forgets what is confirmed and a day old."""

    def __init__(self, lanes: Iterable[SiteLane], database: Database, clock: Clock) -> None:
        self._lanes = lanes
        self._database = database
        self._clock = clock

    async def run(self) -> None:
        while True:
            await self._clock.sleep(HOUSEKEEPING_EVERY_S)
            for lane in self._lanes:
                await self.tidy(lane)

    async def tidy(self, lane: SiteLane) -> None:
        """One round for one site."""
        now = self._clock.now()
        before = now.at - timedelta(seconds=REWIND_S)
        outbox, site = lane.outbox, lane.site_id
        samples_through, events_through = outbox.forgettable(), lane.events.confirmed_through

        def forget(store: tables.Connection) -> tuple[int, int]:
            # First remember that it is confirmed, then forget it: one commit.
            tables.confirm(store, site, stored_through=outbox.stored_through, events_through=events_through)
            tables.forget_events(store, site, events_through, before)
            return tables.forget_rows(store, site, samples_through, before)

        try:
            outbox.forgotten(*await self._database.run(forget))
            while (thinning := outbox.thinning()) is not None:
                gone, oldest = await self._database.run(partial(tables.thin_rows, site=site, thinning=thinning))
                outbox.forgotten(gone, oldest)
                log.warning("buffer_thinned", site_id=site, first=thinning.first, last=thinning.last, rows=gone)
        except StoreFailed as error:
            log.warning("housekeeping_failed", site_id=site, error=str(error))


class Doctor:
    """Tells the truth about this process: what works, what does not, since when."""

    def __init__(
        self, lanes: Lanes, database: Database, clock: Clock, *, of_process: Callable[[], Iterable[Check]] = tuple
    ) -> None:
        """`of_process` answers for what belongs to no site: disk, certificate."""
        self._lanes = lanes
        self._database = database
        self._clock = clock
        self._of_process = of_process

    def health(self, now: Moment) -> Health:
        """`unhealthy` where commands could not be carried out safely at all, `degraded` where a part is missing."""
        store = store_check(self._database)
        checks = [store, *self._of_process(), *(check for lane in self._lanes for check in site_checks(lane, now))]
        status: Literal["ok", "degraded", "unhealthy"] = "ok" if all(check.ok for check in checks) else "degraded"
        if not store.ok or not all(lane.alive(now) for lane in self._lanes.all()):
            status = "unhealthy"
        return Health(
            status=status,
            service="amperio",
            version=VERSION,
            clock=now.at,
            speed=self._clock.speed,
            checks=tuple(checks),
            sites=tuple(lane.health(now) for lane in self._lanes.all()),
        )
