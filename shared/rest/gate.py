"""The gate that every request of a service passes, so that no route can forget a check.

In this order: address, name, token, scope, rate, a free place, media type, body (bounded in size and time), strict
decoding, the handler, the reply, the audit line. Whatever goes wrong becomes a problem document (RFC 9457).
"""

import asyncio
import ipaddress
import itertools
import math
import re
import secrets
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar, get_args, get_type_hints
from urllib.parse import parse_qsl, unquote

import msgspec
import structlog
from litestar.types import Receive, Scope, Send
from msgspec import Struct

from shared.clock import Clock, real_now_s
from shared.contract.openapi import document
from shared.contract.operations import COMMAND_BODY_LIMIT_BYTES, DISPATCH, Budget, Operation
from shared.contract.wire import Problem, decode_request, encode
from shared.errors import (
    Forbidden,
    InvalidMessage,
    NotFound,
    OutOfBounds,
    SiteError,
    TokenReused,
    TooLarge,
    Unauthenticated,
    UnknownSite,
    WrongMediaType,
)
from shared.moment import Moment
from shared.rest.answers import Answers, Raw, Slot
from shared.rest.audit import AuditLine, AuditSink
from shared.rest.auth import Principal, TokenBook
from shared.rest.hosts import Hosts
from shared.rest.limits import Limits
from shared.rest.protocol import CONNECTIONS_MAX, WHOLE
from shared.rest.rooms import PLACES, rooms

log = structlog.get_logger()

BODY_DEADLINE_S = 15.0
PATH_ID = re.compile(r"^[A-Za-z0-9_.-]{1,64}$")
REQUEST_ID = re.compile(r"^[A-Za-z0-9_.-]{1,64}$")
PROBLEM_TYPE = b"application/problem+json"
CLIENT_GONE = 499
SEEN = "shared.rest.seen"
BEARER_MAX_CHARS = 512
ADMITTED_MAX = 10_000
FORM_TYPE = "application/x-www-form-urlencoded"

Body = TypeVar("Body")


class Call(Generic[Body]):
    """One checked request: what a handler needs to know, and nothing it would have to check again."""

    __slots__ = ("body", "headers", "now", "operation", "path", "peer", "principal", "query", "request_id")

    def __init__(
        self,
        *,
        operation: Operation,
        body: Body,
        path: Mapping[str, str],
        query: Any,
        principal: Principal | None,
        now: Moment,
        request_id: str,
        headers: Mapping[str, str],
        peer: str,
    ) -> None:
        self.operation = operation
        self.body = body
        self.path = path
        self.query = query
        self.principal = principal
        self.now = now
        self.request_id = request_id
        self.headers = headers
        self.peer = peer


class Answer(Struct, frozen=True):
    """A reply that is more than a message: another status, headers such as ETag, ready bytes, or no content."""

    reply: Struct | bytes | None = None
    status: int | None = None
    headers: Mapping[str, str] = {}


Handler = Callable[[Call[Any]], Awaitable[Struct | Answer]]


class Route(Struct, frozen=True):
    """An operation and who answers it; `read` decodes its body where the strict way is not enough."""

    operation: Operation
    handler: Handler
    read: Callable[[bytes], Struct] | None = None


def serves(operation: Operation, *, read: Callable[[bytes], Struct] | None = None) -> Callable[[Handler], Route]:
    """Turn an async handler into the route of `operation`."""

    def decorate(handler: Handler) -> Route:
        return Route(operation, handler, read)

    return decorate


class Seen:
    """What is known of a request so far, for the layer around the application; pages may say who asks."""

    __slots__ = ("principal", "remembered")

    def __init__(self) -> None:
        self.remembered = False
        self.principal = "-"


class ClientGone(Exception):
    """The caller hung up; there is nobody to answer."""


