"""Coming and going: log in, log out, who am I, and the static files."""

from typing import Any

import msgspec
from litestar import get, post
from litestar.params import FromPath
from litestar.response import Response
from litestar.types import ControllerRouterHandler

from services.enexa.web.guard import (
    HEADERS,
    Asked,
    check_origin,
    check_token,
    redirect,
    require,
    safe_next,
    session_cookie,
    session_of,
    wants_page,
)
from services.enexa.web.shell import Shell
from shared.contract.operations import Budget
from shared.errors import RateLimited, Unauthenticated
from shared.rest.gate import SEEN, Seen
from shared.rest.limits import Limits, Rate

ASSET_LIFE_S = 31_536_000
LOG_IN_RATE = Rate(0.2, 20.0)


def entrance(shell: Shell) -> list[ControllerRouterHandler]:
    """Handlers for `/`, `/login`, `/logout`, `/session` and `/assets`."""
    deps = shell.deps
    limits = Limits({Budget.GENERAL: LOG_IN_RATE})

    @get("/", sync_to_thread=False)
    def home(request: Asked) -> Response[Any]:
        session = require(request, deps)
        site_id = shell.first_site(session)
        if not site_id:
            return shell.page(request, "empty.html")
        return redirect(f"/sites/{site_id}/monitoring")

    @get("/login", sync_to_thread=False)
    def login_form(request: Asked) -> Response[Any]:
        wanted = safe_next(request.query_params.get("next", "/"))
        if session_of(request, deps) is not None:
            return redirect(wanted)
        return shell.page(request, "login.html", wanted=wanted, name="", problem="")

    @post("/login", status_code=200)
    async def log_in(request: Asked) -> Response[Any]:
        check_origin(request)
        form = await request.form()
        name, secret, wanted = (str(form.get(key, "")) for key in ("name", "password", "next"))
        now = deps.clock.now()
        try:
            limits.take(request.client.host if request.client else "-", Budget.GENERAL, now)
            session = deps.door.log_in(name, secret, now.at)
        except (Unauthenticated, RateLimited) as error:
            problem = f"{error.sentence[0].upper()}{error.sentence[1:]}."
            if not wants_page(request):
                return _json({"problem": problem}, status=error.http_status)
            return shell.page(
                request,
                "login.html",
                wanted=safe_next(wanted),
                name=name[:64],
                problem=problem,
                status=error.http_status,
            )
        cookie = session_cookie(request, deps, session)
        seen = request.scope.get(SEEN)
        if isinstance(seen, Seen):
            seen.principal = session.client_id
        if not wants_page(request):
            return Response(b"{}", headers=HEADERS, media_type="application/json", cookies=[cookie])
        return redirect(safe_next(wanted), cookie)

    @post("/logout", status_code=303)
    async def log_out(request: Asked) -> Response[Any]:
        session = require(request, deps)
        form = await request.form()
        check_token(request, session, str(form.get("csrf", "")))
        return redirect("/login", session_cookie(request, deps, None))

    @get("/session", sync_to_thread=False)
    def who(request: Asked) -> Response[bytes]:
        session = require(request, deps)
        return _json({"name": session.client_id, "role": session.scope, "csrf": session.csrf})

    @get("/assets/{version:str}/{name:str}")
    async def asset(request: Asked, version: FromPath[str], name: FromPath[str]) -> Response[bytes]:
        found = await shell.assets.get(name)
        packed = "gzip" in request.headers.get("accept-encoding", "")
        headers = {**HEADERS, "Vary": "Accept-Encoding"}
        if shell.assets.url(name) == f"/assets/{version}/{name}":
            headers["Cache-Control"] = f"public, max-age={ASSET_LIFE_S}, immutable"
        if packed:
            headers["Content-Encoding"] = "gzip"
        return Response(found.gzipped if packed else found.body, headers=headers, media_type=found.media)

    @get("/favicon.ico", sync_to_thread=False)
    def favicon() -> Response[bytes]:
        return Response(b"", status_code=308, headers={**HEADERS, "Location": shell.assets.url("icon.svg")})

    return [home, login_form, log_in, log_out, who, asset, favicon]


def _json(body: object, status: int = 200) -> Response[bytes]:
    return Response(msgspec.json.encode(body), status_code=status, headers=HEADERS, media_type="application/json")
