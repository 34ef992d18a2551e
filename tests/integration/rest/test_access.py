"""Who gets in: tokens, keys, addresses, certificates and budgets (goals F of reliability.md), over real sockets."""

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
import structlog
import trustme

from shared.clock import ManualClock
from shared.contract.operations import AMPERIO_TOKEN, ENEXA_TOKEN, POST_TELEMETRY, Budget
from shared.contract.telemetry import Telemetry
from shared.contract.tokens import TokenReply, TokenRequest
from shared.errors import PeerBusy, PeerDown, RateLimited, TokenReused, Unauthenticated
from shared.rest.auth import TokenBook
from shared.rest.call import TOKEN_CALLS, Caller
from shared.rest.certificates import Certificate, days_left
from shared.rest.limits import Limits, Rate
from tests.integration.rest.served import CREDENTIALS, Served, running

REUSED_AFTER_S = 61.0
SPOOFS: tuple[dict[str, str], ...] = (
    {},
    {"X-Forwarded-For": "127.0.0.1"},
    {"X-Real-IP": "127.0.0.1"},
    {"Forwarded": "for=127.0.0.1"},
    {"X-Forwarded-Host": "127.0.0.1", "X-Forwarded-For": "::ffff:127.0.0.1"},
    {"True-Client-IP": "127.0.0.1", "X-Client-IP": "127.0.0.1"},
    {"Host": "127.0.0.1"},
)


def sample(served: Served) -> Telemetry:
    return Telemetry(site_id="SITE001", timestamp=served.clock.now().at)


def log_in(book: TokenBook, clock: ManualClock) -> TokenReply:
    return book.grant(
        TokenRequest(grant_type="client_credentials", client_id="CTRL001", client_secret="s2"), clock.now()
    )


def refresh(book: TokenBook, clock: ManualClock, token: str | None) -> TokenReply:
    return book.grant(TokenRequest(grant_type="refresh_token", refresh_token=token), clock.now())


async def test_f3_a_token_is_taken_at_3595_s_and_refused_at_3605_and_at_once_when_revoked() -> None:
    async with running() as served, aiohttp.ClientSession() as session:
        token = log_in(served.book, served.clock).access_token

        async def status() -> int:
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
            body = b'{"site_id":"SITE001","timestamp":"2024-01-15T10:00:01Z"}'
            async with session.post(served.url + "/v1/telemetry", data=body, headers=headers) as reply:
                return reply.status

        served.clock.advance(3595)
        young = await status()
        served.clock.advance(10)
        old = await status()
        token = log_in(served.book, served.clock).access_token
        fresh = await status()
        served.book.revoke("CTRL001")
        revoked = await status()

    assert (young, old, fresh, revoked) == (200, 401, 200, 401)


def test_f4_a_thousand_lost_replies_to_a_refresh_lock_nobody_out() -> None:
    clock, book = ManualClock(), TokenBook(CREDENTIALS)
    held = log_in(book, clock)
    for _ in range(1000):
        lost = refresh(book, clock, held.refresh_token)
        clock.advance(30)
        held = refresh(book, clock, held.refresh_token)
        assert held == lost
        clock.advance(600)
    assert book.principal(refresh(book, clock, held.refresh_token).access_token, clock.now()).client_id == "CTRL001"


async def test_f4_fifty_parallel_refreshes_have_one_successor_and_a_late_one_revokes_the_family() -> None:
    async with running() as served, aiohttp.ClientSession() as session:
        first = log_in(served.book, served.clock)
        form = {"grant_type": "refresh_token", "refresh_token": first.refresh_token or ""}

        async def rotate() -> tuple[int, str]:
            async with session.post(served.url + "/v1/oauth/token", data=form) as reply:
                found = await reply.json(content_type=None)
                return reply.status, found.get("access_token") or found["code"]

        answers = await asyncio.gather(*(rotate() for _ in range(50)))
        served.clock.advance(REUSED_AFTER_S)
        with structlog.testing.capture_logs() as logs:
            late = await rotate()
        caller = served.caller("CTRL001", "s2")
        recovered = await caller.call(POST_TELEMETRY, sample(served))
        await caller.close()
        with pytest.raises(Unauthenticated):
            served.book.principal(answers[0][1], served.clock.now())

    assert len(set(answers)) == 1
    assert late == (401, TokenReused.code)
    assert [each["event"] for each in logs] == ["refresh_token_reused"]
    assert recovered.status == 200
    assert [line.outcome for line in served.audit.lines if line.outcome == TokenReused.code]


