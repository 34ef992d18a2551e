"""Framing on raw sockets: one refusal or none, then the end; nothing smuggled is ever handled (reliability.md 4.6)."""

import asyncio
import contextlib
import re
import resource
from pathlib import Path

import msgspec
import pytest
import trustme

from shared.contract.tokens import TokenRequest
from shared.contract.wire import Problem
from shared.rest import protocol, server
from tests.integration.rest.served import Served, running

BODY = b'{"site_id":"SITE001","timestamp":"2024-01-15T10:00:01Z"}'
LENGTH = str(len(BODY)).encode()
SMUGGLED = b"GET /v1/smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /v1/telemetry HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer %TOKEN%\r\n"
STATUS = re.compile(rb"HTTP/1\.1 (\d{3})")
ANSWER_WITHIN_S = 10.0

REFUSED: dict[str, bytes] = {
    "length and chunks": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "chunks and length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "chunked twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "chunked in disguise": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "chunked behind a space": POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "two equal lengths": POST + b"Content-Length: 4\r\nContent-Length: 4\r\n\r\n{}{}" + SMUGGLED,
    "two different lengths": POST + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\n{}{}" + SMUGGLED,
    "a negative length": POST + b"Content-Length: -5\r\n\r\n" + SMUGGLED,
    "a length with a sign": POST + b"Content-Length: +5\r\n\r\n12345" + SMUGGLED,
    "a length that is a word": POST + b"Content-Length: five\r\n\r\n12345" + SMUGGLED,
    "a chunk size beyond all numbers": POST
    + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nx\r\n"
    + SMUGGLED,
    "a chunk size that is a word": POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nx\r\n0\r\n\r\n" + SMUGGLED,
    "lines that end in a bare LF": POST.replace(b"\r\n", b"\n") + b"Content-Length: 2\n\n{}" + SMUGGLED,
    "chunks that end in a bare LF": POST + b"Transfer-Encoding: chunked\r\n\r\n2\n{}\n0\n\n" + SMUGGLED,
    "a bare CR in a header": POST + b"X-Bare: a\rb\r\nContent-Length: 2\r\n\r\n{}" + SMUGGLED,
    "a trailer of 64 KB": POST
    + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX-Late: "
    + b"a" * 65_536
    + b"\r\n\r\n"
    + SMUGGLED,
    "a length that is too small": POST + b"Content-Length: 3\r\n\r\n" + BODY + SMUGGLED,
    "a wish for a tunnel": b"CONNECT elsewhere:443 HTTP/1.1\r\nHost: x\r\n\r\n" + SMUGGLED,
    "a folded header": POST + b"X-Folded: a\r\n b\r\nContent-Length: 2\r\n\r\n{}" + SMUGGLED,
    "a header with NUL": POST + b"X-Nul: a\x00b\r\nContent-Length: 2\r\n\r\n{}" + SMUGGLED,
    "a header without a name": POST + b": a\r\nContent-Length: 2\r\n\r\n{}" + SMUGGLED,
    "no host": b"GET /v1/health HTTP/1.1\r\n\r\n" + SMUGGLED,
    "two hosts": b"GET /v1/health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" + SMUGGLED,
    "no HTTP version": b"GET /v1/health\r\n\r\n" + SMUGGLED,
    "HTTP/3.7": b"GET /v1/health HTTP/3.7\r\nHost: x\r\n\r\n" + SMUGGLED,
    "HTTP/2's preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 300,
    "random bytes": bytes(range(256)) * 8,
    "a path that is not ASCII": b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n" + SMUGGLED,
    "a head without an end": b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(200)),
    "a URL of 20 KB": b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n" + SMUGGLED,
    "a header of 64 KB": b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 65_536 + b"\r\n\r\n" + SMUGGLED,
}
"""Each ends with a request that must never be answered."""


