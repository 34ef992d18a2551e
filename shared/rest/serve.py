"""Serve operations of the REST map: Litestar routes them, the gate checks them.

The hot routes (`Operation.budget` telemetry) are taken in front of Litestar by exact path, because Litestar's own
request path costs five times a bare ASGI call (docs/adr/0001-server.md).
"""

import re
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import structlog
from litestar import Litestar, Request, route
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.response import Response
from litestar.template import TemplateConfig
from litestar.types import ASGIApp, ControllerRouterHandler, Receive, Scope, Send

from shared.contract.operations import Budget, Operation
from shared.contract.wire import Problem, encode
from shared.errors import SiteError
from shared.rest.answers import Raw
from shared.rest.around import around
from shared.rest.background import Background
from shared.rest.gate import (
    CLIENT_GONE,
    PROBLEM_TYPE,
    ClientGone,
    Gate,
    Route,
    bug_raw,
    problem_raw,
    send_at_once,
    send_raw,
)

log = structlog.get_logger()


def application(
    routes: Sequence[Route],
    gate: Gate,
    *,
    background: Sequence[Callable[[], Coroutine[Any, Any, None]]] = (),
    handlers: Sequence[ControllerRouterHandler] = (),
    on_start: Sequence[Callable[[], Awaitable[None]]] = (),
    on_close: Sequence[Callable[[], Awaitable[None]]] = (),
    template_config: TemplateConfig[Any] | None = None,
) -> ASGIApp:
    """The ASGI app of a service: Litestar for all routes and pages, the hot routes taken in front of it.

    `on_start` runs before the background loops, `on_close` after they ended, in the order given.
    """
    loops = Background(background)

    async def start() -> None:
        for each in on_start:
            await each()
        loops.start()

    async def close() -> None:
        await loops.stop()
        for each in on_close:
            await each()

    litestar = Litestar(
        route_handlers=[*(_endpoint(each, gate) for each in routes), *handlers],
        openapi_config=None,
        on_startup=[start],
        on_shutdown=[close],
        template_config=template_config,
        exception_handlers={HTTPException: _http_problem, Exception: _bug_problem},
        logging_config=None,
    )
    served = _with_options(litestar, [each.operation for each in routes])
    hot = {
        (each.operation.method, each.operation.path): each
        for each in routes
        if each.operation.budget is Budget.TELEMETRY and "{" not in each.operation.path
    }

    async def front(scope: Scope, receive: Receive, send: Send) -> None:
        each = hot.get((str(scope.get("method", "")), str(scope.get("path", ""))))
        if each is None:
            # Only requests have a method; the server's start and stop have none.
            await (around(served, gate, scope, receive, send) if "method" in scope else litestar(scope, receive, send))
            return
        try:
            raw = await gate.pass_through(each, scope, receive, {})
        except ClientGone:
            return
        await send_at_once(raw, scope, send)

    return front


def _endpoint(each: Route, gate: Gate) -> HTTPRouteHandler:
    operation = each.operation
    methods = ["GET", "HEAD"] if operation.method == "GET" else [operation.method]

    async def endpoint(request: Request[Any, Any, Any]) -> Response[bytes]:
        path = {name: str(value) for name, value in request.path_params.items()}
        try:
            raw = await gate.pass_through(each, request.scope, request.receive, path)
        except ClientGone:
            raw = Raw(status=CLIENT_GONE, body=b"", headers=())
        return _response(raw)

    return route(
        path=_litestar_path(operation.path),
        http_method=methods,  # type: ignore[arg-type]  # the table's methods are Litestar's
        name=operation.name,
        status_code=200,  # the real status comes with the gate's answer, also where it has no body
    )(endpoint)


def _with_options(litestar: ASGIApp, operations: Sequence[Operation]) -> ASGIApp:
    """OPTIONS of a path names the methods of all its operations; Litestar's own answer names those of one."""
    methods: dict[str, set[str]] = {}
    for each in operations:
        own = {"GET", "HEAD"} if each.method == "GET" else {each.method}
        methods.setdefault(each.path, {"OPTIONS"}).update(own)
    # A path without parameters is meant before one that would also fit.
    plainest_first = sorted(methods, key=lambda path: path.count("{"))
    paths = [(re.compile(re.sub(r"\{\w+\}", "[^/]+", path)), sorted(methods[path])) for path in plainest_first]

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("method") == "OPTIONS":
            for path, allowed in paths:
                if path.fullmatch(scope["path"]):
                    headers = ((b"allow", ", ".join(allowed).encode()),)
                    await send_raw(Raw(status=204, body=b"", headers=headers), send)
                    return
        await litestar(scope, receive, send)

    return answer


def _litestar_path(path: str) -> str:
    return re.sub(r"\{(\w+)\}", r"{\1:str}", path)


def _response(raw: Raw) -> Response[bytes]:
    headers = {name.decode(): value.decode("latin-1") for name, value in raw.headers}
    media = headers.pop("content-type", "application/json")
    return Response(raw.body, status_code=raw.status, headers=headers, media_type=media)


def _http_problem(_: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """Litestar's own refusals (404, 405, ...) in our form."""
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "refused")
    status = error.status_code
    problem = Problem(
        title=code.replace("_", " "),
        status=status,
        code=code,
        detail=str(error.detail)[:300],
        instance=f"urn:request:{secrets.token_hex(8)}",
    )
    return Response(
        encode(problem),
        status_code=error.status_code,
        headers=dict(error.headers or {}),
        media_type=PROBLEM_TYPE.decode(),
    )


def _bug_problem(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    if isinstance(error, SiteError):
        return _response(problem_raw(error, secrets.token_hex(8)))
    log.error("request_crashed", path=request.scope["path"], exc_info=error)
    return _response(bug_raw(secrets.token_hex(8)))
