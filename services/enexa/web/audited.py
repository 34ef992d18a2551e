"""What the audit log says of pages: who asked; and nothing of what a page of somebody logged in fetches by itself."""

from collections.abc import Callable

from litestar import Request
from litestar.types import ASGIApp, Receive, Scope, Send

from services.enexa.web.deps import Deps
from services.enexa.web.guard import Asked, session_of, wants_page
from shared.rest.gate import SEEN, Seen

READS = frozenset({"GET", "HEAD"})
ASSETS = "/assets/"


def audited(deps: Deps) -> Callable[[ASGIApp], ASGIApp]:
    """Wraps an app so that the layer around it knows the person behind a request.

    A page that somebody opens, and every change and refusal, is a line; scripts, styles and parts that renew
    themselves each second are none, for they would bury the others.
    """

    def wrap(app: ASGIApp) -> ASGIApp:
        async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
            request: Asked = Request(scope)
            session = session_of(request, deps)
            seen = scope.get(SEEN)
            if isinstance(seen, Seen):
                seen.principal = session.client_id if session is not None else "-"
                by_itself = request.method in READS and not wants_page(request) and session is not None
                seen.remembered = by_itself or request.url.path.startswith(ASSETS)
            await app(scope, receive, send)

        return wrapped

    return wrap
