"""One real lane with its real store, moved second by second by hand: a minute of life takes less than a second.

The station is the real one, asked without a socket; Enexa is what the test says of each exchange.
"""

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from services.amperio.checks import disk_checks
from services.amperio.lane import SiteLane
from services.amperio.locks import Locks
from services.amperio.runtime import Doctor, Lanes
from services.amperio.site.orders import Orders, Outcomes
from services.amperio.site.outbox import Cursor
from services.amperio.site.reads import Reading, ReadRequest
from services.amperio.store.database import Database
from shared.clock import ManualClock
from shared.contract.reads import Health
from shared.contract.telemetry import Mode
from shared.errors import LinkDown
from tests.unit.amperio.bench import SITE, Bench, a_schedule
from tests.unit.emulator.rig import Rig

STORE_MAX_BYTES = 64 * 1024 * 1024


class Link:
    """The link to a station on the bench: the same requests, without a wire."""

    def __init__(self, bench: Bench) -> None:
        self.refuses: int | None = None
        """An address that the station answers with an exception."""
        self._bench = bench

    async def look(self, requests: Sequence[ReadRequest]) -> tuple[Reading, ...]:
        readings = self._bench.readings(requests)
        if readings is None:
            raise LinkDown("cut")
        return tuple(
            Reading(request=each.request, error_code="illegal_address")
            if each.request.address == self.refuses
            else each
            for each in readings
        )

    def _refused(self, reading: Reading) -> Reading:
        return Reading(request=reading.request, error_code="illegal_address")

    async def carry_out(self, orders: Orders) -> Outcomes:
        return self._bench.carry_out(orders)

    def close(self) -> None:
        """Nothing is open."""


class ByHand:
    """`seconds` lets time pass; `talking` says what becomes of each second's call to Enexa, None = there is none."""

    def __init__(self, directory: Path, rig: Rig | None = None) -> None:
        self.bench = Bench(rig or Rig(soc_pct=60.0))
        self.clock = ManualClock(self.bench.now.at)
        self.database = Database(directory / "amperio.db")
        self.locks = Locks(directory / "locks")
        self.link = Link(self.bench)
        self.lane = SiteLane(
            SITE,
            self.clock,
            self.link,  # type: ignore[arg-type]  # what a lane needs of a link, and no socket
            self.database,
            self.locks,
            stream_epoch="by-hand",
            keepsake=None,
            entries=(),
            cursor=Cursor(),
        )
        lanes = Lanes([self.lane])
        self.doctor = Doctor(
            lanes, self.database, self.clock, of_process=lambda: disk_checks(self.database, STORE_MAX_BYTES)
        )
        self.talking: bool | None = True
        self.running = True
        self.let_go: Callable[[], object] = lambda: None
        """Ends whatever a test holds up."""

    async def seconds(self, count: int) -> None:
        for _ in range(count):
            self.bench.rig.run(1)
            self.clock.advance(1.0)
            if self.talking is not None:
                self.lane.exchanged(self.talking)
                if self.talking:
                    self.lane.courier.succeeded()
                else:
                    self.lane.courier.failed(self.clock.now(), jitter=0.0)
            if self.running:
                await self.lane.cycle()

    async def online(self) -> None:
        self.lane.take_config(self.bench.config)
        for _ in range(20):
            if self.lane.agent.wants_plan:
                self.lane.take_schedule(a_schedule(self.clock.now(), -10.0, -10.0, -10.0, -10.0))
            await self.seconds(1)
            if self.lane.agent.mode is Mode.ONLINE:
                return
        raise AssertionError(f"still {self.lane.agent.mode}")

    def health(self) -> Health:
        return self.doctor.health(self.clock.now())

    def ailing(self) -> set[str]:
        """What health calls not ok, without the site's name."""
        return {each.name.removeprefix(f"{SITE}.") for each in self.health().checks if not each.ok}


@contextlib.asynccontextmanager
async def by_hand(directory: Path, rig: Rig | None = None) -> AsyncIterator[ByHand]:
    stage = ByHand(directory, rig)
    try:
        yield stage
    finally:
        stage.let_go()
        stage.database.close()