class Gate:
    """Every request of a service passes here."""

    def __init__(
        self,
        clock: Clock,
        book: TokenBook,
        *,
        audit: AuditSink | None = None,
        limits: Limits | None = None,
        allowlist: Sequence[str] = (),
        hosts: Iterable[str] | None = None,
        places: Mapping[Budget, int] = PLACES,
    ) -> None:
        self.clock = clock
        self.book = book
        self._audit = audit
        self._limits = limits
        self._answers = Answers()
        self._networks = tuple(ipaddress.ip_network(each, strict=False) for each in allowlist)
        self._admitted: set[str] = set()
        """Addresses that were found on the list before; the list does not change while the service runs."""
        self._hosts = Hosts(hosts) if hosts is not None else None
        self._rooms = rooms(CONNECTIONS_MAX, places)

    async def pass_through(self, each: Route, scope: Scope, receive: Receive, path: Mapping[str, str]) -> Raw:
        """Check, decode, handle, encode and remember one request; raises ClientGone where nobody waits any more."""
        started_s = real_now_s()
        now = self.clock.now()
        headers = headers_of(scope)
        peer = peer_of(scope)
        request_id = request_id_of(headers)
        principal: Principal | None = None
        outcome = "ok"
        try:
            self.check_address(peer)
            self.check_host(headers)
            slot = self._answers.slot(each.operation, scope["path"], headers, now)
            if slot is None or slot.answer is None:
                principal = self._check_token(each.operation, scope, headers, peer, now)
                _check_scope(each.operation, principal)
            self._take(principal.client_id if principal else peer, each.operation.budget, now)
            if path:
                self._check_path(path, principal)
            with self._rooms[each.operation.budget]:
                body = await self._body(each, headers, receive)
                _check_site(body, path, principal)
                call: Call[Any] = Call(
                    operation=each.operation,
                    body=body,
                    path=path,
                    query=_query(each.operation, scope),
                    principal=principal,
                    now=now,
                    request_id=request_id,
                    headers=headers,
                    peer=peer,
                )
                raw = await self._handled(each, call, slot)
        except SiteError as error:
            outcome = error.code
            raw = problem_raw(error, request_id)
        except ClientGone:
            outcome = "client_gone"
            raw = Raw(status=CLIENT_GONE, body=b"", headers=())
        except Exception:  # a bug is answered, remembered and logged like everything else
            log.exception("request_crashed", operation=each.operation.name, request_id=request_id)
            outcome = "internal_error"
            raw = bug_raw(request_id)
        seen = scope.get(SEEN)
        if isinstance(seen, Seen):
            seen.remembered = True
        who = principal.client_id if principal else "-"
        latency_ms = (real_now_s() - started_s) * 1000.0
        raw = await self.remember(each.operation.name, raw, outcome, who, peer, request_id, now, latency_ms)
        if raw.status == CLIENT_GONE:
            raise ClientGone
        return raw

    async def _handled(self, each: Route, call: Call[Any], slot: Slot | None) -> Raw:
        """The handler's answer, or the one that it gave before where the caller asks for the same again."""
        slot = self._answers.hold(slot) if slot is not None else None
        before = slot.recall(call.body) if slot is not None else None
        if before is not None:
            return before
        try:
            raw = _encoded(each.operation, await each.handler(call), call.request_id)
        except BaseException:
            if slot is not None:
                self._answers.forget(slot)
            raise
        if slot is not None:
            slot.answer = raw
        return raw

    def check_address(self, peer: str) -> None:
        if not self._networks or peer in self._admitted:
            return
        try:
            address = ipaddress.ip_address(peer)
        except ValueError as error:
            raise Forbidden("this address is not allowed") from error
        mapped = getattr(address, "ipv4_mapped", None)
        if not any((mapped or address) in network for network in self._networks):
            raise Forbidden("this address is not allowed")
        if len(self._admitted) < ADMITTED_MAX:
            self._admitted.add(peer)

    def check_host(self, headers: Mapping[str, str]) -> None:
        """HTTP/1.0 knows no Host; of HTTP/1.1 the server has seen to it that there is one."""
        host = headers.get("host")
        if host is not None and self._hosts is not None:
            self._hosts.check(host)

    def who(self, scope: Scope) -> str:
        """Whom the bearer of a request that reached no operation speaks for; `-` where that is nobody."""
        try:
            return self.book.principal(_bearer(scope, headers_of(scope)), self.clock.now()).client_id
        except Unauthenticated:
            return "-"

    def _check_token(
        self, operation: Operation, scope: Scope, headers: Mapping[str, str], peer: str, now: Moment
    ) -> Principal | None:
        if not operation.scopes:
            return None
        try:
            return self.book.principal(_bearer(scope, headers), now)
        except Unauthenticated:
            # Guessing is counted by address, apart from whoever knocks there with a good token.
            self._take(f"failed from {peer}", Budget.GENERAL, now)
            raise

    def _take(self, caller: str, budget: Budget, now: Moment) -> None:
        if self._limits is not None:
            self._limits.take(caller, budget, now)

    def _check_path(self, path: Mapping[str, str], principal: Principal | None) -> None:
        for value in path.values():
            if not PATH_ID.match(value):
                raise NotFound("no such resource")
        site_id = path.get("site_id")
        if site_id is not None and principal is not None and not principal.may_see(site_id):
            raise UnknownSite("no such site", site_id=site_id)

    async def _body(self, each: Route, headers: Mapping[str, str], receive: Receive) -> Any:
        operation = each.operation
        if operation.request is None:
            return None
        given = headers.get("content-type", "")
        is_form = given != "application/json" and _is_form(given, operation)
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise WrongMediaType("compressed bodies are not accepted")
        if operation.budget is Budget.TELEMETRY:
            # A timer for each sample costs as much as its decoding; the server itself ends a body that is slower still.
            body = await whole_body(receive, headers, operation.body_limit_bytes)
        else:
            body = await read_body(receive, headers, operation.body_limit_bytes)
        if is_form:
            body = _form_as_json(body)
        if operation is DISPATCH and len(body) > COMMAND_BODY_LIMIT_BYTES and b'"apply_schedule"' not in body:
            raise TooLarge("a command has at most 16 KB", limit_bytes=COMMAND_BODY_LIMIT_BYTES)
        if each.read is not None:
            return each.read(body)
        return decode_request(body, operation.request, no_duplicates=operation.budget is not Budget.TELEMETRY)

    async def remember(
        self,
        action: str,
        raw: Raw,
        outcome: str,
        principal: str,
        peer: str,
        request_id: str,
        now: Moment,
        latency_ms: float,
    ) -> Raw:
        """The answer itself, or 503 where the audit log cannot be written: what is not remembered is not answered."""
        if self._audit is None:
            return raw
        line = AuditLine(
            at=now.at,
            source=peer,
            principal=principal,
            action=action,
            outcome=outcome,
            status=raw.status,
            latency_ms=round(latency_ms, 3),
            request_id=request_id,
        )
        try:
            await self._audit.append(line)
        except SiteError as error:
            log.critical("audit_failed", action=action, error=str(error))
            return problem_raw(error, request_id)
        return raw


