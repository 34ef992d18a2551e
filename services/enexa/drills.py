"""Drills as they run: make the failure, look once a second, keep the verdict."""

from datetime import timedelta

import structlog

from services.enexa.cable import Cable
from services.enexa.insight.drills import BY_KEY, DrillRun, DrillView, ModeTold, Outcome, Seen
from services.enexa.platform import Platform
from services.enexa.side_door import SideDoor
from shared.contract.events import EventKind
from shared.errors import Conflict, NotFound
from shared.moment import Moment

LOOK_EVERY_S = 1.0
LOOK_EVERY_REAL_S = 0.1
EVENTS_READ = 100
EARLIER = timedelta(seconds=5)

log = structlog.get_logger()


class Drills:
    """All drills of all sites; the newest run of each is kept. Without an emulator nothing can be made to fail."""

    def __init__(self, platform: Platform, cable: Cable, side_door: SideDoor | None) -> None:
        self._platform = platform
        self._cable = cable
        self._side_door = side_door
        self._runs: dict[tuple[str, str], DrillRun] = {}

    @property
    def possible(self) -> bool:
        return self._side_door is not None

    def views(self, site_id: str) -> dict[str, DrillView]:
        """The newest run of each drill at a site, by its key."""
        return {key: run.view() for (site, key), run in self._runs.items() if site == site_id}

    async def begin(self, site_id: str, key: str, by: str) -> None:
        """Make a failure; NotFound for an unknown one, Conflict where it runs already, PeerDown without emulator."""
        drill = BY_KEY.get(key)
        if drill is None:
            raise NotFound("no such drill")
        if self._side_door is None:
            raise Conflict("drills need an emulated station (ENEXA_EMULATOR_URL)")
        running = self._runs.get((site_id, key))
        if running is not None and not running.is_finished:
            raise Conflict("this drill is running already")
        if drill.fault is not None:
            await self._side_door.begin_fault(drill.fault.name, for_s=drill.for_s, options=drill.fault.options)
        self._cable.cut(drill.cuts, drill.for_s)
        self._runs[site_id, key] = DrillRun(drill, self._platform.clock.now(), by)
        log.info("drill_begun", site_id=site_id, drill=key, by=by)

    async def judging(self) -> None:
        """Once a clock second, while anything runs; a loop of the application."""
        while True:
            for (site_id, key), run in self._running():
                run.tick(await self._seen(site_id, run))
                verdict = run.view().verdict
                if verdict is not Outcome.WAITING:
                    log.info("drill_judged", site_id=site_id, drill=key, verdict=verdict.value)
            # No faster than the pages look, however fast the clock runs.
            await self._platform.clock.sleep(max(LOOK_EVERY_S, LOOK_EVERY_REAL_S * self._platform.clock.speed))

    def _running(self) -> list[tuple[tuple[str, str], DrillRun]]:
        return [(key, run) for key, run in self._runs.items() if not run.is_finished]

    async def _seen(self, site_id: str, run: DrillRun) -> Seen:
        platform = self._platform
        now: Moment = platform.clock.now()
        board = platform.board.site(site_id)
        sample = board.latest.sample if board.latest is not None else None
        events = await platform.store.journal.events(
            site_id, limit=EVENTS_READ, start=run.view().began_at - EARLIER, kinds=(EventKind.MODE_CHANGED.value,)
        )
        reconciled = board.reconciliation
        buffer = board.status.buffer if board.status is not None else None
        return Seen(
            now=now,
            fallback_after_s=platform.config(site_id).safety.fallback_after_s,
            reachable=platform.board.middleware.reachable,
            mode=sample.station.mode if sample is not None else None,
            sample_age_s=(now.at - sample.timestamp).total_seconds() if sample is not None else None,
            external_control=sample.station.external_control if sample is not None else None,
            open_alerts=frozenset(alert.code for alert in platform.board.open_alerts(site_id)),
            missing_count=platform.store.telemetry.missing(site_id),
            buffered_count=buffer.samples if buffer is not None else 0,
            modes_told=tuple(ModeTold(at=each.timestamp, mode=str(each.facts.get("mode"))) for each in events),
            reconciled_from=reconciled.started_at if reconciled is not None else None,
            steps_done=frozenset(each.name for each in reconciled.steps if each.state == "done")
            if reconciled is not None
            else frozenset(),
        )
