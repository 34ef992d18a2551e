"""Exception Handling: each failure of the customer's page, a button that makes it, and the verdict as it is judged."""

from typing import Any

from litestar import get, post
from litestar.params import FromPath
from litestar.response import Response
from litestar.types import ControllerRouterHandler

from services.enexa.insight.drills import DRILLS
from services.enexa.web.guard import Asked, check_token, redirect, require
from services.enexa.web.shell import Shell
from shared.errors import NotFound


def exceptions(shell: Shell) -> list[ControllerRouterHandler]:
    """Handlers of `/exceptions` and `/drills`."""
    deps = shell.deps

    def told(site_id: str) -> dict[str, Any]:
        view, _ = shell.live.current(site_id)
        return {
            "frame": view,
            "reconciliation": deps.board.sites[site_id].reconciliation,
            "views": deps.drills.views(site_id) if deps.drills is not None else {},
        }

    @get("/sites/{site_id:str}/exceptions", sync_to_thread=False)
    def page(request: Asked, site_id: FromPath[str]) -> Response[str]:
        require(request, deps, site_id=site_id)
        return shell.page(
            request,
            "exceptions.html",
            key="exceptions",
            site_id=site_id,
            drills=DRILLS,
            possible=deps.drills is not None and deps.drills.possible,
            **told(site_id),
        )

    @get("/sites/{site_id:str}/drills/{part:str}", sync_to_thread=False)
    def part_of_page(request: Asked, site_id: FromPath[str], part: FromPath[str]) -> Response[str]:
        require(request, deps, site_id=site_id)
        drill = next((each for each in DRILLS if each.key == part), None)
        if drill is None and part != "reconnection":
            raise NotFound("no such part")
        template = "reconnection.html" if drill is None else "drill.html"
        return shell.part(request, template, drill=drill, **told(site_id))

    @post("/sites/{site_id:str}/drills/{key:str}", status_code=303)
    async def begin(request: Asked, site_id: FromPath[str], key: FromPath[str]) -> Response[Any]:
        session = require(request, deps, site_id=site_id, operator=True)
        form = await request.form()
        check_token(request, session, str(form.get("csrf", "")))
        if deps.drills is None:
            raise NotFound("drills are not part of this installation")
        await deps.drills.begin(site_id, key, session.client_id)
        return redirect(f"/sites/{site_id}/exceptions#{key}")

    return [page, part_of_page, begin]
