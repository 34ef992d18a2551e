"""The server under measurement: one raw ASGI telemetry route, on a plain and on a TLS port of one process.

`python -m tests.bench.servers.target KIND PLAIN_PORT TLS_PORT CERT KEY`
"""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from shared.contract.telemetry import Telemetry, TelemetryAck
from shared.contract.wire import decode_request, encode
from shared.rest.server import Listener, serve

TOKEN = b"Bearer one-token-for-the-bench"
ACCEPTED = encode(TelemetryAck(accepted=1, stored_through=1))
JSON = [(b"content-type", b"application/json")]


async def app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """What the hot route does before it stores anything: check the token, read, decode strictly, answer."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    assert dict(scope["headers"]).get(b"authorization") == TOKEN
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    decode_request(body, Telemetry)
    await send({"type": "http.response.start", "status": 200, "headers": JSON})
    await send({"type": "http.response.body", "body": ACCEPTED})


def ours(plain: int, tls: int, cert: Path, key: Path) -> None:
    """uvicorn on uvloop as `shared/rest/server.py` uses it: two listeners in one loop, deadlines added."""
    import uvloop  # noqa: PLC0415  only this candidate needs it

    uvloop.run(serve(app, [Listener("127.0.0.1", plain), Listener("127.0.0.1", tls, cert, key)]))


def uvicorn_as_it_comes(plain: int, tls: int, cert: Path, key: Path) -> None:
    """uvicorn with its defaults, a listener each in one loop."""
    import uvicorn  # noqa: PLC0415  only this candidate needs it

    class Quiet(uvicorn.Server):
        def install_signal_handlers(self) -> None:
            """Two servers share this process; the default action of SIGTERM is enough."""

    def server(port: int, **more: Any) -> Quiet:
        return Quiet(uvicorn.Config(app, port=port, log_level="warning", access_log=False, **more))

    async def both() -> None:
        await asyncio.gather(server(plain).serve(), server(tls, ssl_certfile=str(cert), ssl_keyfile=str(key)).serve())

    import uvloop  # noqa: PLC0415  only this candidate needs it

    uvloop.run(both())


def granian_embedded(plain: int, tls: int, cert: Path, key: Path) -> None:
    """granian's embedded server, which its documentation calls experimental: two listeners in one loop."""
    from granian.constants import Interfaces  # noqa: PLC0415  only this candidate needs it
    from granian.server.embed import Server  # noqa: PLC0415  only this candidate needs it

    def server(port: int, **more: Any) -> Any:
        return Server(app, address="127.0.0.1", port=port, interface=Interfaces.ASGI, log_enabled=False, **more)

    async def both() -> None:
        await asyncio.gather(server(plain).serve(), server(tls, ssl_cert=cert, ssl_key=key).serve())

    import uvloop  # noqa: PLC0415  only this candidate needs it

    uvloop.run(both())


def granian_workers(plain: int, tls: int, cert: Path, key: Path) -> None:
    """granian as its documentation recommends: a parent and one worker process for each listener (shown for size)."""
    import multiprocessing  # noqa: PLC0415  only this candidate needs it

    second = multiprocessing.get_context("spawn").Process(target=_granian, args=(tls, cert, key))
    second.start()
    _granian(plain, None, None)


def _granian(port: int, cert: Path | None, key: Path | None) -> None:
    from granian import Granian  # noqa: PLC0415  only this candidate needs it
    from granian.constants import Interfaces  # noqa: PLC0415  only this candidate needs it

    Granian(
        "tests.bench.servers.target:app",
        address="127.0.0.1",
        port=port,
        interface=Interfaces.ASGI,
        workers=1,
        log_enabled=False,
        ssl_cert=cert,
        ssl_key=key,
    ).serve()


CANDIDATES: dict[str, Callable[[int, int, Path, Path], None]] = {
    "ours": ours,
    "uvicorn_as_it_comes": uvicorn_as_it_comes,
    "granian_embedded": granian_embedded,
    "granian_workers": granian_workers,
}

if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    kind, plain_port, tls_port, certificate, private_key = sys.argv[1:]
    CANDIDATES[kind](int(plain_port), int(tls_port), Path(certificate), Path(private_key))