async def read_body(receive: Receive, headers: Mapping[str, str], limit_bytes: int) -> bytes:
    """The whole body, at most `limit_bytes` and within the deadline; TooLarge, InvalidMessage or ClientGone."""
    try:
        async with asyncio.timeout(BODY_DEADLINE_S):
            return await whole_body(receive, headers, limit_bytes)
    except TimeoutError as error:
        raise InvalidMessage(f"the body did not arrive within {BODY_DEADLINE_S:.0f} s") from error


async def whole_body(receive: Receive, headers: Mapping[str, str], limit_bytes: int) -> bytes:
    """The whole body, at most `limit_bytes`, however long it takes; TooLarge or ClientGone."""
    announced = headers.get("content-length", "0")
    if not announced.isdigit() or int(announced) > limit_bytes:
        raise TooLarge(f"the body may have at most {limit_bytes} bytes", limit_bytes=limit_bytes)
    chunks: list[bytes] = []
    size = 0
    while True:
        message: Mapping[str, Any] = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > limit_bytes:
            raise TooLarge(f"the body may have at most {limit_bytes} bytes", limit_bytes=limit_bytes)
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks) if len(chunks) > 1 else chunk


async def send_raw(raw: Raw, send: Send) -> None:
    """One whole response."""
    length = (b"content-length", str(len(raw.body)).encode())
    await send({"type": "http.response.start", "status": raw.status, "headers": [*raw.headers, length]})
    await send({"type": "http.response.body", "body": raw.body, "more_body": False})


