"""What every page shares: the frame around it, with navigation, site, role, clock and the reader's choices."""

from typing import Any

from litestar.response import Response

from services.enexa.story import Telling
from services.enexa.web import navigation
from services.enexa.web.assets import Assets
from services.enexa.web.deps import Deps
from services.enexa.web.documents import not_modelled_path
from services.enexa.web.guard import HEADERS, Asked, format_of, session_of, theme_of
from services.enexa.web.live import Live
from services.enexa.web.render import Renderer
from services.enexa.web.session import Session


class Shell:
    """Renders a page for a request; made once."""

    def __init__(self, deps: Deps) -> None:
        self.deps = deps
        self.assets = Assets()
        self.renderer = Renderer(self.assets)
        self.live = Live(deps, self.renderer)

    def page(
        self,
        request: Asked,
        template: str,
        *,
        key: str = "",
        site_id: str | None = None,
        status: int = 200,
        **context: Any,
    ) -> Response[str]:
        """A whole page; `key` names its entry in the navigation."""
        session = session_of(request, self.deps)
        html = self.renderer.render(
            template,
            format_of(request),
            theme=theme_of(request),
            session=session,
            nav=navigation.existing(operator=session.is_operator, without=self._absent()) if session else (),
            active=key,
            site_id=site_id or self.first_site(session),
            sites=self.sites(session),
            now=self.deps.clock.now().at,
            speed=self.deps.clock.speed,
            telling=self.telling() if session else None,
            **context,
        )
        return Response(html, status_code=status, media_type="text/html", headers=HEADERS)

    def telling(self) -> Telling | None:
        """The chapter of a story that is being told."""
        return self.deps.story.telling() if self.deps.story is not None else None

    def part(self, request: Asked, template: str, **context: Any) -> Response[str]:
        """A piece of a page, for a script that renews it in place."""
        html = self.renderer.render(template, format_of(request), **context)
        return Response(html, media_type="text/html", headers=HEADERS)

    def _absent(self) -> frozenset[str]:
        return frozenset() if not_modelled_path().is_file() else frozenset({"not_modelled"})

    def sites(self, session: Session | None) -> list[tuple[str, str]]:
        """Id and name of the sites that this person may see."""
        if session is None:
            return []
        seen = sorted(site_id for site_id in self.deps.board.sites if session.may_see(site_id))
        return [(site_id, self.deps.names.get(site_id, site_id)) for site_id in seen]

    def first_site(self, session: Session | None) -> str:
        sites = self.sites(session)
        return sites[0][0] if sites else ""
