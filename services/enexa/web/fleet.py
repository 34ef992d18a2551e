"""Fleet overview: every site that a person may see, one line each; and the chapter of a story, on every page."""

from typing import Any

from litestar import get
from litestar.response import Response
from litestar.types import ControllerRouterHandler

from services.enexa.web.guard import Asked, require
from services.enexa.web.session import Session
from services.enexa.web.shell import Shell


def fleet(shell: Shell) -> list[ControllerRouterHandler]:
    """Handlers of `/fleet` and `/story`."""
    deps = shell.deps

    def told(session: Session) -> dict[str, Any]:
        frames = [shell.live.current(site_id)[0] for site_id, _ in shell.sites(session)]
        powers = [each.battery_kw for each in frames if each.battery_kw is not None]
        imports = [flow.power_kw for each in frames for flow in each.flows if flow.node == "grid"]
        return {
            "frames": frames,
            "battery_kw": sum(powers),
            "grid_kw": sum(power for power in imports if power is not None),
            "ev_kw": sum(each.ev_kw or 0.0 for each in frames),
            "alerts_count": len([each for each in deps.board.open_alerts() if _seen(each.site_id, session)]),
        }

    @get("/fleet", sync_to_thread=False)
    def page(request: Asked) -> Response[str]:
        return shell.page(request, "fleet.html", key="fleet", **told(require(request, deps)))

    @get("/fleet/rows", sync_to_thread=False)
    def rows(request: Asked) -> Response[str]:
        return shell.part(request, "fleet_rows.html", **told(require(request, deps)))

    @get("/story", sync_to_thread=False)
    def story(request: Asked) -> Response[str]:
        require(request, deps)
        return shell.part(request, "telling.html", telling=shell.telling())

    return [page, rows, story]


def _seen(site_id: str | None, session: Session) -> bool:
    return site_id is None or session.may_see(site_id)