async def send_at_once(raw: Raw, scope: Scope, send: Send) -> None:
    """One whole response to a request that nothing stands around; in one message where the server takes it."""
    if WHOLE not in (scope.get("extensions") or {}):
        await send_raw(raw, send)
        return
    message: Any = {"type": WHOLE, "status": raw.status, "headers": raw.headers, "body": raw.body}
    await send(message)


def bug_raw(request_id: str) -> Raw:
    """The answer to a request that ran into a bug; the log has the rest."""
    problem = Problem(
        title="internal error",
        status=500,
        code="internal_error",
        detail="a bug; see the service's log",
        instance=f"urn:request:{request_id}",
    )
    return Raw(status=500, body=encode(problem), headers=((b"content-type", PROBLEM_TYPE),))


def problem_raw(error: SiteError, request_id: str) -> Raw:
    """The problem document of an error, with the headers that its status asks for."""
    retry_after_s = error.facts.get("retry_after_s")
    field = error.facts.get("field")
    problem = Problem(
        title=error.code.replace("_", " "),
        status=error.http_status,
        code=error.code,
        detail=error.sentence[:300],
        instance=f"urn:request:{request_id}",
        field=field if isinstance(field, str) else None,
        retry_after_s=float(retry_after_s) if isinstance(retry_after_s, int | float) else None,
        facts={name: value for name, value in error.facts.items() if name not in ("field", "retry_after_s")},
    )
    headers = [(b"content-type", PROBLEM_TYPE), (b"x-request-id", request_id.encode())]
    if error.http_status in (429, 503):
        wait_s = retry_after_s if isinstance(retry_after_s, int | float) else 1.0
        headers.append((b"retry-after", str(max(1, math.ceil(wait_s))).encode()))
    if error.http_status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="api", error="invalid_token"'))
    if error.http_status == 413:
        # The rest of the body is not going to be read.
        headers.append((b"connection", b"close"))
    return Raw(status=error.http_status, body=encode(problem), headers=tuple(headers))


def _encoded(operation: Operation, reply: Struct | Answer, request_id: str) -> Raw:
    headers = (b"content-type", operation.media.encode()), (b"x-request-id", request_id.encode())
    if not isinstance(reply, Answer):
        return Raw(status=operation.status, body=encode(reply), headers=headers)
    body = encode(reply.reply) if isinstance(reply.reply, Struct) else reply.reply or b""
    more = [(name.lower().encode(), value.encode("latin-1")) for name, value in reply.headers.items()]
    return Raw(status=reply.status or operation.status, body=body, headers=(*headers, *more))


def _is_form(given: str, operation: Operation) -> bool:
    """Whether a body is a form, which only token requests may be; WrongMediaType for what is neither that nor JSON."""
    media, _, parameters = given.partition(";")
    media = media.strip().lower()
    if operation.budget is Budget.GENERAL and media == FORM_TYPE and operation.path.endswith("/oauth/token"):
        return True
    charset = parameters.strip().lower().removeprefix("charset=").strip('"')
    if media != "application/json" or charset not in ("", "utf-8", "utf8"):
        raise WrongMediaType("the body must be application/json in UTF-8")
    return False


class Headers(Mapping[str, str]):
    """A request's headers by their names in lower case; each is decoded when it is asked for, and few ever are."""

    __slots__ = ("_raw",)

    def __init__(self, raw: Iterable[tuple[bytes, bytes]]) -> None:
        self._raw = dict(raw)

    def __getitem__(self, name: str) -> str:
        return self._raw[name.encode("latin-1")].decode("latin-1")

    def __iter__(self) -> Iterator[str]:
        return (name.decode("latin-1") for name in self._raw)

    def __len__(self) -> int:
        return len(self._raw)

    def get(self, name: str, default: Any = None) -> Any:
        value = self._raw.get(name.encode("latin-1"))
        return default if value is None else value.decode("latin-1")


