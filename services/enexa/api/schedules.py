"""The plan in force, and the wish for a new one."""

import structlog

from services.enexa.platform import Platform
from shared.contract.operations import GET_SCHEDULE, REPLAN
from shared.contract.reads import ReplanReply
from shared.contract.schedule import SiteSchedule
from shared.errors import NotFound
from shared.rest.gate import Call, Route, serves

log = structlog.get_logger()


def routes(platform: Platform) -> list[Route]:
    @serves(GET_SCHEDULE)
    async def get_schedule(call: Call[None]) -> SiteSchedule:
        site_id = call.path["site_id"]
        platform.site(site_id)
        schedule = platform.cores[site_id].schedule
        if schedule is None or call.now.at >= schedule.valid_until:
            raise NotFound("there is no plan for this site yet", site_id=site_id)
        return schedule

    @serves(REPLAN)
    async def replan(call: Call[None]) -> ReplanReply:
        assert call.principal is not None
        platform.ask_replan(call.path["site_id"])
        log.info("replan_asked", site_id=call.path["site_id"], author=call.principal.client_id)
        return ReplanReply(accepted=True)

    return [get_schedule, replan]
