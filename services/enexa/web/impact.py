"""Impact Dashboard: a local day of a site, settled from what was measured, with its coverage; and as CSV."""

import csv
from datetime import date, timedelta
from io import StringIO

from litestar import get
from litestar.params import FromPath
from litestar.response import Response
from litestar.types import ControllerRouterHandler

from services.enexa.insight.impact import ImpactView, impact
from services.enexa.planning_request import tariff_of
from services.enexa.web.guard import HEADERS, Asked, require
from services.enexa.web.shell import Shell
from shared.energy.slots import day_end, day_start, local_day
from shared.errors import NotFound

MINUTES_OF_A_LONG_DAY = 1500


def impact_pages(shell: Shell) -> list[ControllerRouterHandler]:
    """Handlers of `/impact` and `/impact.csv`."""
    deps = shell.deps

    async def settled(site_id: str, day: date) -> ImpactView:
        board, now = deps.board.sites[site_id], deps.clock.now().at
        if board.prices is None or board.config is None:
            raise NotFound("no prices are known yet")
        start, until = day_start(day), min(day_end(day), now)
        points = await deps.store.telemetry.points(site_id, start, until, resolution_s=60, limit=MINUTES_OF_A_LONG_DAY)
        return impact(points, board.prices, tariff_of(board.config), start=start, until=max(until, start))

    def day_of(request: Asked) -> date:
        try:
            return date.fromisoformat(request.query_params.get("day", ""))
        except ValueError:
            return local_day(deps.clock.now().at)

    @get("/sites/{site_id:str}/impact")
    async def impact_page(request: Asked, site_id: FromPath[str]) -> Response[str]:
        require(request, deps, site_id=site_id)
        day = day_of(request)
        view = await settled(site_id, day)
        return shell.page(
            request,
            "impact.html",
            key="impact",
            site_id=site_id,
            view=view,
            day=day,
            before=day - timedelta(days=1),
            after=day + timedelta(days=1) if day < local_day(deps.clock.now().at) else None,
        )

    @get("/sites/{site_id:str}/impact.csv")
    async def impact_csv(request: Asked, site_id: FromPath[str]) -> Response[bytes]:
        require(request, deps, site_id=site_id)
        day = day_of(request)
        headers = {**HEADERS, "Content-Disposition": f'attachment; filename="impact_{site_id}_{day.isoformat()}.csv"'}
        return Response(to_csv(await settled(site_id, day)).encode(), headers=headers, media_type="text/csv")

    return [impact_page, impact_csv]


COLUMNS = ("import_kwh", "export_kwh", "pv_kwh", "ev_kwh", "own_kwh", "charged_kwh", "discharged_kwh")
MONEY = ("flat_cents", "dynamic_cents", "export_cents", "wear_cents", "net_saving_cents", "timing_value_cents")


def to_csv(view: ImpactView) -> str:
    """A line per settled quarter hour: energies in kWh, money in whole cents; the cents add up to the page's totals."""
    out = StringIO()
    writer = csv.writer(out)
    writer.writerow(["start", "price_eur_per_mwh", *COLUMNS, *MONEY])
    for energy, money in zip(view.energies, view.settlement.slots, strict=True):
        writer.writerow(
            [
                energy.start.isoformat(),
                energy.price_eur_per_mwh,
                *(f"{getattr(energy, name):.6f}" for name in COLUMNS),
                *(getattr(money, name) for name in MONEY),
            ]
        )
    return out.getvalue()
