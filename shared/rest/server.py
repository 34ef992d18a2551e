"""Listen on several addresses in one loop: TLS 1.3 only, deadlines for slow clients, one clean way to stop.

uvicorn brings the HTTP protocol; what it leaves open (docs/adr/0001-server.md) is closed here and in `protocol.py`: the
TLS floor, a handshake deadline, a deadline and a size for every request, and a cap on connections.
"""

import asyncio
import contextlib
import gc
import signal
import socket
import sys
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import structlog
import uvicorn
from msgspec import Struct

from shared.errors import BadInput
from shared.rest import starting
from shared.rest.certificates import Certificate
from shared.rest.protocol import GuardedProtocol

KEEP_ALIVE_S = 15
"""A little more than our own client keeps an idle connection (shared/rest/call.py), so that the client ends it."""

TLS_HANDSHAKE_DEADLINE_S = 10.0
SHUTDOWN_GRACE_S = 3
GC_THRESHOLDS = (10_000, 20, 20)
SWITCH_EVERY_S = 0.0005
"""How long a thread that has written the store waits for a busy loop; Python's own 5 ms add up over a transaction."""

LOOK_EVERY_TICKS = 5
"""uvicorn ticks ten times a second."""

log = structlog.get_logger()


class Listener(Struct, frozen=True):
    """An address to serve; with `cert` and `key` it speaks TLS 1.3 and nothing older."""

    host: str
    port: int
    cert: Path | None = None
    key: Path | None = None


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

    async def on_tick(self, counter: int) -> bool:
        """End whoever has kept us waiting too long."""
        if counter % LOOK_EVERY_TICKS == 0:
            now_s = asyncio.get_running_loop().time()
            for each in tuple(self.server_state.connections):
                assert isinstance(each, GuardedProtocol)
                each.end_if_overdue(now_s)
        return await super().on_tick(counter)


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


async def serve(
    app: Any,
    listeners: Sequence[Listener],
    *,
    stop: asyncio.Event | None = None,
    started: Callable[[], None] = lambda: None,
) -> None:
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
        started()
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

    sys.setswitchinterval(SWITCH_EVERY_S)
    uvloop.run(serve(app, listeners, started=spare_the_collector))


def spare_the_collector() -> None:
    """What is there now stays for the life of the process: the collector looks at it no more, and at the rest seldom.

    In a busy service it took a fifth of the core's time and found nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


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
