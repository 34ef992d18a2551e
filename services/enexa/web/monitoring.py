"""Site Monitoring: the live page, its stream and its charts."""

from datetime import UTC, datetime, timedelta

import msgspec
from litestar import get
from litestar.params import FromPath, FromQuery
from litestar.response import Response, Stream
from litestar.types import ControllerRouterHandler

from services.enexa.insight import charts
from services.enexa.insight.dispatch_log import rows
from services.enexa.web.guard import HEADERS, Asked, format_of, require
from services.enexa.web.shell import Shell
from shared.errors import RateLimited

EVER = datetime(2000, 1, 1, tzinfo=UTC)
SHORTEST_PAST = timedelta(minutes=10)
HOURS_BACK_MAX = 168.0
HOURS_AHEAD_MAX = 48.0
QUARTERS_ABOVE_H = 72.0


def monitoring(shell: Shell) -> list[ControllerRouterHandler]:
    """The page, `/live` and `/chart`."""
    deps = shell.deps

    @get("/sites/{site_id:str}/monitoring", sync_to_thread=False)
    def live_page(request: Asked, site_id: FromPath[str]) -> Response[str]:
        require(request, deps, site_id=site_id)
        view, encoded = shell.live.current(site_id)
        log = rows(tuple(deps.board.sites[site_id].dispatch_log(12)))
        return shell.page(
            request,
            "monitoring.html",
            key="monitoring",
            site_id=site_id,
            frame=view,
            frame_json=encoded.decode(),
            rows=log,
        )

    @get("/sites/{site_id:str}/live", sync_to_thread=False)
    def stream(request: Asked, site_id: FromPath[str]) -> Stream:
        require(request, deps, site_id=site_id)
        if not shell.live.has_room():
            raise RateLimited("too many people are watching", retry_after_s=10.0)
        headers = {**HEADERS, "X-Accel-Buffering": "no"}
        return Stream(shell.live.events(site_id, format_of(request)), headers=headers, media_type="text/event-stream")

    async def shown_from(site_id: str, now: datetime, back_h: float) -> datetime:
        """Where the past begins: as far back as was asked for, but not before the site's first sample."""
        start = now - timedelta(hours=min(max(back_h, 0.1), HOURS_BACK_MAX))
        first = await deps.store.telemetry.points(site_id, EVER, now, resolution_s=60, limit=1)
        if not first:
            return start
        return min(max(start, first[0].at), now - SHORTEST_PAST)

    @get("/sites/{site_id:str}/chart")
    async def chart(
        request: Asked, site_id: FromPath[str], back_h: FromQuery[float] = 6.0, ahead_h: FromQuery[float] = 18.0
    ) -> Response[bytes]:
        require(request, deps, site_id=site_id)
        board, now = deps.board.sites[site_id], deps.clock.now().at
        start = await shown_from(site_id, now, back_h)
        until = now + timedelta(hours=min(max(ahead_h, 0.0), HOURS_AHEAD_MAX))
        step_s = 60 if back_h <= QUARTERS_ABOVE_H else 900
        points = await deps.store.telemetry.points(site_id, start, now, resolution_s=step_s)
        declared = await deps.store.telemetry.declared_gaps(site_id, start, now)
        plans = [made.schedule for made in (*board.past_plans, *((board.plan,) if board.plan else ()))]
        before = board.past_plans[-1].schedule if board.past_plans else None
        config = board.config
        answer = charts.Chart(
            site_id=site_id,
            from_s=int(start.timestamp()),
            until_s=int(until.timestamp()),
            now_s=int(now.timestamp()),
            measured=charts.measured(points, declared, start=start, until=now, step_s=float(step_s)),
            planned=charts.planned(plans, start, until),
            ghost=charts.ghost(before, now, until),
            reserve_pct=config.battery.soc_reserve_pct if config else None,
            soc_max_pct=config.battery.soc_max_pct if config else None,
            import_limit_kw=config.grid.import_limit_kw if config else None,
        )
        return Response(msgspec.json.encode(answer), headers=HEADERS, media_type="application/json")

    return [live_page, stream, chart]
