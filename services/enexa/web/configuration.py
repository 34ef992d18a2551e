"""Configuration pages: look at what is in force, change it as a new version, see what the middleware said of each."""

from typing import Any

from litestar import get, post
from litestar.params import FromPath
from litestar.response import Response
from litestar.types import ControllerRouterHandler

from services.enexa.registry.configs import changes
from services.enexa.web.config_form import parts_of, read, shown, typed
from services.enexa.web.guard import Asked, check_token, format_of, redirect, require
from services.enexa.web.shell import Shell
from shared.contract.config import SiteConfig
from shared.errors import LostUpdate, NotFound, Refused

PAGES = {
    "location": ("Location Setup", "What stands at this site and what it may do."),
    "financials": ("Financials", "What energy costs here, what it earns, and what the battery pays for its use."),
    "planner": ("SmartEMS Config", "How far the planner looks ahead and when it plans again."),
}
VERSIONS_SHOWN = 30


def configuration(shell: Shell) -> list[ControllerRouterHandler]:
    """Handlers of `/config/...`."""
    deps = shell.deps

    def config_of(site_id: str, page: str) -> SiteConfig:
        config = deps.board.sites[site_id].config
        if page not in PAGES or config is None:
            raise NotFound("no such page" if config else "this site has no configuration yet")
        return config

    @get("/sites/{site_id:str}/config/versions")
    async def versions_page(request: Asked, site_id: FromPath[str]) -> Response[str]:
        require(request, deps, site_id=site_id)
        found = await deps.store.master.config_versions(site_id, limit=VERSIONS_SHOWN)
        before = {each.version: each for each in found}
        told = [(each, changes(before[each.version - 1], each) if each.version - 1 in before else ()) for each in found]
        acks = await deps.store.master.config_acks(site_id)
        return shell.page(
            request, "versions.html", key="versions", site_id=site_id, versions=told, acks=_newest_by_version(acks)
        )

    @get("/sites/{site_id:str}/config/{page:str}", sync_to_thread=False)
    def form_page(request: Asked, site_id: FromPath[str], page: FromPath[str]) -> Response[str]:
        require(request, deps, site_id=site_id)
        config, form = config_of(site_id, page), format_of(request)
        parts = [(part.title, shown(part, config, form)) for part in parts_of(page, config)]
        return draw(request, site_id, page, config, parts, saved="saved" in request.query_params)

    @post("/sites/{site_id:str}/config/{page:str}", status_code=200)
    async def save(request: Asked, site_id: FromPath[str], page: FromPath[str]) -> Response[Any]:
        session = require(request, deps, site_id=site_id, operator=True)
        config, form = config_of(site_id, page), format_of(request)
        sent = {name: str(value) for name, value in (await request.form()).items()}
        check_token(request, session, sent.get("csrf", ""))
        fields = parts_of(page, config)
        document, problems = read(fields, config, form, sent)
        general = ""
        if document is not None:
            try:
                await deps.desk.save_config(site_id, document, _version(sent.get("version", "")), session.client_id)
            except LostUpdate:
                general = "Somebody saved another version meanwhile. Yours is kept below; save again to replace it."
            except Refused as error:
                problems = {str(error.facts.get("field", "")): error.sentence}
            else:
                return redirect(f"/sites/{site_id}/config/{page}?saved=1")
        parts = [(part.title, typed(part, config, form, sent, problems)) for part in fields]
        return draw(request, site_id, page, config, parts, problems=problems, general=general, status=422)

    def draw(
        request: Asked,
        site_id: str,
        page: str,
        config: SiteConfig,
        parts: list[tuple[str, Any]],
        *,
        problems: dict[str, str] | None = None,
        general: str = "",
        saved: bool = False,
        status: int = 200,
    ) -> Response[str]:
        title, lead = PAGES[page]
        return shell.page(
            request,
            "config.html",
            key=page,
            site_id=site_id,
            status=status,
            title=title,
            lead=lead,
            page=page,
            config=config,
            applied=deps.board.sites[site_id].applied_config_version,
            parts=parts,
            problems=problems or {},
            general=general,
            saved=saved,
        )

    return [versions_page, form_page, save]


def _newest_by_version(acks: list[Any]) -> dict[int, Any]:
    """The middleware's last word on each version; `acks` come newest first."""
    words: dict[int, Any] = {}
    for ack in acks:
        words.setdefault(ack.version, ack)
    return words


def _version(text: str) -> int:
    """The version that the form was made from; 0, which replaces nothing, where it does not say."""
    return int(text) if text.isdigit() and len(text) < 10 else 0
