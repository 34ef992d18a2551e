"""The rules of every page: security headers, who may come in, and that a change was meant by whoever is logged in."""

import hmac
from typing import Any
from urllib.parse import quote, urlsplit

from litestar import Request
from litestar.datastructures import Cookie
from litestar.response import Response

from services.enexa.web.deps import Deps
from services.enexa.web.formats import Format, chosen_format
from services.enexa.web.session import SESSION_LIFE_S, Session
from shared.errors import Forbidden, Unauthenticated, UnknownSite

Asked = Request[Any, Any, Any]

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
FORMAT_COOKIE = "enexa_format"
THEME_COOKIE = "enexa_theme"
THEMES = ("light", "dark")


def cookie_name(request: Asked) -> str:
    """Cookies do not know ports: the plain loopback port and the TLS port must not overwrite each other's."""
    return "__Host-enexa" if request.url.scheme == "https" else "enexa_local"


def session_cookie(request: Asked, deps: Deps, session: Session | None) -> Cookie:
    """The session as a cookie that no script reads and no other site sends; None removes it."""
    return Cookie(
        key=cookie_name(request),
        value=deps.door.seal(session) if session else "",
        max_age=int(SESSION_LIFE_S) if session else 0,
        path="/",
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )


def session_of(request: Asked, deps: Deps) -> Session | None:
    return deps.door.open(request.cookies.get(cookie_name(request), ""), deps.clock.now().at)


def require(request: Asked, deps: Deps, *, site_id: str | None = None, operator: bool = False) -> Session:
    """The session; Unauthenticated, UnknownSite (not there, or not theirs), or Forbidden for a viewer."""
    session = session_of(request, deps)
    if session is None:
        raise Unauthenticated("please log in")
    if site_id is not None and (site_id not in deps.board.sites or not session.may_see(site_id)):
        raise UnknownSite("no such site", site_id=site_id[:64])
    if operator and not session.is_operator:
        raise Forbidden("this needs the role operator")
    return session


def check_origin(request: Asked) -> None:
    """Forbidden where another site's page sent this request; browsers say so themselves."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise Forbidden("this form came from another site")
    origin = request.headers.get("origin")
    if origin is not None and origin != "null" and urlsplit(origin).netloc != request.headers.get("host"):
        raise Forbidden("this form came from another site")


def check_token(request: Asked, session: Session, given: str) -> None:
    """The session's own token must come back with a change."""
    check_origin(request)
    if not hmac.compare_digest(given.encode(), session.csrf.encode()):
        raise Forbidden("this form is out of date; reload the page and try again")


def format_of(request: Asked) -> Format:
    return chosen_format(request.cookies.get(FORMAT_COOKIE), request.headers.get("accept-language", ""))


def theme_of(request: Asked) -> str:
    theme = request.cookies.get(THEME_COOKIE, "")
    return theme if theme in THEMES else "auto"


def wants_page(request: Asked) -> bool:
    return "text/html" in request.headers.get("accept", "")


def to_login(request: Asked) -> Response[bytes]:
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return redirect(f"/login?next={quote(path, safe='/')}")


def safe_next(wanted: str) -> str:
    """Where to go after the log-in: a path of ours, nothing else."""
    if not wanted.startswith("/") or wanted.startswith(("//", "/\\")) or len(wanted) > 500:
        return "/"
    return wanted if wanted.isprintable() else "/"


def redirect(path: str, *cookies: Cookie) -> Response[bytes]:
    return Response(
        b"", status_code=303, headers={**HEADERS, "Location": path}, media_type="text/plain", cookies=list(cookies)
    )