async def exchange(served: Served, sent: bytes, *, half_close: bool = True) -> bytes:
    """Whatever comes back until the other side closes, or has said all to a half-closed connection."""
    token = served.book.grant(
        TokenRequest(grant_type="client_credentials", client_id="CTRL001", client_secret="s2"), served.clock.now()
    ).access_token
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    try:
        writer.write(sent.replace(b"%TOKEN%", token.encode()))
        await writer.drain()
        if half_close:
            writer.write_eof()
        async with asyncio.timeout(ANSWER_WITHIN_S * 2):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_g6_a_request_that_is_none_gets_one_refusal_at_most_and_nothing_behind_it_is_handled() -> None:
    async with running() as served:
        for name, sent in REFUSED.items():
            answer = await exchange(served, sent)
            statuses = [int(each) for each in STATUS.findall(answer)]
            assert len(statuses) <= 1, (name, answer)
            assert all(each in (400, 413, 414, 431) for each in statuses), (name, answer)
            if statuses:
                problem = msgspec.json.decode(answer.partition(b"\r\n\r\n")[2], type=Problem)
                assert problem.status == statuses[0], name
        actions = {line.action for line in served.audit.lines}
        telemetry = [line for line in served.audit.lines if line.action == "post_telemetry" and line.status == 200]

    assert not any("smuggled" in each for each in actions)
    assert not telemetry


async def test_a_body_that_ends_early_is_nobodys_sample() -> None:
    async with running() as served:
        for cut in range(0, len(BODY), 7):
            sent = POST + b"Content-Length: " + LENGTH + b"\r\n\r\n" + BODY[:cut]
            assert await exchange(served, sent) == b""
        whole = await exchange(served, POST + b"Connection: close\r\nContent-Length: " + LENGTH + b"\r\n\r\n" + BODY)

    assert STATUS.findall(whole) == [b"200"]
    assert [line.outcome for line in served.audit.lines if line.status == 200] == ["ok"]


async def test_a_connection_that_is_reset_at_any_byte_leaves_the_server_well() -> None:
    request = POST + b"Content-Length: " + LENGTH + b"\r\n\r\n" + BODY
    async with running() as served:
        for cut in range(1, len(request), 11):
            _, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(request[:cut])
            writer.transport.abort()
        whole = await exchange(served, POST + b"Connection: close\r\nContent-Length: " + LENGTH + b"\r\n\r\n" + BODY)

    assert STATUS.findall(whole) == [b"200"]


async def test_pipelined_requests_are_answered_in_order_and_none_behind_a_bad_one() -> None:
    good = b"GET /v1/one HTTP/1.1\r\nHost: x\r\n\r\n"
    async with running() as served:
        answer = await exchange(served, good * 3 + b"GET\x00 / HTTP/1.1\r\n\r\n" + good)

    assert STATUS.findall(answer)[:3] == [b"404"] * 3 or STATUS.findall(answer) == [b"400"]
    assert STATUS.findall(answer).count(b"404") <= 3


@pytest.mark.parametrize("more", [b"", b"Connection: keep-alive\r\n"])
async def test_http_1_0_is_answered_and_closed_also_where_it_asks_to_stay(more: bytes) -> None:
    async with running() as served:
        sent = b"GET /v1/nothing HTTP/1.0\r\nHost: x\r\n" + more + b"\r\n" + SMUGGLED
        answer = await exchange(served, sent, half_close=False)

    assert STATUS.findall(answer) == [b"404"]


HARMLESS = {
    "a header that is not ASCII": b"GET /v1/nothing HTTP/1.1\r\nHost: x\r\nX-Umlaut: \xc3\xa4\xff\r\n\r\n",
    "a whole URL": b"GET http://elsewhere/v1/nothing HTTP/1.1\r\nHost: x\r\n\r\n",
    "every resource": b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    "an upgrade to HTTP/2": b"GET /v1/nothing HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    "a chunk with an extension of 64 KB": POST
    + b"Transfer-Encoding: chunked\r\n\r\n5;"
    + b"x" * 65_536
    + b"\r\n12345\r\n0\r\n\r\n",
}