def headers_of(scope: Scope) -> Headers:
    return Headers(scope["headers"])


_PROCESS = secrets.token_hex(5)
_count = itertools.count(1)


def request_id_of(headers: Mapping[str, str]) -> str:
    """The caller's id, or one that no other request of any process has."""
    given = headers.get("x-request-id", "")
    return given if REQUEST_ID.match(given) else f"{_PROCESS}-{next(_count):x}"


def _bearer(scope: Scope, headers: Mapping[str, str]) -> str:
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    bearer = bearer.strip()
    if scheme.lower() != "bearer" or not 0 < len(bearer) <= BEARER_MAX_CHARS:
        raise Unauthenticated("a bearer token is needed; get one at POST /v1/oauth/token")
    if [name for name, _ in scope["headers"]].count(b"authorization") != 1:
        raise Unauthenticated("there are two Authorization headers")
    return bearer


def peer_of(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client else "-"


def _check_scope(operation: Operation, principal: Principal | None) -> None:
    if principal is not None and principal.scope not in operation.scopes:
        allowed = ", ".join(sorted(operation.scopes))
        raise Forbidden(f"this needs the scope {allowed}", scope=principal.scope.value)


def _check_site(body: Any, path: Mapping[str, str], principal: Principal | None) -> None:
    """Bodies that name a site must name one that the caller may see, and the same as the path."""
    site_id = getattr(body, "site_id", None)
    if not isinstance(site_id, str):
        return
    if path.get("site_id", site_id) != site_id:
        raise OutOfBounds("the site in the body is not the one in the path", field="site_id")
    if principal is not None and not principal.may_see(site_id):
        raise UnknownSite("no such site", site_id=site_id)


def _query(operation: Operation, scope: Scope) -> Any:
    raw = scope.get("query_string", b"").decode("latin-1")
    if not raw:
        return msgspec.convert({}, operation.query) if operation.query is not None else None
    pairs = parse_qsl(raw, keep_blank_values=True)
    values = dict(pairs)
    known = _query_fields(operation.query) if operation.query is not None else {}
    for name, value in values.items():
        if name not in known:
            raise InvalidMessage(f"unknown query parameter {name[:40]!r}", field=name[:40])
        if len(value) > 200 or (known[name] and not re.fullmatch(r"-?\d{1,15}", value)):
            raise InvalidMessage(f"the query parameter {name} is not what it should be", field=name)
    if len(values) != len(pairs):
        raise InvalidMessage("a query parameter stands twice")
    try:
        typed = {name: int(value) if known[name] else value for name, value in values.items()}
        return msgspec.convert(typed, operation.query)
    except msgspec.ValidationError as error:
        raise InvalidMessage(str(error)[:200]) from error


def _query_fields(query: Any) -> dict[str, bool]:
    """Wire names of a query's fields, and whether each is a whole number."""
    hints = get_type_hints(query)
    return {
        each.encode_name: int in (hints[each.name], *get_args(hints[each.name]))
        for each in msgspec.structs.fields(query)
    }


def _form_as_json(body: bytes) -> bytes:
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, strict_parsing=True, max_num_fields=16)
    except ValueError as error:
        raise InvalidMessage("the form cannot be read") from error
    if len(dict(pairs)) != len(pairs):
        raise InvalidMessage("a form field stands twice")
    return msgspec.json.encode({unquote(name): value for name, value in pairs})


def token_route(operation: Operation, book: TokenBook) -> Route:
    """The token endpoint of a service."""

    @serves(operation)
    async def token(call: Call[Any]) -> Answer:
        try:
            reply = book.grant(call.body, call.now)
        except TokenReused:
            log.warning("refresh_token_reused", source=call.peer, request_id=call.request_id)
            raise
        return Answer(reply, headers={"Cache-Control": "no-store"})

    return token


def openapi_route(operation: Operation) -> Route:
    """The OpenAPI document of the service that hosts `operation`."""
    body = msgspec.json.encode(document(operation.host))

    @serves(operation)
    async def openapi(_: Call[None]) -> Answer:
        return Answer(body)

    return openapi
