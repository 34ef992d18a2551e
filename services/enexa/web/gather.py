"""Gather the facts of a site from the board; the views take it from there."""

from datetime import datetime

from services.enexa.insight.balance import standing_alarm
from services.enexa.insight.facts import IntentFacts, Link, LinkState, SiteFacts
from services.enexa.state import Board, MiddlewareView, SiteBoard
from services.enexa.web.deps import Deps
from shared.contract.reads import LatestTelemetry

LOG_ROWS = 12
BALANCE_SAMPLES = 60


def site_facts(deps: Deps, site_id: str) -> SiteFacts:
    """Everything of one site at this moment; the site must be known."""
    now = deps.clock.now()
    board = deps.board.sites[site_id]
    plan = board.plan.schedule if board.plan else None
    return SiteFacts(
        site_id=site_id,
        name=deps.names.get(site_id, site_id),
        at=now.at,
        speed=deps.clock.speed,
        latest=_latest(board, now.at),
        status=board.status,
        config=board.config,
        schedule=plan,
        commands=tuple(board.dispatch_log(LOG_ROWS)),
        alerts=tuple(deps.board.open_alerts(site_id)),
        intent=_intent(board),
        price_eur_per_mwh=board.prices.price_at(now.at) if board.prices else None,
        applied_config_version=board.applied_config_version,
        middleware=middleware_link(deps.board, now.at),
        balance_alarm=standing_alarm(list(board.recent)[-BALANCE_SAMPLES:]),
    )


def _latest(board: SiteBoard, at: datetime) -> LatestTelemetry | None:
    if board.latest is None:
        return None
    sample = board.latest.sample
    age_s = (at - sample.timestamp).total_seconds()
    return LatestTelemetry(sample=sample, age_s=age_s, received_at=board.latest.received_at)


def _intent(board: SiteBoard) -> IntentFacts | None:
    intent = board.intent
    if intent is None:
        return None
    return IntentFacts(setpoint_kw=intent.setpoint_kw, reason=intent.reason, gate=intent.gate, detail=intent.detail)


def middleware_link(board: Board, at: datetime) -> Link:
    """The way from Enexa to Amperio as the watching loop sees it."""
    seen: MiddlewareView = board.middleware
    age_s = (at - seen.checked_at).total_seconds() if seen.checked_at else None
    if seen.checked_at is None and seen.since is None:
        state, detail = LinkState.UNKNOWN, "not asked yet"
    elif not seen.reachable:
        state, detail = LinkState.DOWN, seen.last_error or "no answer"
    elif seen.health not in (None, "ok"):
        state, detail = LinkState.DEGRADED, f"Amperio says {seen.health}"
    else:
        state, detail = LinkState.UP, "answers"
    return Link(name="enexa_amperio", label="Enexa → Amperio", state=state, detail=detail, age_s=age_s)