async def test_f5_a_peer_that_always_says_401_is_asked_for_two_tokens_a_minute_and_each_call_twice_at_most() -> None:
    async with running() as served:
        real = served.book.principal
        calls = 0

        def refuse(*_: object) -> None:
            nonlocal calls
            calls += 1
            raise Unauthenticated("no")

        served.book.principal = refuse  # type: ignore[method-assign, assignment]  # a peer that refuses whatever it issued
        caller = served.caller("CTRL001", "s2")
        for _ in range(60):
            before = calls
            with pytest.raises(Unauthenticated):
                await caller.call(POST_TELEMETRY, sample(served))
            assert calls - before <= 2
            served.clock.advance(1.0)
        asked = [line for line in served.audit.lines if line.action == AMPERIO_TOKEN.name]
        served.book.principal = real  # type: ignore[method-assign]  # and the one that has recovered
        served.clock.advance(60.0)
        recovered = await caller.call(POST_TELEMETRY, sample(served))
        await caller.close()

    assert len(asked) <= TOKEN_CALLS
    assert recovered.status == 200


async def test_f10_no_header_gets_another_address_past_the_allowlist_and_each_try_is_remembered() -> None:
    async with running(allowlist=("127.0.0.1/32",)) as served:
        stranger = aiohttp.TCPConnector(local_addr=("127.0.0.2", 0))
        async with aiohttp.ClientSession(connector=stranger) as session:
            token = log_in(served.book, served.clock).access_token
            paths = ("/v1/telemetry", "/v1/oauth/token", "/v1/sites/SITE001/commands", "/v1/nothing", "/")
            tries = 0
            for number in range(1000):
                path, spoof = paths[number % len(paths)], SPOOFS[number % len(SPOOFS)]
                headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", **spoof}
                async with session.post(served.url + path, data=b"{}", headers=headers) as reply:
                    assert reply.status == 403, (path, spoof)
                    assert reply.content_type == "application/problem+json"
                tries += 1
        caller = served.caller("CTRL001", "s2")
        inside = await caller.call(POST_TELEMETRY, sample(served))
        await caller.close()

    assert inside.status == 200
    refused = [line for line in served.audit.lines if line.source == "127.0.0.2"]
    assert len(refused) == tries == 1000
    assert {(line.status, line.principal) for line in refused} == {(403, "-")}


