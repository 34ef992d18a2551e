"""The plan in force, slot by slot with its reasons and costs; and a new one when an operator asks for it."""

from typing import Any

from litestar import get, post
from litestar.params import FromPath
from litestar.response import Response
from litestar.types import ControllerRouterHandler

from services.enexa.insight.monitoring import slot_in_force
from services.enexa.web.guard import Asked, check_token, redirect, require
from services.enexa.web.shell import Shell


def plan_page(shell: Shell) -> list[ControllerRouterHandler]:
    """Handlers of `/plan` and `/replan`."""
    deps = shell.deps

    @get("/sites/{site_id:str}/plan", sync_to_thread=False)
    def plan_view(request: Asked, site_id: FromPath[str]) -> Response[str]:
        require(request, deps, site_id=site_id)
        board, now = deps.board.sites[site_id], deps.clock.now().at
        made = board.plan
        in_force = slot_in_force(made.schedule, now) if made else None
        explanations = made.plan.explanations if made and made.plan else ()
        slots = made.schedule.slots if made else ()
        rest = ("",) * (len(slots) - len(explanations))
        return shell.page(
            request,
            "plan.html",
            key="plan",
            site_id=site_id,
            made=made,
            slots=list(zip(slots, (*explanations, *rest), strict=False)),
            slot_now=in_force[0] if in_force else None,
            asked="asked" in request.query_params,
        )

    @post("/sites/{site_id:str}/replan", status_code=303)
    async def replan(request: Asked, site_id: FromPath[str]) -> Response[Any]:
        session = require(request, deps, site_id=site_id, operator=True)
        form = await request.form()
        check_token(request, session, str(form.get("csrf", "")))
        await deps.desk.replan(site_id, session.client_id)
        return redirect(f"/sites/{site_id}/plan?asked=1")

    return [plan_view, replan]
