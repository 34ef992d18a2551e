"""Telemetry as people and tools read it: the newest sample, and series in which gaps are gaps."""

from datetime import datetime, timedelta

from services.enexa.platform import Platform
from services.enexa.store.telemetry import completeness_pct, observed_gaps
from shared.contract.operations import GET_LATEST, GET_SERIES
from shared.contract.reads import LatestTelemetry, Series
from shared.errors import InvalidMessage, NotFound, OutOfBounds
from shared.rest.gate import Call, Route, serves

WINDOW_MAX = timedelta(days=31)
RESOLUTION_S = {"raw": 0, "1m": 60, "15m": 900}


def routes(platform: Platform) -> list[Route]:
    @serves(GET_LATEST)
    async def latest(call: Call[None]) -> LatestTelemetry:
        site_id = call.path["site_id"]
        platform.site(site_id)
        received = platform.board.site(site_id).latest
        if received is None:
            raise NotFound("no sample of this site was received yet", site_id=site_id)
        age_s = (call.now.at - received.sample.timestamp).total_seconds()
        return LatestTelemetry(sample=received.sample, age_s=round(age_s, 3), received_at=received.received_at)

    @serves(GET_SERIES)
    async def series(call: Call[None]) -> Series:
        """A page of the series; `completeness_pct` is of the page's own window."""
        site_id, query = call.path["site_id"], call.query
        platform.site(site_id)
        until = query.to or call.now.at
        start = query.from_ or until - timedelta(hours=1)
        if start >= until:
            raise OutOfBounds("the window ends before it begins", field="from")
        if until - start > WINDOW_MAX:
            raise OutOfBounds("a window has at most 31 days", field="from")
        first = _from_cursor(query.cursor, start)
        resolution_s = RESOLUTION_S[query.resolution]
        telemetry = platform.store.telemetry
        if resolution_s:
            first = _floored(first, resolution_s)
        points = await telemetry.points(site_id, first, until, resolution_s=resolution_s, limit=query.limit + 1)
        more = len(points) > query.limit
        shown = points[: query.limit]
        end = points[query.limit].at if more else min(until, call.now.at)
        period_s = platform.config(site_id).telemetry.period_s
        step = timedelta(seconds=resolution_s or max(period_s, 1.0))
        gaps = await telemetry.declared_gaps(site_id, first, end)
        observed = observed_gaps(shown, first, end, step, "no sample was received")
        return Series(
            site_id=site_id,
            resolution=query.resolution,
            points=tuple(shown),
            gaps=(*gaps, *observed),
            completeness_pct=completeness_pct(shown, first, end, period_s),
            cursor=end.isoformat() if more else None,
        )

    return [latest, series]


def _from_cursor(cursor: str | None, start: datetime) -> datetime:
    if cursor is None:
        return start
    try:
        at = datetime.fromisoformat(cursor.replace(" ", "+"))
    except ValueError as error:
        raise InvalidMessage("unknown cursor", field="cursor") from error
    if at.tzinfo is None:
        raise InvalidMessage("unknown cursor", field="cursor")
    return max(at, start)


def _floored(at: datetime, resolution_s: int) -> datetime:
    seconds = int(at.timestamp())
    return datetime.fromtimestamp(seconds - seconds % resolution_s, at.tzinfo)
