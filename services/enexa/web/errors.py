"""Refusals and bugs as pages for people and as problem documents for scripts; never a traceback."""

import secrets
from typing import Any

import structlog
from litestar.exceptions import HTTPException
from litestar.response import Response
from litestar.types import ExceptionHandlersMap

from services.enexa.web.guard import HEADERS, Asked, to_login, wants_page
from services.enexa.web.shell import Shell
from shared.contract.wire import Problem, encode
from shared.errors import SiteError, Unauthenticated

log = structlog.get_logger()


def error_handlers(shell: Shell) -> ExceptionHandlersMap:
    """For all handlers of the pages."""

    def refused(request: Asked, error: SiteError) -> Response[Any]:
        if isinstance(error, Unauthenticated) and wants_page(request):
            return to_login(request)
        sentence = f"{error.sentence[0].upper()}{error.sentence[1:]}."
        return _answer(request, error.http_status, error.code, sentence)

    def http_refused(request: Asked, error: HTTPException) -> Response[Any]:
        code = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}.get(error.status_code, "refused")
        return _answer(request, error.status_code, code, str(error.detail)[:300])

    def crashed(request: Asked, error: Exception) -> Response[Any]:
        bug_id = secrets.token_hex(4)
        log.error("page_crashed", path=request.scope["path"], bug_id=bug_id, exc_info=error)
        return _answer(request, 500, "internal_error", f"This is a bug. The service's log has it as {bug_id}.")

    def _answer(request: Asked, status: int, code: str, sentence: str) -> Response[Any]:
        if wants_page(request):
            return shell.page(request, "error.html", status=status, code=code, sentence=sentence)
        problem = Problem(title=code.replace("_", " "), status=status, code=code, detail=sentence)
        return Response(encode(problem), status_code=status, headers=HEADERS, media_type="application/problem+json")

    return {SiteError: refused, HTTPException: http_refused, Exception: crashed}
