"""Server-sent events of a site: samples, intents, commands, plans, alerts, as they happen.

The gate answers with whole bodies; so it first answers an empty one to the same request, with all its checks and its
audit line, and the stream begins only if that was a yes.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from litestar import Request, get
from litestar.handlers import HTTPRouteHandler
from litestar.response import Response, Stream

from services.enexa.hub import Notice, Subscription
from services.enexa.platform import Platform
from shared.contract.operations import STREAM
from shared.errors import RateLimited
from shared.rest.gate import Answer, Call, ClientGone, Gate, Route, serves

HEARTBEAT_REAL_S = 15.0


def handler(platform: Platform, gate: Gate) -> HTTPRouteHandler:
    """The Litestar handler of `GET /v1/sites/{site_id}/stream`."""
    admission = _admission(platform)

    @get(STREAM.path.replace("{site_id}", "{site_id:str}"), name=STREAM.name)
    async def stream(request: Request[Any, Any, Any]) -> Response[bytes] | Stream:
        site_id = str(request.path_params["site_id"])
        try:
            raw = await gate.pass_through(admission, request.scope, request.receive, {"site_id": site_id})
        except ClientGone:
            return Response(b"", status_code=499)
        headers = {name.decode(): value.decode("latin-1") for name, value in raw.headers}
        media_type = headers.pop("content-type", "")
        if raw.status != STREAM.status:
            return Response(raw.body, status_code=raw.status, headers=headers, media_type=media_type)
        subscription = platform.board.hub.subscribe(site_id)
        return Stream(
            _frames(platform, subscription),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no", **headers},
        )

    return stream


def _admission(platform: Platform) -> Route:
    @serves(STREAM)
    async def admit(call: Call[None]) -> Answer:
        platform.site(call.path["site_id"])
        if not platform.board.hub.has_room():
            raise RateLimited("too many viewers", retry_after_s=5.0)
        return Answer()

    return admit


async def _frames(platform: Platform, subscription: Subscription) -> AsyncIterator[bytes]:
    notices = aiter(subscription)
    waiting: asyncio.Task[Notice | None] | None = None
    try:
        yield b"retry: 2000\n\n"
        while True:
            waiting = waiting or asyncio.create_task(_next(notices))
            done, _ = await asyncio.wait({waiting}, timeout=HEARTBEAT_REAL_S)
            if not done:
                yield b": still here\n\n"
                continue
            notice = waiting.result()
            waiting = None
            if notice is None:
                return
            yield b"event: " + notice.kind.encode() + b"\ndata: " + notice.body + b"\n\n"
    finally:
        if waiting is not None:
            waiting.cancel()
        platform.board.hub.unsubscribe(subscription)


async def _next(notices: AsyncIterator[Notice]) -> Notice | None:
    """The next notice, or None after the last."""
    return await anext(notices, None)
