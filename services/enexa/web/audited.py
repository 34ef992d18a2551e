"""Every change that a page asks for is a line of the audit log, also where it was refused."""

import secrets
from collections.abc import Callable

from litestar import Request
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from services.enexa.web.deps import Deps
from services.enexa.web.guard import Asked, session_of
from shared.clock import real_now_s
from shared.errors import SiteError
from shared.rest.audit import AuditLine

READS = frozenset({"GET", "HEAD", "OPTIONS"})
ACTION_MAX_CHARS = 120


def audited(deps: Deps) -> Callable[[ASGIApp], ASGIApp]:
    """Wraps an app so that each change has a durable line before its answer leaves."""

    def wrap(app: ASGIApp) -> ASGIApp:
        async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
            request: Asked = Request(scope)
            if request.method in READS:
                await app(scope, receive, send)
                return
            began_s = real_now_s()
            told: list[int] = []

            async def remember(status: int, outcome: str) -> None:
                told.append(status)
                await deps.store.audit.append(_line(deps, request, status, outcome, real_now_s() - began_s))

            async def send_on(message: Message) -> None:
                if message["type"] == "http.response.start":
                    await remember(message["status"], "ok" if message["status"] < 400 else "refused")
                await send(message)

            try:
                await app(scope, receive, send_on)
            except SiteError as error:
                if not told:
                    await remember(error.http_status, error.code)
                raise

        return wrapped

    return wrap


def _line(deps: Deps, request: Asked, status: int, outcome: str, took_s: float) -> AuditLine:
    session = session_of(request, deps)
    return AuditLine(
        at=deps.clock.now().at,
        source=request.client.host if request.client else "-",
        principal=session.client_id if session else "-",
        action=f"page {request.method} {request.url.path}"[:ACTION_MAX_CHARS],
        outcome=outcome,
        status=status,
        latency_ms=round(took_s * 1000.0, 3),
        request_id=secrets.token_hex(8),
    )
