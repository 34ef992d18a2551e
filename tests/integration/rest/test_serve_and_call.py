"""The gate and the caller against each other, over real sockets, plain and TLS."""

import asyncio
import contextlib
import ssl
from pathlib import Path

import aiohttp
import msgspec
import pytest
import trustme

from shared.clock import ManualClock
from shared.contract.dispatch import DispatchCommand
from shared.contract.operations import (
    AMPERIO_TOKEN,
    DISPATCH,
    ENEXA_TOKEN,
    GET_DISPATCH,
    LIST_COMMANDS,
    POST_TELEMETRY,
    Budget,
)
from shared.contract.reads import CommandPage
from shared.contract.telemetry import Telemetry, TelemetryAck
from shared.contract.tokens import TokenRequest
from shared.contract.wire import decode_request
from shared.errors import (
    BadInput,
    LimitExceeded,
    NotFound,
    PeerBusy,
    PeerDown,
    RateLimited,
    Unauthenticated,
)
from shared.rest.call import Caller
from shared.rest.limits import Limits, Rate
from shared.rest.server import Listener, bind
from tests.integration.rest.served import COMMAND, running


async def test_a_command_of_the_page_travels_and_is_audited() -> None:
    async with running() as served:
        caller = served.caller()
        async with aiohttp.ClientSession() as session:
            token = (await caller.call(AMPERIO_TOKEN, _token_request())).message.access_token
            headers = {"Authorization": f"bearer {token}", "Content-Type": "application/json"}
            async with session.post(served.url + "/v1/dispatch", data=COMMAND, headers=headers) as response:
                assert response.status == 200
                assert (await response.json())["applied_kw"] == -25.0
        await caller.close()
        assert [line.action for line in served.audit.lines] == ["amperio_token", "dispatch"]
        assert served.audit.lines[-1].principal == "enexa"


async def test_the_caller_gets_its_token_by_itself_and_renews_it_once_when_refused() -> None:
    async with running() as served:
        caller = served.caller("CTRL001", "s2")
        sample = Telemetry(site_id="SITE001", timestamp=served.clock.now().at, sequence=7, stream_epoch="e1")
        reply = await caller.call(POST_TELEMETRY, sample)
        assert reply.message == TelemetryAck(accepted=1, stored_through=7)
        served.clock.advance(3700)
        assert (await caller.call(POST_TELEMETRY, sample)).status == 200
        served.book.revoke("CTRL001")
        with pytest.raises(Unauthenticated):
            await caller.call(POST_TELEMETRY, sample)
        await caller.close()


def _token_request() -> TokenRequest:
    return TokenRequest(grant_type="client_credentials", client_id="enexa", client_secret="s1")


BAD = [
    ("no token", {}, COMMAND, 401),
    ("garbage token", {"Authorization": "Bearer nonsense"}, COMMAND, 401),
    ("basic", {"Authorization": "Basic YTpi"}, COMMAND, 401),
    ("empty body", None, b"", 400),
    ("not json", None, b"{", 400),
    ("invalid utf-8", None, b"\xff\xfe", 400),
    ("deep nesting", None, b"[" * 10_000, 400),
    ("nan", None, COMMAND.replace(b"-25", b"NaN"), 400),
    ("string for number", None, COMMAND.replace(b"-25", b'"-25"'), 400),
    ("string nan", None, COMMAND.replace(b"-25", b'"nan"'), 400),
    ("huge number", None, COMMAND.replace(b"-25", b"1e400"), 400),
    ("beyond bounds", None, COMMAND.replace(b"-25", b"-25000"), 422),
    ("unknown field", None, COMMAND.replace(b'"params"', b'"x":1,"params"'), 400),
    ("duplicate key", None, COMMAND.replace(b'"params"', b'"site_id":"SITE001","params"'), 400),
    ("escaped duplicate", None, COMMAND.replace(b'{"power_kw":-25}', b'{"power_kw":-25,"power_\\u006bw":25}'), 400),
    ("naive time", None, COMMAND.replace(b"10:00:00Z", b"10:00:00"), 400),
    ("epoch time", None, COMMAND.replace(b'"2024-01-15T10:00:00Z"', b"1705312800"), 400),
    ("unknown command", None, COMMAND.replace(b"set_battery_power", b"explode"), 400),
    ("site with spaces", None, COMMAND.replace(b"SITE001", b"SITE 1"), 422),
    ("wrong type", {"Content-Type": "text/plain"}, COMMAND, 415),
    ("utf-16", {"Content-Type": "application/json; charset=utf-16"}, COMMAND, 415),
    ("gzip", {"Content-Encoding": "gzip"}, COMMAND, 415),
    ("too large", None, b" " * 20_000 + COMMAND, 413),
    ("far too large", None, b" " * 300_000, 413),
]


