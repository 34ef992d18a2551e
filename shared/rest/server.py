"""Listen on several addresses in one loop: TLS 1.3 only, deadlines for slow clients, one clean way to stop.

uvicorn brings the HTTP protocol; what it leaves open (docs/adr/0001-server.md) is closed here: the TLS floor, a
deadline for every request head, a cap on head size and on connections, and a handshake deadline.
"""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import structlog
import uvicorn
from msgspec import Struct
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from shared.contract.wire import Problem, encode
from shared.errors import BadInput
from shared.rest import starting
from shared.rest.certificates import Certificate

REQUEST_HEAD_DEADLINE_S = 10.0
REQUEST_BODY_DEADLINE_S = 20.0
"""The gate answers a slow body politely before; this is for bodies that nobody reads."""

KEEP_ALIVE_S = 15
"""A little more than our own client keeps an idle connection (shared/rest/call.py), so that the client ends it."""

TLS_HANDSHAKE_DEADLINE_S = 10.0
HEAD_MAX_BYTES = 16 * 1024
HEADERS_MAX = 100
URL_MAX_BYTES = 8 * 1024
CONNECTIONS_MAX = 2048
SHUTDOWN_GRACE_S = 3

log = structlog.get_logger()


class Listener(Struct, frozen=True):
    """An address to serve; with `cert` and `key` it speaks TLS 1.3 and nothing older."""

    host: str
    port: int
    cert: Path | None = None
    key: Path | None = None


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 protocol with a deadline and a size limit on every request, and refusals in our form.

    When all places are taken, the connection that has kept us waiting longest goes; a slow crowd locks nobody out.
    """

    _deadline: asyncio.TimerHandle | None = None
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn narrows it too
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS_MAX:
            self._make_room()
        self._arm(REQUEST_HEAD_DEADLINE_S)

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes = 0
        self._arm(REQUEST_HEAD_DEADLINE_S)

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > URL_MAX_BYTES:
            self._refuse(414, "uri_too_long", "the URL is too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > HEAD_MAX_BYTES or len(self.headers) > HEADERS_MAX:
            self._refuse(431, "head_too_large", "the head of the request is too large")

    def on_headers_complete(self) -> None:
        self._arm(REQUEST_BODY_DEADLINE_S)
        if self.parser.get_http_version() not in ("1.0", "1.1"):
            self._refuse(400, "invalid_message", "only HTTP/1.1 and HTTP/1.0 are spoken here")
        if self.parser.get_http_version() == "1.1" and sum(name == b"host" for name, _ in self.headers) != 1:
            self._refuse(400, "invalid_message", "a request has exactly one Host")
        if not self.transport.is_closing():
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._disarm()
        if not self.transport.is_closing():
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 -- uvicorn's hook; its words are not ours
        """What the parser cannot read; one answer at most, and nothing that follows it is looked at."""
        self._refuse(400, "invalid_message", "this is no HTTP request")

    def _make_room(self) -> None:
        waiting = [each for each in self.connections if isinstance(each, GuardedProtocol) and each._deadline]
        slowest = min(waiting, key=lambda each: each._deadline.when() if each._deadline else 0.0, default=self)
        slowest.transport.close()

    def _arm(self, seconds: float) -> None:
        self._disarm()
        self._deadline = self.loop.call_later(seconds, self._too_slow)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()

    def _refuse(self, status: int, code: str, detail: str) -> None:
        if self.transport.is_closing():
            return
        body = encode(Problem(title=code.replace("_", " "), status=status, code=code, detail=detail, instance="-"))
        length = str(len(body)).encode()
        head = b"content-type: application/problem+json\r\ncontent-length: " + length + b"\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[status] + head + body)
        self.transport.close()


class _Server(uvicorn.Server):
    """One listener; signals and sockets are ours, so that several can share a loop."""

    def __init__(self, config: uvicorn.Config, certificate: Certificate | None) -> None:
        super().__init__(config)
        self.certificate = certificate

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        assert sockets is not None
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            self.should_exit = True
            return
        loop = asyncio.get_running_loop()

        def protocol() -> asyncio.Protocol:
            return GuardedProtocol(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

        tls: dict[str, Any] = {"ssl_handshake_timeout": TLS_HANDSHAKE_DEADLINE_S} if self.config.ssl else {}
        self.servers = [
            await loop.create_server(protocol, sock=each, ssl=self.config.ssl, backlog=self.config.backlog, **tls)
            for each in sockets
        ]
        self.started = True


def bind(listener: Listener) -> socket.socket:
    """The listening socket; BadInput with the remedy where the port is taken or the address is not ours."""
    family = socket.AF_INET6 if ":" in listener.host else socket.AF_INET
    # With the protocol named, asyncio's own loop switches Nagle's delay off, as uvloop does; else a call takes 40 ms.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((listener.host, listener.port))
        bound.listen(1024)
    except OSError as error:
        bound.close()
        raise BadInput(
            f"cannot listen on {listener.host}:{listener.port}: {error.strerror}; "
            "stop the program that uses the port, or set another port",
            port=listener.port,
        ) from error
    bound.setblocking(False)
    return bound


async def serve(app: Any, listeners: Sequence[Listener], *, stop: asyncio.Event | None = None) -> None:
    """Serve `app` on all listeners until SIGTERM, SIGINT or `stop`; the app's lifespan runs once, with the first."""
    stopping = stop or asyncio.Event()
    sockets = [bind(listener) for listener in listeners]
    servers = [_server(app, listener, first=index == 0) for index, listener in enumerate(listeners)]
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(name, stopping.set)
    tasks = [asyncio.create_task(servers[0].serve([sockets[0]]))]
    while not (servers[0].started or tasks[0].done()):  # noqa: ASYNC110 -- uvicorn offers a flag, no event
        await asyncio.sleep(0.005)
    if servers[0].started:
        tasks += [asyncio.create_task(each.serve([sock])) for each, sock in zip(servers[1:], sockets[1:], strict=True)]
        starting.done()
        log.info("serving", addresses=[f"{each.host}:{each.port}" for each in listeners])
    waiter = asyncio.create_task(stopping.wait())
    watches = [asyncio.create_task(each.certificate.watch()) for each in servers if each.certificate is not None]
    await asyncio.wait([waiter, *tasks], return_when=asyncio.FIRST_COMPLETED)
    for task in (waiter, *watches):
        task.cancel()
    for server in reversed(servers):
        server.should_exit = True
    for sock in sockets:
        # A server that never started has not taken its socket over.
        if not servers[0].started:
            sock.close()
    await asyncio.gather(*tasks)


def run(app: Any, listeners: Sequence[Listener]) -> None:
    """Serve in a fresh uvloop and block until told to stop."""
    import uvloop  # noqa: PLC0415 -- not there on every platform; the default loop serves too

    uvloop.run(serve(app, listeners))


def _server(app: Any, listener: Listener, *, first: bool) -> _Server:
    certificate = Certificate(listener.cert, listener.key) if listener.cert and listener.key else None
    config = uvicorn.Config(
        app,
        host=listener.host,
        port=listener.port,
        http=GuardedProtocol,
        ws="none",
        lifespan="on" if first else "off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=True,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=SHUTDOWN_GRACE_S,
        ssl_context_factory=(lambda _config, _default: certificate.context) if certificate else None,
    )
    return _Server(config, certificate)
