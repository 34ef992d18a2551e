"""Call operations of the REST map: encode, send, decode, and speak our errors; never retry.

Retrying is the application's business (one layer, shared/backoff.py). A POST whose reply was lost has an unknown
outcome; only what the map calls idempotent may be repeated blindly. Redirects are refused, replies are capped,
credentials go to one origin only.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, urlencode

import msgspec
from msgspec import Struct

from shared.backoff import RETRY_AFTER_CEILING_S
from shared.clock import Clock
from shared.contract.operations import Operation
from shared.contract.tokens import TokenReply, TokenRequest
from shared.contract.wire import Problem, decode_reply, encode
from shared.errors import (
    BadInput,
    InvalidMessage,
    PeerBusy,
    PeerDown,
    Refused,
    SiteError,
    Unauthenticated,
    family,
)
from shared.rest.origin import Answer, Origin, Request

REPLY_MAX_BYTES = 8 * 1024 * 1024
CONNECT_WITHIN_S = 2.0
DOWNLOAD_WITHIN_S = 600.0
TOKEN_RENEWAL_S = 60.0
TOKEN_CALLS = 2
TOKEN_CALLS_PER_S = 60.0
"""A peer that refuses whatever token it gives is asked for another one twice a minute at most."""

Secret = str | Callable[[], str]
"""A secret, or how it is read each time a token is bought, so that it may be exchanged meanwhile."""

REFUSALS = {each.code: each for each in family(Refused)}


class Reply(Struct, frozen=True):
    """What came back: the decoded message (None for 204 and 304), the status, the headers in lower case."""

    message: Any
    status: int
    headers: Mapping[str, str]


class Caller:
    """One peer, one origin, one token."""

    def __init__(
        self,
        base_url: str,
        clock: Clock,
        *,
        ca_file: Path | None = None,
        client_id: str | None = None,
        secret: Secret | None = None,
        token_operation: Operation | None = None,
        timeout_s: float = 5.0,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._clock = clock
        tls = _client_context(ca_file) if base_url.startswith("https:") else None
        self._origin = Origin(self._base_url, tls=tls, connect_s=min(CONNECT_WITHIN_S, timeout_s))
        self._client_id = client_id
        self._secret = secret
        self._token_operation = token_operation
        self._timeout_s = timeout_s
        self._token: TokenReply | None = None
        self._token_until_s = 0.0
        self._asked_s: deque[float] = deque(maxlen=TOKEN_CALLS)
        self._refusal = "the peer refused a fresh token; the next one is asked for within a minute"
        self._token_lock = asyncio.Lock()

    async def call(
        self,
        operation: Operation,
        body: Struct | bytes | None = None,
        *,
        path: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """One exchange. Raises Refused (by the peer's code), PeerBusy, or PeerDown for anything that is no answer.

        A body of bytes is a message that was encoded before.
        """
        payload = encode(body) if isinstance(body, Struct) else body
        if not operation.scopes or self._token_operation is None:
            return await self._exchange(operation, payload, path, query, headers, bearer=None)
        bearer = await self._bearer(renew=False)
        try:
            return await self._exchange(operation, payload, path, query, headers, bearer=bearer)
        except Unauthenticated:
            # A restarted peer has forgotten our token: one new one, one replay, and then its word is final.
            bearer = await self._bearer(renew=True, refused=bearer)
            return await self._exchange(operation, payload, path, query, headers, bearer=bearer)

    async def download(
        self, operation: Operation, into: BinaryIO, *, path: Mapping[str, str], limit_bytes: int
    ) -> None:
        """A file, written as it comes. Raises like `call`; PeerDown also where it is larger than `limit_bytes`."""
        bearer = await self._bearer(renew=False)
        request = Request(
            method=operation.method,
            target=_target(operation, path, None),
            headers={"Authorization": f"Bearer {bearer}", "Accept-Encoding": "identity"},
            body=None,
            within_s=DOWNLOAD_WITHIN_S,
            silent_s=self._timeout_s,
            body_max_bytes=limit_bytes,
            into=into,
        )
        answer = await self._send(operation, request)
        if answer.status != operation.status:
            raise _refusal(operation, answer)

    async def close(self) -> None:
        await self._origin.close()

    async def _bearer(self, *, renew: bool, refused: str | None = None) -> str:
        async with self._token_lock:
            now = self._clock.now()
            current = self._token.access_token if self._token else None
            if current is not None and now.s < self._token_until_s and not (renew and current == refused):
                return current
            assert self._token_operation is not None
            if len(self._asked_s) == TOKEN_CALLS and now.s - self._asked_s[0] < TOKEN_CALLS_PER_S:
                raise Unauthenticated(self._refusal)
            request = TokenRequest(
                grant_type="client_credentials",
                client_id=self._client_id,
                client_secret=self._secret() if callable(self._secret) else self._secret,
            )
            try:
                reply = await self._exchange(self._token_operation, encode(request), None, None, None, bearer=None)
            except Unauthenticated as error:
                self._asked_s.append(now.s)
                self._refusal = error.sentence
                raise
            # A call without an answer is none: after an outage the first token is not to wait.
            self._asked_s.append(now.s)
            assert isinstance(reply.message, TokenReply)
            self._token = reply.message
            self._token_until_s = now.s + max(reply.message.expires_in - TOKEN_RENEWAL_S, 1.0)
            return self._token.access_token

    async def _exchange(
        self,
        operation: Operation,
        payload: bytes | None,
        path: Mapping[str, str] | None,
        query: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        *,
        bearer: str | None,
    ) -> Reply:
        sent = {"Accept": "application/json", "Accept-Encoding": "identity", **(headers or {})}
        if payload is not None:
            sent["Content-Type"] = "application/json"
        if bearer is not None:
            sent["Authorization"] = f"Bearer {bearer}"
        request = Request(
            method=operation.method,
            target=_target(operation, path, query),
            headers=sent,
            body=payload,
            within_s=self._timeout_s,
            silent_s=self._timeout_s,
            body_max_bytes=REPLY_MAX_BYTES,
        )
        return self._read(operation, await self._send(operation, request))

    async def _send(self, operation: Operation, request: Request) -> Answer:
        try:
            return await self._origin.exchange(request)
        except OSError as error:
            raise PeerDown(f"no answer from {self._base_url}: {_told(error)}", operation=operation.name) from error

    def _read(self, operation: Operation, answer: Answer) -> Reply:
        status, headers = answer.status, answer.headers
        if status in (204, 304):
            return Reply(None, status, headers)
        if 200 <= status < 300:
            try:
                message = decode_reply(answer.body, operation.reply) if operation.reply is not None else None
            except InvalidMessage as error:
                raise PeerDown(f"{self._base_url} answered {operation.name} with something else") from error
            return Reply(message, status, headers)
        raise _refusal(operation, answer)


def _target(operation: Operation, path: Mapping[str, str] | None, query: Mapping[str, str] | None) -> str:
    target = operation.path
    if path:
        target = target.format(**{name: quote(value, safe="") for name, value in path.items()})
    return f"{target}?{urlencode(query)}" if query else target


def _refusal(operation: Operation, answer: Answer) -> SiteError:
    status = answer.status
    try:
        problem = msgspec.json.decode(answer.body, type=Problem)
    except msgspec.DecodeError:
        problem = Problem(title="", status=status, code="")
    detail = problem.detail or f"HTTP {status}"
    if status in (429, 503):
        return PeerBusy(detail, retry_after_s=retry_after_s(answer.headers), code=problem.code, status=status)
    if status >= 500 or status < 400:
        return PeerDown(f"HTTP {status}: {detail}", operation=operation.name, status=status)
    fallback = Unauthenticated if status == 401 else Refused
    kind = REFUSALS.get(problem.code, fallback)
    facts = {name: value for name, value in problem.facts.items() if name != "sentence"}
    return kind(detail, **{**facts, "code": problem.code, "status": status})


def retry_after_s(headers: Mapping[str, str]) -> float:
    """What a Retry-After asks for, as seconds or as a date (counted from the answer's own Date); else a second."""
    value = headers.get("retry-after", "")
    if value.isascii() and value.isdigit():
        return min(float(value), RETRY_AFTER_CEILING_S)
    try:
        wait = parsedate_to_datetime(value) - parsedate_to_datetime(headers.get("date", ""))
    except (TypeError, ValueError):
        return 1.0
    return min(max(wait.total_seconds(), 1.0), RETRY_AFTER_CEILING_S)


def _client_context(ca_file: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    except (OSError, ssl.SSLError) as error:
        raise BadInput(f"cannot read the CA file {ca_file}: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def _told(error: BaseException) -> str:
    return str(error) or type(error).__name__
