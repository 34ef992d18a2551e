"""Master data: sites, equipment and controllers."""

from services.enexa.platform import Platform
from services.enexa.registry.assets import controller_view, site_assets, specs
from shared.contract.operations import GET_ASSETS, GET_CONTROLLER, GET_SPECS, LIST_SITES
from shared.contract.registry import Controller, EquipmentSpecs, SiteAssets, SitePage, SiteSummary
from shared.errors import UnknownController
from shared.rest.gate import Call, Route, serves


def routes(platform: Platform) -> list[Route]:
    @serves(LIST_SITES)
    async def list_sites(call: Call[None]) -> SitePage:
        assert call.principal is not None
        seen = sorted(site_id for site_id in platform.sites if call.principal.may_see(site_id))
        after = [site_id for site_id in seen if call.query.cursor is None or site_id > call.query.cursor]
        shown = after[: call.query.limit]
        return SitePage(
            sites=tuple(
                SiteSummary(
                    id=site_id,
                    name=platform.sites[site_id].name,
                    online=platform.board.site(site_id).online(call.now),
                    timezone=platform.sites[site_id].timezone,
                )
                for site_id in shown
            ),
            cursor=shown[-1] if len(after) > len(shown) else None,
        )

    @serves(GET_ASSETS)
    async def get_assets(call: Call[None]) -> SiteAssets:
        site_id = call.path["site_id"]
        platform.site(site_id)
        return site_assets([each for each in platform.assets if each.site_id == site_id])

    @serves(GET_CONTROLLER)
    async def get_controller(call: Call[None]) -> Controller:
        assert call.principal is not None
        record = platform.controller(call.path["controller_id"])
        if not call.principal.may_see(record.site_id):
            raise UnknownController("no such controller")
        return controller_view(record, [each for each in platform.assets if each.site_id == record.site_id])

    @serves(GET_SPECS)
    async def get_specs(call: Call[None]) -> EquipmentSpecs:
        assert call.principal is not None
        visible = [each for each in platform.assets if call.principal.may_see(each.site_id)]
        return specs(visible, call.path["type"], call.path["id"])

    return [list_sites, get_assets, get_controller, get_specs]
