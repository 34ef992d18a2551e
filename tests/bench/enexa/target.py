"""The servers under measurement: `python -m tests.bench.enexa.target KIND PORT [DATABASE_URL]`.

`bare` answers every request at once; `gate` decodes, checks and authorises a sample inside the Litestar app as Enexa
does; `fastapi` does the same in FastAPI; `store` is Enexa's ingest whole, durable before the answer.
"""

import sys
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import msgspec
import uvicorn
from msgspec import Meta, Struct

from services.enexa.api import telemetry as telemetry_api
from services.enexa.platform import Platform
from services.enexa.pricing import PriceSource
from services.enexa.registry.assets import SiteRecord
from services.enexa.registry.configs import first_version
from services.enexa.seeds import load_seed
from services.enexa.store.store import Store
from shared.clock import SystemClock
from shared.contract.operations import ENEXA_TOKEN, POST_TELEMETRY, Budget, Scope
from shared.contract.telemetry import Telemetry, TelemetryAck
from shared.rest.auth import Credential, TokenBook, digest
from shared.rest.gate import Call, Gate, serves, token_route
from shared.rest.limits import Limits, Rate
from shared.rest.serve import application
from shared.rest.server import Listener, run

CLIENT, SECRET = "CTRL001", "bench-secret-bench-secret-bench-secret"
SITES = tuple(f"SITE{number:03}" for number in range(1, 11))
UNLIMITED = Limits({budget: Rate(1e9, 1e9) for budget in Budget})
ANSWER = b'{"accepted":1,"duplicates":0,"stored_through":1}'


async def bare(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """What an ASGI server costs by itself: the body is read and thrown away."""
    while True:
        message = await receive()
        if message["type"].startswith("lifespan"):
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
        elif not message.get("more_body"):
            break
    length = (b"content-length", str(len(ANSWER)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": ANSWER})


def book() -> TokenBook:
    return TokenBook([Credential(client_id=CLIENT, secret_sha256=digest(SECRET), scope=Scope.MIDDLEWARE)])


def gate(_: str) -> Any:
    tokens = book()

    @serves(POST_TELEMETRY)
    async def post(call: Call[Telemetry]) -> TelemetryAck:
        return TelemetryAck(accepted=1, stored_through=call.body.sequence)

    return application([token_route(ENEXA_TOKEN, tokens), post], Gate(SystemClock(), tokens, limits=UNLIMITED))


def store(url: str) -> Any:
    tokens, clock = book(), SystemClock()
    kept = Store(url)
    platform = Platform(clock=clock, store=kept, prices=PriceSource(file=None, scenario="reference_day"))

    async def start() -> None:
        await kept.open()
        document = load_seed("chargepost").config
        for site_id in SITES:
            config = first_version(site_id, document, at=clock.now().at, author="bench")
            await kept.master.add_site(SiteRecord(id=site_id, name=site_id), [], config)
        await platform.load()

    return application(
        [token_route(ENEXA_TOKEN, tokens), *telemetry_api.routes(platform)],
        Gate(clock, tokens, audit=kept.audit, limits=UNLIMITED),
        on_start=[start],
        on_close=[kept.close],
    )


def fastapi(_: str) -> Any:
    """The usual way: a pydantic model of the same message, a dependency for the token."""
    from fastapi import Depends, FastAPI, HTTPException  # type: ignore[import-not-found]  # noqa: PLC0415 -- optional
    from fastapi.security import HTTPBearer  # type: ignore[import-not-found]  # noqa: PLC0415 -- optional

    model = _pydantic(Telemetry)
    app, bearer = FastAPI(), HTTPBearer()

    async def authorised(given: Any = Depends(bearer)) -> None:  # noqa: B008 -- FastAPI's way
        if digest(given.credentials) != digest(SECRET):
            raise HTTPException(401)

    async def post(sample: Any, _: None = Depends(authorised)) -> dict[str, int]:
        return {"accepted": 1, "duplicates": 0, "stored_through": sample.sequence}

    post.__annotations__["sample"] = model
    app.post(POST_TELEMETRY.path)(post)

    async def token() -> dict[str, str]:
        return {"access_token": SECRET}

    app.post(ENEXA_TOKEN.path)(token)
    return app


def _pydantic(of: type[Struct]) -> Any:
    from pydantic import ConfigDict, create_model  # type: ignore[import-not-found]  # noqa: PLC0415 -- optional

    hints = get_type_hints(of, include_extras=True)
    fields: dict[str, Any] = {}
    for each in msgspec.structs.fields(of):
        default = ... if each.required else (each.default if each.default is not msgspec.NODEFAULT else None)
        if isinstance(default, Struct):
            default = None
        fields[each.name] = (_annotation(hints[each.name]), default)
    return create_model(of.__name__, __config__=ConfigDict(extra="forbid", strict=False), **fields)


def _annotation(annotation: Any) -> Any:
    from pydantic import Field  # noqa: PLC0415 -- optional

    origin, args = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, Struct):
        return _pydantic(annotation)
    if origin is Annotated:
        meta: Meta = args[1]
        bounds = {name: getattr(meta, name) for name in ("ge", "le", "max_length", "pattern")}
        inner = _annotation(args[0])
        return Annotated[inner, Field(**{name: value for name, value in bounds.items() if value is not None})]
    if origin is tuple:
        return tuple[_annotation(args[0]), ...]  # type: ignore[misc]  # built while running
    if origin is dict:
        return dict[_annotation(args[0]), _annotation(args[1])]  # type: ignore[misc]  # built while running
    if args:
        union: Any = None
        for arg in args:
            union = _annotation(arg) if union is None else union | _annotation(arg)
        return union
    return annotation


def main(kind: str, port: int, url: str) -> None:
    """The peers run on uvicorn as it comes, ours on our own protocol; all on uvloop and httptools."""
    if kind in ("bare", "fastapi"):
        peer: Any = bare if kind == "bare" else fastapi(url)
        uvicorn.run(
            peer,
            host="127.0.0.1",
            port=port,
            loop="uvloop",
            http="httptools",
            ws="none",
            access_log=False,
            proxy_headers=False,
            log_level="error",
        )
        return
    app = {"gate": gate, "store": store}[kind](url)
    run(app, [Listener("127.0.0.1", port)])


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else "")