async def test_what_is_odd_and_well_framed_is_one_request_with_one_answer() -> None:
    async with running() as served:
        found = {name: STATUS.findall(await exchange(served, sent)) for name, sent in HARMLESS.items()}

    assert found == {**{name: [b"404"] for name in HARMLESS}, "a chunk with an extension of 64 KB": [b"400"]}


async def test_chunks_without_an_end_are_nobodys_sample() -> None:
    chunk = f"{len(BODY):x}\r\n".encode() + BODY + b"\r\n"
    async with running() as served:
        assert await exchange(served, POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunk) == b""
        whole = await exchange(
            served, POST + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk + b"0\r\n\r\n"
        )

    assert STATUS.findall(whole) == [b"200"]
    assert [line.outcome for line in served.audit.lines if line.status == 200] == ["ok"]


async def test_plain_http_on_the_port_of_tls_gets_no_answer(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    issued = trustme.CA().issue_cert("localhost")
    issued.cert_chain_pems[0].write_to_path(cert)
    issued.private_key_pem.write_to_path(key)
    async with running(cert=cert, key=key) as served:
        answer = await exchange(served, b"GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n")

    assert not STATUS.findall(answer)
    assert not served.audit.lines


async def test_g5_a_body_without_an_end_is_cut_off_at_its_limit() -> None:
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with running() as served:
        token = served.book.grant(
            TokenRequest(grant_type="client_credentials", client_id="CTRL001", client_secret="s2"), served.clock.now()
        ).access_token

        async def flood() -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(POST.replace(b"%TOKEN%", token.encode()) + b"Transfer-Encoding: chunked\r\n\r\n")
            sent = 0
            with contextlib.suppress(ConnectionError):
                while sent < 1_000_000_000 and not reader.at_eof():
                    writer.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
                    await writer.drain()
                    sent += 0x10000
            answer = b""
            with contextlib.suppress(ConnectionError):
                answer = await reader.read()
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            assert sent < 100_000_000
            return answer

        async with asyncio.timeout(25):
            answers = await asyncio.gather(*(flood() for _ in range(20)))
        refused = [line for line in served.audit.lines if line.status == 413]

    assert len(refused) == 20
    # A reset may overtake the answer on its way; whatever arrived is the refusal.
    assert {status for answer in answers for status in STATUS.findall(answer)} <= {b"413"}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 50_000


SLOW: dict[str, bytes] = {
    "idle": b"",
    "a slow head": b"GET /v1/health HTTP/1.1\r\nHost: x\r\nX-Slow: ",
    "a slow body": POST + b"Content-Length: 500\r\n\r\n{",
    "an idle kept-alive connection": b"GET /v1/nothing HTTP/1.1\r\nHost: x\r\n\r\n",
}


async def test_g4_slow_connections_are_ended_and_the_slowest_make_room_when_all_places_are_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(protocol, "REQUEST_HEAD_DEADLINE_S", 1.0)
    monkeypatch.setattr(protocol, "REQUEST_BODY_DEADLINE_S", 1.0)
    monkeypatch.setattr(server, "KEEP_ALIVE_S", 1)
    monkeypatch.setattr(protocol, "CONNECTIONS_MAX", 40)
    async with running() as served:
        crowd = []
        for _ in range(25):
            for head in SLOW.values():
                reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
                writer.write(head)
                crowd.append((reader, writer))
        honest = await exchange(served, POST + b"Connection: close\r\nContent-Length: " + LENGTH + b"\r\n\r\n" + BODY)
        async with asyncio.timeout(20):
            for reader, writer in crowd:
                with contextlib.suppress(ConnectionError):
                    await reader.read()
                writer.close()
                with contextlib.suppress(ConnectionError):
                    await writer.wait_closed()

    assert STATUS.findall(honest) == [b"200"]
