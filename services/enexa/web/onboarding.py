"""Onboarding & Config: a site's master data, its controllers, and a walk through the three onboarding calls."""

import re
from typing import Any

from litestar import get, post
from litestar.params import FromPath
from litestar.response import Response
from litestar.types import ControllerRouterHandler

from services.enexa.walk import STEPS, Walk, Walker
from services.enexa.web.guard import Asked, check_token, require
from services.enexa.web.shell import Shell
from shared.errors import NotFound

SERIAL = re.compile(r"^[A-Za-z0-9_.-]{1,64}$")


def onboarding(shell: Shell) -> list[ControllerRouterHandler]:
    """Handlers of `/onboarding`."""
    deps = shell.deps
    newest: dict[str, Walk] = {}

    async def draw(request: Asked, site_id: str, *, serial: str = "", problem: str = "") -> Response[str]:
        controllers = deps.onboard.controllers.values() if deps.onboard is not None else ()
        assets = [each for each in await deps.store.master.assets() if each.site_id == site_id]
        return shell.page(
            request,
            "onboarding.html",
            key="onboarding",
            site_id=site_id,
            status=422 if problem else 200,
            controllers=[each for each in controllers if each.site_id == site_id],
            assets=assets,
            config=deps.board.sites[site_id].config,
            applied=deps.board.sites[site_id].applied_config_version,
            possible=deps.onboard is not None and deps.onboard.side_door is not None,
            steps=STEPS,
            walk=newest.get(site_id),
            serial=serial,
            problem=problem,
        )

    @get("/sites/{site_id:str}/onboarding")
    async def page(request: Asked, site_id: FromPath[str]) -> Response[str]:
        require(request, deps, site_id=site_id)
        return await draw(request, site_id)

    @post("/sites/{site_id:str}/onboarding", status_code=200)
    async def walk_through(request: Asked, site_id: FromPath[str]) -> Response[Any]:
        session = require(request, deps, site_id=site_id, operator=True)
        form = await request.form()
        check_token(request, session, str(form.get("csrf", "")))
        if deps.onboard is None or deps.onboard.side_door is None:
            raise NotFound("there is no emulated station to walk through with")
        serial = str(form.get("serial", ""))[:80].strip()
        if not SERIAL.match(serial):
            return await draw(
                request, site_id, serial=serial, problem="A serial has 1 to 64 letters, digits, dots, _ and -."
            )
        walker = Walker(
            clock=deps.clock,
            inbox=deps.onboard.inbox,
            own_url=deps.onboard.own_url,
            side_door=deps.onboard.side_door,
        )
        newest[site_id] = await walker.walk(site_id, serial)
        return await draw(request, site_id, serial="" if newest[site_id].arrived else serial)

    return [page, walk_through]
