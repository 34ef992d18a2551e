"""What the middleware reports of a site, and what Enexa says of itself."""

from pathlib import Path
from typing import Literal

from services.enexa.platform import Platform
from shared.contract.events import SiteStatus, StatusAck
from shared.contract.operations import ENEXA_HEALTH, POST_STATUS
from shared.contract.reads import Check, Health
from shared.rest.certificates import certificate_check
from shared.rest.gate import Answer, Call, Route, serves

VERSION = "0.1.0"


def routes(platform: Platform, tls_cert: Path | None) -> list[Route]:
    @serves(POST_STATUS)
    async def post_status(call: Call[SiteStatus]) -> StatusAck:
        """A report older than the newest one is kept as history and changes nothing."""
        platform.site(call.body.site_id)
        await platform.keep_status(call.body, call.now)
        return StatusAck()

    @serves(ENEXA_HEALTH)
    async def health(call: Call[None]) -> Answer:
        """503 only where Enexa itself cannot do its work; a silent middleware is `degraded`."""
        store_ok, store_told = await platform.store_works()
        middleware = platform.board.middleware
        checks = [
            Check(name="loaded", ok=platform.ready),
            Check(name="store", ok=store_ok, detail=store_told),
            Check(name="middleware", ok=middleware.reachable, detail=middleware.last_error or ""),
            *(
                Check(
                    name=f"plan_{site_id}",
                    ok=platform.has_plan(site_id, call.now),
                    detail=platform.why_no_plan(site_id, call.now),
                )
                for site_id in sorted(platform.cores)
            ),
            *(
                Check(name=f"telemetry_{site_id}", ok=platform.board.site(site_id).online(call.now))
                for site_id in sorted(platform.cores)
            ),
            *certificate_check(tls_cert),
        ]
        works = platform.ready and store_ok
        status: Literal["ok", "degraded", "unhealthy"] = "ok" if all(each.ok for each in checks) else "degraded"
        reply = Health(
            status=status if works else "unhealthy",
            service="enexa",
            version=VERSION,
            clock=call.now.at,
            speed=platform.clock.speed,
            checks=tuple(checks),
        )
        return Answer(reply, status=200 if works else 503, headers={"Cache-Control": "no-store"})

    return [post_status, health]
