"""What holds for every request, be it an operation, a page or nothing: address, our name, spelling, audit line.

Operations are remembered by the gate, which knows their name and caller; whatever else is answered, is remembered here
before the first byte of the answer leaves.
"""

import re
from typing import Any, cast

from litestar.types import ASGIApp, HTTPResponseStartEvent, Message, Receive, Scope, Send

from shared.clock import real_now_s
from shared.errors import NotFound, SiteError
from shared.rest.answers import Raw
from shared.rest.gate import SEEN, Gate, Seen, headers_of, peer_of, problem_raw, request_id_of, send_raw

API = "/v1/"
SPELLING = re.compile(rb"^(/[A-Za-z0-9_.-]+)+$")
ACTION_MAX_CHARS = 100


async def around(app: ASGIApp, gate: Gate, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one request with `app`, or refuse it."""
    seen = Seen()
    cast("dict[str, Any]", scope)[SEEN] = seen
    answering = _Answering(gate, scope, send, seen)
    try:
        gate.check_address(peer_of(scope))
        gate.check_host(headers_of(scope))
        answering.admitted = True
        _check_spelling(scope)
    except SiteError as error:
        await send_raw(problem_raw(error, answering.request_id), answering.send)
        return
    await app(scope, receive, answering.send)


class _Answering:
    """Lets an answer pass once it is remembered; where it cannot be, a refusal goes out in its place."""

    def __init__(self, gate: Gate, scope: Scope, send: Send, seen: Seen) -> None:
        self.request_id = request_id_of(headers_of(scope))
        self.admitted = False
        """Whether address and name were good; of nobody else a credential is looked at."""
        self._gate = gate
        self._scope = scope
        self._send = send
        self._seen = seen
        self._peer = peer_of(scope)
        self._action = _action(scope)
        self._started_s = real_now_s()
        self._refused = False

    async def send(self, message: Message) -> None:
        if self._refused:
            return
        if message["type"] == "http.response.start" and not self._seen.remembered:
            raw = await self._remember(message)
            if raw is not None:
                self._refused = True
                await send_raw(raw, self._send)
                return
        await self._send(message)

    def _who(self) -> str:
        if self._seen.principal != "-" or not self.admitted:
            return self._seen.principal
        return self._gate.who(self._scope)

    async def _remember(self, message: HTTPResponseStartEvent) -> Raw | None:
        """Write the audit line; the refusal to send instead where that fails."""
        self._seen.remembered = True
        answered = Raw(status=message["status"], body=b"", headers=())
        told = await self._gate.remember(
            self._action,
            answered,
            "ok" if answered.status < 400 else "refused",
            self._who(),
            self._peer,
            self.request_id,
            self._gate.clock.now(),
            (real_now_s() - self._started_s) * 1000.0,
        )
        return None if told is answered else told


def _action(scope: Scope) -> str:
    """Method and path as they were spelled, so that no escaped control character gets into a log."""
    spelled = (scope.get("raw_path") or b"").decode("ascii", "replace")
    clean = "".join(char if char.isprintable() else "?" for char in spelled)
    return f"{scope.get('method', '')} {clean}"[:ACTION_MAX_CHARS]


def _check_spelling(scope: Scope) -> None:
    """A path of the API has one spelling; escapes, doubled or trailing slashes lead nowhere."""
    spelled = scope.get("raw_path") or b""
    if b"//" in spelled or (str(scope["path"]).startswith(API) and not SPELLING.fullmatch(spelled)):
        raise NotFound("no such resource")
