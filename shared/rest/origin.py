"""One origin over HTTP/1.1: a few kept connections, one request in flight on each, replies bounded in time and size.

Replies are framed by llhttp (httptools, the server's parser too); what is ours is only what a caller decides: how long
to wait, how much to take, and that nothing is ever sent twice. A connection that was answered with anything unclear is
dropped. Errors are OSError, TimeoutError among them; docs/adr/0005-http-client.md says why this is not aiohttp.
"""

import asyncio
import ssl
from collections.abc import Mapping
from typing import BinaryIO, cast
from urllib.parse import urlsplit

import httptools
from msgspec import Struct

CONNECTIONS_MAX = 16
KEEP_ALIVE_REAL_S = 10.0
HEAD_MAX_BYTES = 64 * 1024


class Answer(Struct, frozen=True):
    """Status, headers in lower case, and the body, which is empty where it was written into a file."""

    status: int
    headers: dict[str, str]
    body: bytes


class Request(Struct, frozen=True, kw_only=True):
    """What is sent, and what is taken in return.

    `within_s` bounds all of it, `silent_s` each wait for more bytes; a body of status 200 goes `into` a file if given.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes | None
    within_s: float
    silent_s: float
    body_max_bytes: int
    into: BinaryIO | None = None


class Origin:
    """Exchanges with one scheme, host and port."""

    def __init__(self, url: str, *, tls: ssl.SSLContext | None, connect_s: float) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._host, self._tls, self._connect_s = parts.hostname, tls, connect_s
        self._port = parts.port or (443 if tls else 80)
        self._prefix, self._netloc = parts.path, parts.netloc.rpartition("@")[2]
        self._turns = asyncio.Semaphore(CONNECTIONS_MAX)
        self._idle: list[_Connection] = []
        self._all: set[_Connection] = set()

    async def exchange(self, request: Request) -> Answer:
        """The answer; OSError where none came, or not all of it, or nothing that is HTTP."""
        if self._turns.locked():
            async with asyncio.timeout(self._connect_s):
                await self._turns.acquire()
        else:
            await self._turns.acquire()
        try:
            connection = self._kept() or await self._connect()
            try:
                answer = await connection.exchange(self._bytes_of(request), request)
            except BaseException:
                # Also where the caller gave up: what still comes belongs to nobody.
                connection.abort()
                raise
            if connection.reusable:
                self._idle.append(connection)
            else:
                connection.abort()
            return answer
        finally:
            self._turns.release()

    async def close(self) -> None:
        """Drop all connections; whoever waits for an answer is told."""
        going = [each.lost for each in self._all]
        for each in self._all:
            each.abort()
        self._idle.clear()
        if going:
            await asyncio.wait(going, timeout=1.0)

    def _kept(self) -> "_Connection | None":
        """The one that was used last, so that the others grow old; none that the peer may be closing just now."""
        now_s = asyncio.get_running_loop().time()
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable and now_s - connection.idle_since_s < KEEP_ALIVE_REAL_S:
                return connection
            connection.abort()
        return None

    async def _connect(self) -> "_Connection":
        loop = asyncio.get_running_loop()
        name = self._host if self._tls is not None else None
        async with asyncio.timeout(self._connect_s):
            _, connection = await loop.create_connection(
                lambda: _Connection(self._all), self._host, self._port, ssl=self._tls, server_hostname=name
            )
        return connection

    def _bytes_of(self, request: Request) -> bytes:
        lines = [f"{request.method} {self._prefix}{request.target} HTTP/1.1", f"Host: {self._netloc}"]
        lines += [f"{name}: {value}" for name, value in request.headers.items()]
        if request.body is not None or request.method not in ("GET", "HEAD"):
            lines.append(f"Content-Length: {len(request.body or b'')}")
        head = "\r\n".join(lines)
        if head.count("\n") != len(lines) - 1 or head.count("\r") != len(lines) - 1:
            raise ValueError("a header holds a line break")
        return head.encode() + b"\r\n\r\n" + (request.body or b"")


class _Connection(asyncio.Protocol):
    """Bytes of one connection; httptools calls the methods `on_...` while it is fed."""

    def __init__(self, among: "set[_Connection]") -> None:
        self._loop = asyncio.get_running_loop()
        self._among = among
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answered: asyncio.Future[Answer] | None = None
        self._request: Request
        self._deadline_s = self._heard_s = 0.0
        self._timer: asyncio.TimerHandle
        self._forget()
        self.idle_since_s = 0.0
        self.reusable = False
        self.lost: asyncio.Future[None] = self._loop.create_future()

    async def exchange(self, sent: bytes, request: Request) -> Answer:
        assert self._answered is None, "one request in flight"
        if self._transport is None or self._transport.is_closing():
            raise ConnectionError("the peer closed the connection")
        answered: asyncio.Future[Answer] = self._loop.create_future()
        self._answered = answered
        self._request = request
        self._forget()
        self.reusable = False
        self._heard_s = self._loop.time()
        self._deadline_s = self._heard_s + request.within_s
        self._transport.write(sent)
        self._watch()
        try:
            return await answered
        finally:
            self._timer.cancel()
            self._answered = None

    def abort(self) -> None:
        self.reusable = False
        if self._transport is not None:
            self._transport.abort()

    # ---- the transport's calls ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transport is no subclass of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._among.add(self)

    def data_received(self, data: bytes) -> None:
        if self._answered is None or self._answered.done():
            self.abort()
            return
        self._heard_s = self._loop.time()
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(ConnectionError(f"no HTTP reply: {error}"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport, self.reusable = None, False
        self._among.discard(self)
        if self._head_done and not self._framed and exc is None:
            self._complete()  # a reply of an older kind: it ends with the connection
        self._fail(ConnectionError(str(exc) if exc else "the peer closed the connection"))
        if not self.lost.done():
            self.lost.set_result(None)

    # ---- the parser's calls ------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._answered is None or self._answered.done():
            self.abort()  # a second reply to one request: whose would the next one be?

    def on_header(self, name: bytes, value: bytes) -> None:
        self._size += len(name) + len(value)
        if self._size > HEAD_MAX_BYTES:
            self._fail(ConnectionError("the head of the reply is too large"))
            return
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._head_done, self._size = True, 0
        self._framed = "content-length" in self._headers or "transfer-encoding" in self._headers

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size > self._request.body_max_bytes:
            self._fail(ConnectionError(f"the reply is larger than {self._request.body_max_bytes} bytes"))
        elif self._request.into is not None and self._parser.get_status_code() == 200:
            self._request.into.write(body)
        else:
            self._chunks.append(body)

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() < 200:
            self._forget()  # a word in between; the answer follows
            return
        if self._answered is None or self._answered.done():
            return
        self.reusable = self._parser.should_keep_alive()
        self.idle_since_s = self._heard_s
        self._complete()

    # ------------------------------------------------------------------------------------------------------------------

    def _forget(self) -> None:
        """Ready for the next reply."""
        self._headers: dict[str, str] = {}
        self._chunks: list[bytes] = []
        self._size = 0
        self._head_done = self._framed = False

    def _complete(self) -> None:
        if self._answered is not None and not self._answered.done():
            status = self._parser.get_status_code()
            self._answered.set_result(Answer(status, self._headers, b"".join(self._chunks)))

    def _fail(self, error: OSError) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(error)

    def _watch(self) -> None:
        """One timer for an exchange, moved on where bytes came meanwhile."""
        until_s = min(self._heard_s + self._request.silent_s, self._deadline_s)
        self._timer = self._loop.call_at(until_s, self._look)

    def _look(self) -> None:
        if self._loop.time() < min(self._heard_s + self._request.silent_s, self._deadline_s):
            self._watch()
        else:
            self._fail(TimeoutError("no answer in time"))