class Zoo:
    """An authority and the certificates that a client must refuse."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.authority = trustme.CA()
        self.stranger = trustme.CA()
        self.ca_file = directory / "ca.pem"
        self.authority.cert_pem.write_to_path(self.ca_file)

    def write(self, issued: trustme.LeafCert, name: str = "server") -> tuple[Path, Path]:
        cert, key = self._directory / f"{name}.pem", self._directory / f"{name}.key"
        cert.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(key)
        return cert, key


NOW = datetime.now(UTC)
REFUSED: dict[str, Callable[[Zoo], trustme.LeafCert]] = {
    "expired": lambda zoo: zoo.authority.issue_cert(
        "localhost", not_before=NOW - timedelta(days=9), not_after=NOW - timedelta(days=1)
    ),
    "not yet valid": lambda zoo: zoo.authority.issue_cert(
        "localhost", not_before=NOW + timedelta(days=1), not_after=NOW + timedelta(days=9)
    ),
    "wrong host": lambda zoo: zoo.authority.issue_cert("elsewhere.example"),
    "unknown authority": lambda zoo: zoo.stranger.issue_cert("localhost"),
}


@pytest.mark.parametrize("kind", list(REFUSED))
async def test_f11_a_client_refuses_a_certificate_that_is_no_proof(tmp_path: Path, kind: str) -> None:
    zoo = Zoo(tmp_path)
    cert, key = zoo.write(REFUSED[kind](zoo))
    async with running(cert=cert, key=key) as served:
        caller = Caller(
            f"https://localhost:{served.port}", served.clock, ca_file=zoo.ca_file, client_id="CTRL001", secret="s2",
            token_operation=ENEXA_TOKEN,
        )  # fmt: skip
        with pytest.raises(PeerDown):
            await caller.call(POST_TELEMETRY, sample(served))
        await caller.close()
        assert not served.audit.lines


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_f11_nothing_older_than_tls_1_3_is_spoken(tmp_path: Path, version: ssl.TLSVersion) -> None:
    zoo = Zoo(tmp_path)
    cert, key = zoo.write(zoo.authority.issue_cert("localhost"))
    async with running(cert=cert, key=key) as served:
        old = ssl.create_default_context(cafile=str(zoo.ca_file))
        old.set_ciphers("ALL:@SECLEVEL=0")
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, version
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            await asyncio.open_connection("localhost", served.port, ssl=old)


async def test_f11_a_certificate_is_exchanged_under_load_without_a_failed_request(tmp_path: Path) -> None:
    zoo = Zoo(tmp_path)
    cert, key = zoo.write(zoo.authority.issue_cert("localhost"))
    certificate = Certificate(cert, key)

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"ok")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=certificate.context)
    port = server.sockets[0].getsockname()[1]
    client = ssl.create_default_context(cafile=str(zoo.ca_file))

    async def serial() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname="localhost")
        found: int = int(writer.get_extra_info("peercert")["serialNumber"], 16)
        assert await reader.read() == b"ok"
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()
        return found

    seen = []
    for number in range(40):
        if number == 20:
            zoo.write(zoo.authority.issue_cert("localhost"))
            certificate.look()
        seen.append(await serial())
    key.write_bytes(b"half a copy")
    certificate.look()
    seen.append(await serial())
    server.close()
    await server.wait_closed()

    assert len(set(seen[:20])) == 1
    assert len(set(seen[20:])) == 1
    assert seen[0] != seen[20]


def test_f11_the_end_of_a_certificate_is_announced_a_month_a_week_and_a_day_before(tmp_path: Path) -> None:
    zoo = Zoo(tmp_path)
    told = []
    for days in (90, 29, 6, 0.5):
        issued = zoo.authority.issue_cert("localhost", not_after=datetime.now(UTC) + timedelta(days=days))
        certificate = Certificate(*zoo.write(issued, f"c{days}"))
        with structlog.testing.capture_logs() as logs:
            certificate.look()
            certificate.look()
        left_days = days_left(tmp_path / f"c{days}.pem")
        assert left_days == pytest.approx(days, abs=0.1)
        told.append([each["event"] for each in logs])

    assert told == [[], ["certificate_ends"], ["certificate_ends"], ["certificate_ends"]]


async def test_f12_exactly_the_allowed_number_passes_and_headers_buy_no_more() -> None:
    rates = {budget: Rate(1.0, 10.0) for budget in Budget}
    async with running(Limits(rates)) as served, aiohttp.ClientSession() as session:
        token = log_in(served.book, served.clock).access_token
        statuses, waits = [], []
        for number in range(30):
            headers = {
                "Authorization": f"Bearer {token}",
                "Content-Type": "application/json",
                "X-Forwarded-For": f"10.0.0.{number}",
            }
            body = b'{"site_id":"SITE001","timestamp":"2024-01-15T10:00:01Z"}'
            async with session.post(served.url + "/v1/telemetry", data=body, headers=headers) as reply:
                statuses.append(reply.status)
                waits.append(reply.headers.get("Retry-After"))

    assert statuses == [200] * 10 + [429] * 20
    assert all(int(wait or 0) >= 1 for wait in waits[10:])


async def test_f12_guessing_tokens_is_counted_by_address_and_does_not_stop_whoever_has_one() -> None:
    rates = {budget: Rate(1.0, 10.0) for budget in Budget}
    async with running(Limits(rates)) as served, aiohttp.ClientSession() as session:
        statuses = []
        for number in range(15):
            headers = {"Authorization": f"Bearer guess-{number}"}
            async with session.get(served.url + "/v1/sites/SITE001/commands", headers=headers) as reply:
                statuses.append(reply.status)
        token = log_in(served.book, served.clock).access_token
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        body = b'{"site_id":"SITE001","timestamp":"2024-01-15T10:00:01Z"}'
        async with session.post(served.url + "/v1/telemetry", data=body, headers=headers) as reply:
            honest = reply.status

    assert statuses == [401] * 10 + [429] * 5
    assert honest == 200


def test_f12_however_many_callers_come_a_bounded_number_is_remembered() -> None:
    limits, now = Limits(keys_max=1000), ManualClock().now()
    for number in range(100_000):
        limits.take(f"10.{number}", Budget.GENERAL, now)

    assert len(limits) == 1000
    for _ in range(500):
        limits.take("one", Budget.GENERAL, now)
    with pytest.raises(RateLimited):
        limits.take("one", Budget.GENERAL, now)


HOSTILE: dict[str, bytes] = {
    "a redirect": b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{elsewhere}/\r\nContent-Length: 0\r\n\r\n",
    "HTML": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 15\r\n\r\n<html>hi</html>",
    "nothing": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "half a body": b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"accepted":1',
    "a body without an end": b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n" + b" " * 9_000_000,
    "a bomb": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00",
    "an endless head": b"HTTP/1.1 200 OK\r\n" + b"X-More: " + b"a" * 100_000,
    "silence": b"",
    "500": b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
    "no HTTP": b"\x00\x01\x02 nonsense\r\n\r\n",
    "429 without a word": b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("kind", list(HOSTILE))
async def test_f13_a_hostile_peer_is_a_failure_within_the_timeout_and_gets_no_credentials(kind: str) -> None:
    elsewhere_seen: list[bytes] = []

    async def elsewhere(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        elsewhere_seen.append(await reader.read(1000))
        writer.close()

    async def hostile(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(HOSTILE[kind].replace(b"{elsewhere}", str(other_port).encode()))
            await writer.drain()
            await reader.read()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        gone.set()

    gone = asyncio.Event()
    other = await asyncio.start_server(elsewhere, "127.0.0.1", 0)
    other_port = other.sockets[0].getsockname()[1]
    server = await asyncio.start_server(hostile, "127.0.0.1", 0)
    caller = Caller(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", ManualClock(), timeout_s=1.0)
    async with asyncio.timeout(20):
        with pytest.raises((PeerDown, PeerBusy)):
            await caller.call(POST_TELEMETRY, Telemetry(site_id="SITE001", timestamp=ManualClock().now().at))
        await caller.close()
        await gone.wait()
    server.close()
    other.close()

    assert not elsewhere_seen
