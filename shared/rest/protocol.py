"""HTTP/1.1 on one connection: uvicorn's protocol with a deadline and limits for every request, and less work for each.

uvicorn arms and cancels a timer per request and writes an answer in two pieces. Here a connection only notes until when
it waits, and the server looks through them twice a second (`server.py`); an answer that is whole leaves in one piece.
"""

import asyncio
import math
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from shared.contract.wire import Problem, encode

REQUEST_HEAD_DEADLINE_S = 10.0
REQUEST_BODY_DEADLINE_S = 20.0
"""The gate answers a slow body politely before; this is for bodies that nobody reads."""

HEAD_MAX_BYTES = 16 * 1024
HEADERS_MAX = 100
URL_MAX_BYTES = 8 * 1024
CONNECTIONS_MAX = 2048
NEVER = math.inf

WHOLE = "http.response.whole"
"""The ASGI extension: one message with `status`, `headers` and `body`, which are sent as they are."""
EXTENSIONS: Mapping[str, Mapping[str, Any]] = {WHOLE: {}}
CLOSE = (b"connection", b"close")


class GuardedProtocol(HttpToolsProtocol):
    """When all places are taken, the connection that kept us waiting longest goes; a slow crowd locks nobody out."""

    _until_s = NEVER
    _head_bytes = 0
    _hosts = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn narrows it too
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS_MAX:
            self._make_room()
        self._wait(REQUEST_HEAD_DEADLINE_S)

    def end_if_overdue(self, now_s: float) -> None:
        """Close the connection where it has kept us waiting too long, by the loop's time."""
        if now_s >= self._until_s and not self.transport.is_closing():
            self.transport.close()

    # ---- the parser's callbacks -------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self._head_bytes = self._hosts = 0
        self._wait(REQUEST_HEAD_DEADLINE_S)

    def on_url(self, url: bytes) -> None:
        self.url += url
        if len(self.url) > URL_MAX_BYTES:
            self._refuse(414, "uri_too_long", "the URL is too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        self.headers.append((name, value))
        if name == b"host":
            self._hosts += 1
        elif name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > HEAD_MAX_BYTES or len(self.headers) > HEADERS_MAX:
            self._refuse(431, "head_too_large", "the head of the request is too large")

    def on_headers_complete(self) -> None:
        self._wait(REQUEST_BODY_DEADLINE_S)
        version = self.parser.get_http_version()
        if version not in ("1.0", "1.1"):
            self._refuse(400, "invalid_message", "only HTTP/1.1 and HTTP/1.0 are spoken here")
        elif version == "1.1" and self._hosts != 1:
            self._refuse(400, "invalid_message", "a request has exactly one Host")
        if not self.transport.is_closing():
            self._begin(version)

    def _begin(self, version: str) -> None:
        """Hand the request to the application; its body may still be on the way."""
        url = httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        self.scope = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": version,
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme or "http",
            "root_path": "",
            "headers": self.headers,
            "state": self.app_state.copy(),
            "method": self.parser.get_method().decode("ascii"),
            "path": unquote(path) if "%" in path else path,
            "raw_path": url.path,
            "query_string": url.query or b"",
            "extensions": EXTENSIONS,  # type: ignore[typeddict-item]  # uvicorn lists those that it knows
        }
        before, self.cycle = (
            self.cycle,
            Exchange(
                scope=self.scope,
                transport=self.transport,
                flow=self.flow,
                logger=self.logger,
                access_logger=self.access_logger,
                access_log=False,
                default_headers=self.server_state.default_headers,
                message_event=asyncio.Event(),
                expect_100_continue=self.expect_100_continue,
                keep_alive=version != "1.0" and self.parser.should_keep_alive(),
                on_response=self.on_response_complete,
            ),
        )
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def on_body(self, body: bytes) -> None:
        cycle = self.cycle
        if self.transport.is_closing() or cycle.response_complete:
            return
        cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        if self.transport.is_closing():
            return
        cycle = self.cycle
        if cycle.response_complete:
            # Answered before its end was read; what comes next is another request.
            self._wait(self.timeout_keep_alive)
            return
        self._until_s = NEVER
        cycle.more_body = False
        cycle.message_event.set()

    # ---- the answer -------------------------------------------------------------------------------------------------

    def on_response_complete(self) -> None:
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._until_s == NEVER:
            self._wait(self.timeout_keep_alive)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        task = self.loop.create_task(self._carry(cycle, app))
        self.tasks.add(task)

    async def _carry(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        try:
            await cycle.run_asgi(app)
        finally:
            # A callback for this would be another round of the loop.
            task = asyncio.current_task()
            assert task is not None
            self.tasks.discard(task)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 -- uvicorn's hook; its words are not ours
        """What the parser cannot read; one answer at most, and nothing that follows it is looked at."""
        self._refuse(400, "invalid_message", "this is no HTTP request")

    def _make_room(self) -> None:
        waiting = [each for each in self.connections if isinstance(each, GuardedProtocol) and each._until_s < NEVER]
        slowest = min(waiting, key=lambda each: each._until_s, default=self)
        slowest.transport.close()

    def _wait(self, seconds: float) -> None:
        self._until_s = self.loop.time() + seconds

    def _refuse(self, status: int, code: str, detail: str) -> None:
        if self.transport.is_closing():
            return
        body = encode(Problem(title=code.replace("_", " "), status=status, code=code, detail=detail, instance="-"))
        length = str(len(body)).encode()
        head = b"content-type: application/problem+json\r\ncontent-length: " + length + b"\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[status] + head + body)
        self.transport.close()


class Exchange(RequestResponseCycle):
    """uvicorn's request and response; it also takes an answer that is whole."""

    _ended = False
    """Whether the application was given the end of the body."""

    async def receive(self) -> Any:
        if (
            self._ended
            or self.more_body
            or self.response_complete
            or self.disconnected
            or self.waiting_for_100_continue
        ):
            message: Any = await super().receive()
            self._ended = self._ended or not message.get("more_body", False)
            return message
        # All of it is here. Whoever asks once more waits, as uvicorn has it, until the caller is gone or answered.
        self._ended = True
        self.message_event.clear()
        self.flow.resume_reading()
        body, self.body = self.body, bytearray()
        return {"type": "http.request", "body": bytes(body), "more_body": False}

    async def send(self, message: Any) -> None:
        if message["type"] != WHOLE:
            await super().send(message)
            return
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        assert not self.response_started
        self.response_started = self.response_complete = True
        self.waiting_for_100_continue = False
        headers = message["headers"]
        if CLOSE in headers:
            self.keep_alive = False
        elif not self.keep_alive:
            headers = [*headers, CLOSE]
        lines = [b"%b: %b\r\n" % each for each in (*self.default_headers, *headers)]
        body: bytes = message["body"]
        lines.append(b"content-length: %d\r\n\r\n" % len(body))
        self.transport.write(b"".join((STATUS_LINE[message["status"]], *lines, body)))
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()