async def test_bad_requests_get_their_exact_status_as_a_problem_and_never_a_500() -> None:
    async with running() as served, aiohttp.ClientSession() as session:
        caller = served.caller()
        token = (await caller.call(AMPERIO_TOKEN, _token_request())).message.access_token
        await caller.close()
        for name, changed, body, expected in BAD:
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
            headers = (
                {**headers, **changed}
                if changed
                else headers
                if changed is None
                else {"Content-Type": "application/json"}
            )
            async with session.post(served.url + "/v1/dispatch", data=body, headers=headers) as response:
                problem = await response.json(content_type=None)
                assert response.status == expected, (name, problem)
                assert response.content_type == "application/problem+json", name
                assert problem["status"] == expected
                assert problem["code"]
                assert "Traceback" not in str(problem)
                if expected == 401:
                    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_unknown_paths_methods_and_queries_are_problems_too() -> None:
    async with running() as served, aiohttp.ClientSession() as session:
        caller = served.caller("viewer", "s3")
        page = await caller.call(LIST_COMMANDS, path={"site_id": "SITE001"}, query={"limit": "5"})
        assert page.message == CommandPage(commands=())
        for query in ({"limit": "0"}, {"limit": "1e3"}, {"limit": "9" * 30}, {"nonsense": "1"}, {"limit": "nan"}):
            with pytest.raises(Exception, match=r".") as caught:
                await caller.call(LIST_COMMANDS, path={"site_id": "SITE001"}, query=query)
            assert getattr(caught.value, "facts", {}).get("status") == 400, query
        with pytest.raises(NotFound):
            await caller.call(LIST_COMMANDS, path={"site_id": "SITE002"})
        await caller.close()
        async with session.get(served.url + "/v1/nothing") as response:
            assert response.status == 404
            assert response.content_type == "application/problem+json"
        async with session.get(served.url + "/v1/dispatch") as response:
            assert response.status == 405
            assert "POST" in response.headers["Allow"]


async def test_refusals_come_back_as_our_errors_with_their_facts() -> None:
    async with running() as served:
        caller = served.caller()
        command = decode_request(COMMAND, DispatchCommand)
        with pytest.raises(LimitExceeded) as caught:
            await caller.call(DISPATCH, msgspec.structs.replace(command, reason="too much"))
        assert caught.value.facts["limit_kw"] == 220.0
        with pytest.raises(PeerBusy):
            await caller.call(DISPATCH, msgspec.structs.replace(command, reason="disk"))
        with pytest.raises(NotFound):
            await caller.call(GET_DISPATCH, path={"command_id": "abc"})
        await caller.close()


async def test_a_peer_that_is_not_there_is_peer_down() -> None:
    probe = bind(Listener("127.0.0.1", 0))
    port = probe.getsockname()[1]
    probe.close()
    caller = Caller(f"http://127.0.0.1:{port}", ManualClock(), token_operation=ENEXA_TOKEN, client_id="a", secret="b")
    with pytest.raises(PeerDown):
        await caller.call(POST_TELEMETRY, Telemetry(site_id="SITE001", timestamp=ManualClock().now().at))
    await caller.close()


async def test_telemetry_cannot_consume_the_budget_of_commands() -> None:
    rates = {budget: Rate(1.0, 3.0) for budget in Budget}
    async with running(Limits(rates)) as served:
        middleware = served.caller("CTRL001", "s2")
        sample = Telemetry(site_id="SITE001", timestamp=served.clock.now().at)
        for _ in range(3):
            await middleware.call(POST_TELEMETRY, sample)
        with pytest.raises(PeerBusy) as caught:
            await middleware.call(POST_TELEMETRY, sample)
        assert caught.value.facts["retry_after_s"] == 1.0
        served.clock.advance(1.0)
        assert (await middleware.call(POST_TELEMETRY, sample)).status == 200
        await middleware.close()


def test_a_busy_port_is_named_with_the_remedy() -> None:
    first = bind(Listener("127.0.0.1", 0))
    with pytest.raises(BadInput, match="another port"):
        bind(Listener("127.0.0.1", first.getsockname()[1]))
    first.close()


async def test_tls_serves_1_3_and_refuses_1_2(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    cert, key, ca = tmp_path / "cert.pem", tmp_path / "key.pem", tmp_path / "ca.pem"
    certificate.private_key_pem.write_to_path(key)
    cert.write_bytes(b"".join(pem.bytes() for pem in certificate.cert_chain_pems))
    authority.cert_pem.write_to_path(ca)
    async with running(cert=cert, key=key) as served:
        caller = Caller(
            f"https://localhost:{served.port}", served.clock, ca_file=ca, client_id="CTRL001", secret="s2",
            token_operation=AMPERIO_TOKEN,
        )  # fmt: skip
        sample = Telemetry(site_id="SITE001", timestamp=served.clock.now().at)
        assert (await caller.call(POST_TELEMETRY, sample)).status == 200
        await caller.close()
        stranger = Caller(
            f"https://localhost:{served.port}", served.clock, client_id="x", secret="y", token_operation=AMPERIO_TOKEN
        )
        with pytest.raises(PeerDown):
            await stranger.call(POST_TELEMETRY, sample)
        await stranger.close()
        old = ssl.create_default_context(cafile=str(ca))
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            await asyncio.open_connection("localhost", served.port, ssl=old)


async def test_an_endless_head_is_cut_off() -> None:
    async with running() as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(b"GET /v1/nothing HTTP/1.1\r\n" + b"".join(b"X-%d: %s\r\n" % (i, b"a" * 900) for i in range(40)))
        assert (await asyncio.wait_for(reader.readline(), 5)).startswith(b"HTTP/1.1 431")
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def test_a_rate_limit_error_says_when_to_return() -> None:
    limits = Limits({Budget.COMMAND: Rate(0.5, 1.0)})
    clock = ManualClock()
    limits.take("a", Budget.COMMAND, clock.now())
    limits.take("b", Budget.COMMAND, clock.now())
    with pytest.raises(RateLimited) as caught:
        limits.take("a", Budget.COMMAND, clock.now())
    assert caught.value.facts["retry_after_s"] == 2.0
    limits.take("a", Budget.COMMAND, clock.advance(2.0))
