"""Bare HTTP, for what the typed client would never send."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

import aiohttp
import msgspec
from msgspec import Struct
from multidict import CIMultiDict


class Got(Struct, frozen=True):
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class Reachable(Protocol):
    """A service somewhere on this machine."""

    @property
    def url(self) -> str: ...


class Http:
    """One session; `as_` logs in with a client's secret."""

    def __init__(self, stage: Reachable, session: aiohttp.ClientSession) -> None:
        self._stage = stage
        self._session = session
        self._tokens: dict[str, str] = {}

    async def token(self, who: str) -> str:
        if who not in self._tokens:
            form = {"grant_type": "client_credentials", "client_id": who, "client_secret": f"{who}-secret"}
            got = await self.send("POST", "/v1/oauth/token", data=form)
            assert got.status == 200, got.body
            self._tokens[who] = got.json["access_token"]
        return self._tokens[who]

    async def send(
        self,
        method: str,
        path: str,
        *,
        as_: str | None = None,
        bearer: str | None = None,
        headers: Mapping[str, str] | None = None,
        **rest: Any,
    ) -> Got:
        sent = CIMultiDict(headers or {})
        token = bearer if bearer is not None else (await self.token(as_) if as_ else None)
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        async with self._session.request(
            method, self._stage.url + path, headers=sent, allow_redirects=False, **rest
        ) as response:
            lower = {name.lower(): value for name, value in response.headers.items()}
            return Got(response.status, lower, await response.read())


@contextlib.asynccontextmanager
async def http(stage: Reachable) -> AsyncIterator[Http]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield Http(stage, session)
