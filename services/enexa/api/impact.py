"""What a period came to: measured energies, settled against the flat tariff, with what was not measured left out."""

from datetime import datetime, timedelta
from typing import Any

from services.enexa.insight.impact import impact
from services.enexa.judging import Judge, Judgement, known_until, stretch
from services.enexa.planning_request import tariff_of
from services.enexa.platform import Platform
from shared.contract.config import EnergyBook
from shared.contract.events import EventKind
from shared.contract.operations import GET_IMPACT
from shared.contract.reads import Impact
from shared.energy.slots import day_start, local_day, slot_start
from shared.errors import OutOfBounds
from shared.rest.gate import Call, Route, serves

PERIOD_MAX = timedelta(days=31)
JUDGED_MAX = timedelta(hours=25)
"""Bounds are those of a local day at most: nobody carries energy further, and the engine takes seconds for it."""
MINUTES_MAX = 31 * 25 * 60


def routes(platform: Platform, judge: Judge) -> list[Route]:
    @serves(GET_IMPACT)
    async def get_impact(call: Call[None]) -> Impact:
        site_id, query = call.path["site_id"], call.query
        platform.site(site_id)
        until = min(query.to or call.now.at, call.now.at)
        start: datetime = query.from_ or day_start(local_day(until))
        if start >= until:
            raise OutOfBounds("the period ends before it begins", field="from")
        if until - start > PERIOD_MAX:
            raise OutOfBounds("a period has at most 31 days", field="from")
        points = await platform.store.telemetry.points(site_id, start, until, resolution_s=60, limit=MINUTES_MAX)
        config, prices = platform.config(site_id), platform.prices.between(start, until)
        view = impact(points, prices, tariff_of(config), start=start, until=until)
        known = min(until, known_until(platform.board.site(site_id), call.now.at))
        if slot_start(start) != start or until - start > JUDGED_MAX:
            judged = Judgement(problem="Bounds are those of a day at most that begins on a quarter hour.")
        else:
            judged = judge.ask(site_id, stretch(points, prices, config, start=start, until=known))
        sessions = await platform.store.journal.count_events(site_id, [EventKind.SESSION_ENDED], start, until)
        return Impact(
            site_id=site_id,
            from_=start,
            to=until,
            coverage_pct=round(view.coverage_pct, 3),
            energy=EnergyBook(
                import_kwh=view.total("import_kwh"),
                export_kwh=view.total("export_kwh"),
                ev_kwh=view.total("ev_kwh"),
                pv_kwh=view.total("pv_kwh"),
                aux_kwh=view.total("own_kwh"),
                charged_kwh=view.total("charged_kwh"),
                discharged_kwh=view.total("discharged_kwh"),
            ),
            cost_eur=round(view.settlement.dynamic_eur - view.settlement.export_eur, 2),
            flat_tariff_cost_eur=view.settlement.flat_eur,
            wear_eur=view.settlement.wear_eur,
            **_bounds(judged),
            peak_15min_kw=view.peak_15min_kw or 0.0,
            sessions=sessions,
        )

    return [get_impact]


def _bounds(judged: Judgement) -> dict[str, Any]:
    """The fields of the bounds; those of an earlier end are not shown as those of this one."""
    found = judged.bounds
    if found is None or judged.renewing:
        return {"bounds_note": judged.problem or "The bounds are being computed: ask again in a few seconds."}
    return {
        "reactive_cost_eur": round(found.reactive_eur, 2),
        "actual_cost_eur": round(found.actual_eur, 2),
        "perfect_cost_eur": round(found.perfect_eur, 2),
        "uplift_captured_pct": None if found.captured_pct is None else round(found.captured_pct, 1),
        "bounds_until": found.until,
    }
