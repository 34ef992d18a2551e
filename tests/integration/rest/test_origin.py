"""The client's half of HTTP/1.1, byte by byte, against a peer that says exactly what a test gives it."""

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from shared.rest.origin import CONNECTIONS_MAX, Origin, Request

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
GENEROUS_S = 20.0
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Peer:
    """Counts its connections and answers each request with `reply`, then closes where `then_close`."""

    def __init__(self, reply: bytes, *, then_close: bool = False, one_by_one: bool = False) -> None:
        self.reply = reply
        self.then_close = then_close
        self.one_by_one = one_by_one
        self.connections = 0
        self.heads: list[bytes] = []
        self.asked = asyncio.Event()
        self.gone = asyncio.Event()

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                self.heads.append(await reader.readuntil(b"\r\n\r\n"))
                self.asked.set()
                for part in [self.reply[at : at + 1] for at in range(len(self.reply))] if self.one_by_one else ():
                    writer.write(part)
                    await asyncio.sleep(0)
                if not self.one_by_one:
                    writer.write(self.reply)
                if self.then_close:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.gone.set()
            writer.close()


@asynccontextmanager
async def speaking(peer: Peer) -> AsyncIterator[Origin]:
    server = await asyncio.start_server(peer.talk, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    origin = Origin(f"http://127.0.0.1:{port}", tls=None, connect_s=GENEROUS_S)
    try:
        yield origin
    finally:
        await origin.close()
        server.close()
        await server.wait_closed()


def a_request(**changed: object) -> Request:
    given: dict[str, object] = {
        "method": "GET", "target": "/v1/x", "headers": {"Accept": "application/json"}, "body": None,
        "within_s": GENEROUS_S, "silent_s": GENEROUS_S, "body_max_bytes": 1000,
    }  # fmt: skip
    return Request(**{**given, **changed})  # type: ignore[arg-type]  # a table of fields


ANSWERS = [
    ("counted", HEAD + b"Content-Length: 2\r\n\r\n{}", 200, b"{}"),
    ("in chunks", HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n", 200, b"{}"),
    ("without a body", b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    ("not modified", b'HTTP/1.1 304 Not Modified\r\nETag: "7"\r\nContent-Length: 9\r\n\r\n', 304, b""),
    ("a word in between", b"HTTP/1.1 103 Early Hints\r\n\r\n" + HEAD + b"Content-Length: 2\r\n\r\n{}", 200, b"{}"),
    ("a refusal", b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", 503, b""),
]


@pytest.mark.parametrize("one_by_one", [False, True])
@pytest.mark.parametrize(("reply", "status", "body"), [row[1:] for row in ANSWERS], ids=[row[0] for row in ANSWERS])
async def test_a_reply_is_the_same_however_it_is_framed_and_cut_and_the_connection_serves_again(
    reply: bytes, status: int, body: bytes, *, one_by_one: bool
) -> None:
    peer = Peer(reply, one_by_one=one_by_one)
    async with speaking(peer) as origin:
        for _ in range(3):
            answer = await origin.exchange(a_request())
            assert (answer.status, answer.body) == (status, body)
        assert peer.connections == 1
        assert peer.heads[0].startswith(b"GET /v1/x HTTP/1.1\r\nHost: 127.0.0.1:")


@pytest.mark.parametrize("reply", [HEAD + b"\r\n{}", HEAD + b"Connection: close\r\nContent-Length: 2\r\n\r\n{}"])
async def test_a_peer_that_ends_the_connection_is_connected_to_again(reply: bytes) -> None:
    peer = Peer(reply, then_close=True)
    async with speaking(peer) as origin:
        for _ in range(2):
            assert (await origin.exchange(a_request())).body == b"{}"
        assert peer.connections == 2


BAD = [
    ("not HTTP", b"SSH-2.0-OpenSSH\r\n\r\n", False),
    ("two lengths", HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", False),
    ("length and chunks", HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", False),
    ("a chunk without a size", HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", False),
    ("too large", HEAD + b"Content-Length: 1001\r\n\r\n" + b" " * 1001, False),
    ("too large in chunks", HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * 1001, False),
    ("an endless head", HEAD + b"X: " + b"a" * 70_000 + b"\r\n\r\n", False),
    ("half a body", HEAD + b"Content-Length: 2\r\n\r\n{", True),
    ("half a head", HEAD, True),
    ("nothing", b"", True),
]


@pytest.mark.parametrize(("reply", "then_close"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
async def test_what_is_no_whole_reply_is_an_error_and_ends_its_connection(reply: bytes, then_close: bool) -> None:
    peer = Peer(reply, then_close=then_close)
    async with speaking(peer) as origin:
        with pytest.raises(OSError, match=r"reply|closed"):
            await origin.exchange(a_request())
        await asyncio.wait_for(peer.gone.wait(), GENEROUS_S)
        peer.reply, peer.then_close = HEAD + b"Content-Length: 2\r\n\r\n{}", False
        assert (await origin.exchange(a_request())).body == b"{}"
        assert peer.connections == 2


async def test_a_silent_peer_and_one_that_drips_end_at_their_deadlines() -> None:
    async with speaking(Peer(HEAD)) as origin:
        with pytest.raises(TimeoutError):
            await origin.exchange(a_request(silent_s=0.05))
        with pytest.raises(TimeoutError):
            await origin.exchange(a_request(within_s=0.05))


async def test_a_caller_that_gives_up_leaves_no_connection_whose_answer_the_next_one_could_get() -> None:
    peer = Peer(b"")
    async with speaking(peer) as origin:
        waiting = asyncio.create_task(origin.exchange(a_request()))
        await asyncio.wait_for(peer.asked.wait(), GENEROUS_S)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await asyncio.wait_for(peer.gone.wait(), GENEROUS_S)
        peer.reply = HEAD + b"Content-Length: 2\r\n\r\n{}"
        assert (await origin.exchange(a_request())).status == 200
        assert peer.connections == 2


async def test_an_answer_that_nobody_asked_for_is_never_an_answer() -> None:
    reply = HEAD + b"Content-Length: 2\r\n\r\n{}"
    peer = Peer(reply + reply)
    async with speaking(peer) as origin:
        for number in range(1, 4):
            assert (await origin.exchange(a_request())).body == b"{}"
            await asyncio.wait_for(peer.gone.wait(), GENEROUS_S)
            assert peer.connections == number
            peer.gone.clear()


async def test_more_callers_than_connections_wait_their_turn() -> None:
    peer = Peer(HEAD + b"Content-Length: 2\r\n\r\n{}")
    async with speaking(peer) as origin:
        answers = await asyncio.gather(*[origin.exchange(a_request()) for _ in range(5 * CONNECTIONS_MAX)])
        assert {answer.status for answer in answers} == {200}
        assert 1 <= peer.connections <= CONNECTIONS_MAX


async def test_a_file_is_written_as_it_comes_and_a_refusal_is_not_part_of_it() -> None:
    peer = Peer(HEAD + b"Content-Length: 4\r\n\r\ndata")
    async with speaking(peer) as origin:
        file = io.BytesIO()
        assert (await origin.exchange(a_request(into=file))).body == b""
        peer.reply = b"HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno"
        assert (await origin.exchange(a_request(into=file))).body == b"no"
        assert file.getvalue() == b"data"


async def test_a_header_with_a_line_break_never_leaves() -> None:
    peer = Peer(HEAD + b"Content-Length: 2\r\n\r\n{}")
    async with speaking(peer) as origin:
        with pytest.raises(ValueError, match="line break"):
            await origin.exchange(a_request(headers={"X": "a\r\nY: b"}))
        assert not peer.heads
