"""After an outage everything arrives, once and in order: the real forwarder and store against a receiver over HTTP."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from services.amperio.enexa_client import EnexaClient
from services.amperio.forwarder import Forwarder
from services.amperio.lane import SiteLane
from services.amperio.locks import Locks
from services.amperio.modbus_link import ModbusLink
from services.amperio.site.orders import Settled
from services.amperio.site.outbox import Cursor, Outbox, Row
from services.amperio.store import tables
from services.amperio.store.database import Database
from shared.clock import SystemClock
from shared.contract.events import Event, EventAck, EventKind
from shared.contract.operations import ENEXA_TOKEN, POST_EVENTS, POST_TELEMETRY, POST_TELEMETRY_BATCH, Scope
from shared.contract.telemetry import Battery, Rejected, Telemetry, TelemetryAck, TelemetryBatchAck
from shared.contract.wire import encode
from shared.errors import InvalidMessage, StoreFailed
from shared.rest.auth import Credential, TokenBook, digest
from shared.rest.background import Background
from shared.rest.gate import Call, Gate, Route, serves, token_route
from shared.rest.serve import application
from shared.rest.server import Listener, serve
from tests.integration.amperio.stage import eventually, free_port

AT = datetime(2024, 1, 15, tzinfo=UTC)
WITHIN_S = 25.0
EPOCH = "epoch"
NO_REPLY = StoreFailed("what was asked is done, and the answer is lost")
"""For the caller a 503 with no word of what was stored, which is all that a cut reply tells."""


def sample(site: str, second: int) -> Telemetry:
    return Telemetry(
        site_id=site,
        timestamp=AT + timedelta(seconds=second),
        battery=Battery(soc_pct=second * 7919 % 10_000 / 100.0, power_kw=(second % 2200 - 1100) / 10.0),
    )


class Enexa:
    """Stores each number once, answers per record, and loses as many replies as it is told to."""

    def __init__(self) -> None:
        self.stored: dict[str, dict[int, Telemetry]] = {}
        self.through: dict[str, int] = {}
        self.events: dict[str, list[int]] = {}
        self.told: list[Event] = []
        self.arrivals: dict[str, list[tuple[str, int]]] = {}
        self.duplicates = 0
        self.replies_to_lose = 0
        self.says_what_it_has = True
        """With `stored_through` in the next answer, what a lost one had confirmed is not even sent again."""
        self.batches = asyncio.Semaphore(1_000_000)
        """How many batches of history are let in."""
        self.poison: dict[int, str] = {}
        """Numbers that are never taken, and the code of the refusal; 'whole' refuses the whole body."""

    def routes(self, book: TokenBook) -> list[Route]:
        @serves(POST_TELEMETRY)
        async def one(call: Call[Any]) -> TelemetryAck:
            through, _ = self.take(call.body.site_id, (call.body,), "live")
            return TelemetryAck(accepted=1, stored_through=through)

        @serves(POST_TELEMETRY_BATCH)
        async def many(call: Call[Any]) -> TelemetryBatchAck:
            body = call.body
            await self.batches.acquire()
            for gap in body.gaps:
                for number in range(gap.from_sequence, gap.to_sequence + 1):
                    self.stored.setdefault(body.site_id, {}).setdefault(number, None)  # type: ignore[arg-type]  # None: a gap
            through, rejected = self.take(body.site_id, body.samples, "replay")
            return TelemetryBatchAck(
                accepted=len(body.samples) - len(rejected), stored_through=through, rejected=rejected
            )

        @serves(POST_EVENTS)
        async def events(call: Call[Any]) -> EventAck:
            self.events.setdefault(call.body.site_id, []).extend(each.sequence for each in call.body.events)
            self.told += call.body.events
            return EventAck(accepted=len(call.body.events))

        return [token_route(ENEXA_TOKEN, book), one, many, events]

    def take(self, site: str, samples: Sequence[Telemetry], how: str) -> tuple[int | None, tuple[Rejected, ...]]:
        known, rejected = self.stored.setdefault(site, {}), []
        for each in samples:
            assert each.sequence is not None
            code = self.poison.get(each.sequence)
            if code == "whole":
                raise InvalidMessage("this body will never do")
            if code is not None:
                rejected.append(Rejected(sequence=each.sequence, code=code))
                known.setdefault(each.sequence, None)  # type: ignore[arg-type]  # None: refused
                continue
            self.duplicates += each.sequence in known
            known.setdefault(each.sequence, each)
            self.arrivals.setdefault(site, []).append((how, each.sequence))
        through = self.through.get(site, 0)
        while through + 1 in known:
            through += 1
        self.through[site] = through
        if self.replies_to_lose and len(samples) > 1:
            self.replies_to_lose -= 1
            raise NO_REPLY
        return through if self.says_what_it_has else None, tuple(rejected)


class Outage:
    """Sites with a filled store, their forwarders, and an Enexa that is back."""

    def __init__(self, directory: Path, sites: int, seconds: int, events: int) -> None:
        self.sites = [f"SITE{number:03}" for number in range(1, sites + 1)]
        self.seconds = seconds
        self.enexa = Enexa()
        self.clock = SystemClock(speed=400.0)
        self.database = Database(directory / "amperio.db")
        self.directory = directory
        self.lanes: list[SiteLane] = []
        self._event_count = events
        self.probed = 0

    @contextlib.asynccontextmanager
    async def over(self) -> AsyncIterator["Outage"]:
        """Fill, start, and end in order."""
        await self._fill()
        clock, port, stop = self.clock, free_port(), asyncio.Event()
        book = TokenBook([Credential(client_id="CTRL001", secret_sha256=digest("s"), scope=Scope.MIDDLEWARE)])
        served = asyncio.create_task(
            serve(application(self.enexa.routes(book), Gate(clock, book)), [Listener("127.0.0.1", port)], stop=stop)
        )
        client = EnexaClient(f"http://127.0.0.1:{port}", clock, ca_file=None, client_id="CTRL001", secret="s")
        self.lanes = [await self._lane(site) for site in self.sites]
        loops: list[Callable[[], Any]] = []
        for lane in self.lanes:
            forwarder = Forwarder(lane, client, self.database, clock)
            loops += [forwarder.run_live, forwarder.run_replay, forwarder.run_events]
        running = Background(loops)
        running.start()
        try:
            yield self
        finally:
            await running.stop()
            await client.close()
            stop.set()
            await served
            self.database.close()

    async def _fill(self) -> None:
        for site in self.sites:
            outbox = Outbox(site, EPOCH, Cursor())
            for first in range(0, self.seconds, 3600):
                rows: list[Row] = []
                for second in range(first, min(first + 3600, self.seconds)):
                    made = outbox.rows_for(sample(site, second), period_s=1.0)
                    outbox.kept(made)
                    rows += made
                await self.database.run(partial(tables.keep_rows, site=site, rows=rows))
            numbered = [
                Event(event_id=f"{site}-{n}", site_id=site, timestamp=AT, kind=EventKind.ALERT_RAISED, sequence=n)
                for n in range(1, self._event_count + 1)
            ]
            await self.database.run(partial(tables.keep_events, site=site, events=numbered))

    async def _lane(self, site: str) -> SiteLane:
        return SiteLane(
            site,
            self.clock,
            ModbusLink(site, "127.0.0.1", 9, self.clock),
            self.database,
            Locks(self.directory),
            stream_epoch=EPOCH,
            keepsake=None,
            entries=(),
            cursor=await self.database.run(partial(tables.cursor_of, site=site)),
        )

    async def live_second(self, second: int) -> None:
        """One more sample of each site, as its lane would hand it over."""
        for lane in self.lanes:
            await lane.scribe.keep(sample(lane.site_id, second), Settled(), period_s=1.0)

    async def drained(self, *, within_s: float = WITHIN_S) -> None:
        """Nothing waits any more; while Enexa is away a sample a moment goes on probing, as in life."""
        async with asyncio.timeout(within_s):
            while any(lane.outbox.pending_count or lane.events.pending_count for lane in self.lanes):
                if any(lane.courier.troubled for lane in self.lanes):
                    self.probed += 1
                    await self.live_second(self.seconds + self.probed)
                await asyncio.sleep(0.01)

    def missing(self) -> int:
        """Samples that were kept and that Enexa does not have, or not as they were."""
        wrong = 0
        for site in self.sites:
            known = self.enexa.stored.get(site, {})
            for second in range(self.seconds):
                told = known.get(second + 1)
                wanted = msgspec.structs.replace(sample(site, second), stream_epoch=EPOCH, sequence=second + 1)
                wrong += told is None or encode(told) != encode(wanted)
        return wrong


async def play_outage(directory: Path, *, sites: int, seconds: int, events: int, within_s: float) -> Outage:
    async with Outage(directory, sites, seconds, events).over() as outage:
        await outage.live_second(seconds)
        await outage.drained(within_s=within_s)
    return outage


def check_outage(outage: Outage, events: int) -> None:
    assert outage.missing() == 0
    assert outage.enexa.duplicates == 0
    for site in outage.sites:
        assert outage.enexa.events[site] == list(range(1, events + 1))
        replayed = [number for how, number in outage.enexa.arrivals[site] if how == "replay"]
        assert len(set(replayed)) == len(replayed)
        # The newest batch goes ahead in the live lane; what the replay carries after it is strictly increasing.
        newest = max(replayed)
        history = [number for number in replayed if number <= newest - 61]
        assert history == sorted(history)


async def test_a3_after_an_outage_everything_arrives_once_and_in_order(tmp_path: Path) -> None:
    check_outage(await play_outage(tmp_path, sites=4, seconds=900, events=120, within_s=WITHIN_S), 120)


@pytest.mark.soak
@pytest.mark.timeout(3600)
async def test_a3_a_day_of_ten_sites(tmp_path: Path) -> None:
    check_outage(await play_outage(tmp_path, sites=10, seconds=86_400, events=200, within_s=3000.0), 200)


async def test_a3_the_control_forgetting_what_failed_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A forwarder that takes a failed call for a confirmed one loses what was in it."""
    monkeypatch.setattr(Outbox, "failed", lambda self, send: self.confirmed(send, None))
    monkeypatch.setattr(Enexa, "take", _refuses_first(Enexa.take))

    outage = Outage(tmp_path, 1, 300, 0)
    outage.enexa.says_what_it_has = False  # it would ask for the hole
    async with outage.over():
        await outage.live_second(300)
        await outage.drained()

    assert outage.missing() > 0


def _refuses_first(take: Callable[..., Any]) -> Callable[..., Any]:
    """The first three calls never reach the store."""
    refused = [3]

    def refusing(self: Enexa, site: str, samples: Sequence[Telemetry], how: str) -> Any:
        if refused[0]:
            refused[0] -= 1
            raise NO_REPLY
        return take(self, site, samples, how)

    return refusing


async def lost_replies(directory: Path, losses: int, *, within_s: float) -> Outage:
    outage = Outage(directory, 1, 60 * losses, 0)
    outage.enexa.replies_to_lose, outage.enexa.says_what_it_has = losses, False
    async with outage.over():
        await outage.live_second(outage.seconds)
        await outage.drained(within_s=within_s)
    return outage


async def test_a5_a_lost_acknowledgement_makes_no_duplicate_and_no_loss(tmp_path: Path) -> None:
    outage = await lost_replies(tmp_path, 25, within_s=WITHIN_S)

    assert outage.missing() == 0
    assert outage.enexa.duplicates > 0, "what was committed without an answer came again, and was stored once"
    for site in outage.sites:
        numbers = outage.enexa.stored[site]
        assert sorted(numbers) == list(range(1, len(numbers) + 1))


@pytest.mark.soak
@pytest.mark.timeout(3600)
async def test_a5_a_thousand_lost_acknowledgements(tmp_path: Path) -> None:
    outage = await lost_replies(tmp_path, 1000, within_s=3000.0)

    assert outage.missing() == 0


# ---- A9: now, beside history -----------------------------------------------------------------------------------------


async def live_beside_replay(directory: Path, seconds: int, live: int) -> list[int]:
    """For each of so many live samples, how many seconds of history were still to come when it had arrived."""
    outage = Outage(directory, 1, seconds, 0)
    outage.enexa.batches = asyncio.Semaphore(2)  # history comes as slowly as the test lets it
    waiting = []
    async with outage.over():
        (lane,) = outage.lanes
        known = outage.enexa.stored
        await outage.live_second(seconds)
        await eventually(lambda: len(known.get(lane.site_id, ())) > 100, within_s=WITHIN_S)  # the replay runs
        for second in range(seconds + 1, seconds + 1 + live):
            await outage.live_second(second)
            await eventually(lambda sequence=second + 1: sequence in known[lane.site_id], within_s=WITHIN_S)
            waiting.append(second + 1 - len(known[lane.site_id]))
            outage.enexa.batches.release()
        for _ in range(seconds):
            outage.enexa.batches.release()
        await outage.drained()
        now = [number for how, number in outage.enexa.arrivals[lane.site_id] if how == "live"]
    assert outage.missing() == 0
    assert now == sorted(now), "what is shown as now never goes back"
    return waiting


async def test_a9_while_history_is_replayed_each_second_arrives_in_its_turn(tmp_path: Path) -> None:
    waiting = await live_beside_replay(tmp_path, 1800, 10)

    assert min(waiting) > 600, "none of them waited for the history"


# ---- C1: what is no useful exchange ----------------------------------------------------------------------------------

TOKEN = b'{"access_token":"t","token_type":"Bearer","expires_in":3600,"scope":"middleware"}'
ANSWERS = {
    "only 5xx": (503, b'{"code":"x"}'),
    "only 401": (401, b'{"code":"unauthenticated"}'),
    "only 429": (429, b'{"code":"too_many_requests"}'),
    "200 with garbage": (200, b"<html>welcome to the hotel</html>"),
}
FAILURES = (*ANSWERS, "finish", "reset", "drop", "no such name", "no TLS")


@contextlib.asynccontextmanager
async def peer(kind: str) -> AsyncIterator[str]:
    """Somebody at Enexa's address who fails in this way; tokens are given where it answers at all."""
    open_now: set[asyncio.StreamWriter] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_now.add(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            if kind == "drop":
                await reader.read()
            while kind in ANSWERS:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if b"content-length:" in line), 0)
                await reader.readexactly(length)
                status, body = (200, TOKEN) if b"/oauth/token" in head else ANSWERS[kind]
                told = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
                writer.write(told.encode() + body)
        if kind == "reset":
            writer.transport.abort()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        scheme, host = (
            "https" if kind == "no TLS" else "http",
            "no-such.test" if kind == "no such name" else "127.0.0.1",
        )
        yield f"{scheme}://{host}:{server.sockets[0].getsockname()[1]}"
        for writer in open_now:
            writer.close()


async def exchanges_with(directory: Path, url: str, count: int) -> list[bool]:
    """What the first exchanges with whoever is there counted for, as the lane's silence is told."""
    outage = Outage(directory, 1, 0, 0)
    lane = await outage._lane("SITE001")
    heard: list[bool] = []
    lane.exchanged = heard.append  # type: ignore[method-assign,assignment]  # listens in
    client = EnexaClient(url, outage.clock, ca_file=None, client_id="CTRL001", secret="s", timeout_s=0.3)
    forwarder = Forwarder(lane, client, outage.database, outage.clock)
    running = Background([forwarder.run_live, forwarder.run_status, forwarder.run_config])
    running.start()
    try:
        async with asyncio.timeout(WITHIN_S):
            second = 0
            while len(heard) < count:
                second += 1
                await lane.scribe.keep(sample("SITE001", second), Settled(), period_s=1.0)
                await asyncio.sleep(0.01)
    finally:
        await running.stop()
        await client.close()
        outage.database.close()
    return heard


@pytest.mark.parametrize("kind", FAILURES)
async def test_c1_however_the_link_fails_nothing_counts_as_useful(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "no such name":

        def unknown(*_: Any, **__: Any) -> None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", unknown)
    async with peer(kind) as url:
        assert not any(await exchanges_with(tmp_path, url, 3))


async def test_c1_the_control_a_peer_that_takes_what_it_is_sent_is_useful(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ANSWERS, "good", (200, b'{"accepted":1,"stored_through":1}'))

    async with peer("good") as url:
        assert any(await exchanges_with(tmp_path, url, 3))


# ---- A6: bad records -------------------------------------------------------------------------------------------------

KINDS = (
    *("out_of_bounds", "invalid_message", "wrong_unit", "stale", "limit_exceeded"),
    *("unknown_site", "wrong_epoch", "not_finite", "whole", "whole"),
)
"""Ten ways to be refused: by name in the answer, or with the whole body."""


def poison(seconds: int, count: int) -> dict[int, str]:
    """Numbers spread over the outage; one in five makes the whole body unacceptable."""
    return {7 + number * (seconds - 20) // count: KINDS[number % len(KINDS)] for number in range(count)}


async def poisoned(directory: Path, seconds: int, count: int, within_s: float) -> tuple[Outage, dict[int, str]]:
    """An outage with bad records in it, played; and what was kept aside, with its reason."""
    outage = Outage(directory, 1, seconds, 0)
    outage.enexa.poison = poison(seconds, count)
    async with outage.over():
        await outage.live_second(seconds)
        await outage.drained(within_s=within_s)
        await outage.live_second(seconds + 1)  # what people are told goes into the store with the next cycle
        await eventually(lambda: outage.enexa.told, within_s=within_s)
        await outage.drained(within_s=within_s)
        dead = await outage.database.run(lambda store: store.execute("SELECT seq, code FROM dead_letters").fetchall())
    return outage, {int(str(number)): str(code) for number, code in dead}


def check_poisoned(outage: Outage, dead: dict[int, str]) -> None:
    bad = outage.enexa.poison
    assert outage.missing() == len(bad), "all but the bad ones are there"
    assert dead == {number: "invalid_message" if code == "whole" else code for number, code in bad.items()}
    alerts = [event for event in outage.enexa.told if event.kind is EventKind.ALERT_RAISED]
    assert len(alerts) == 1, "people are told, and not once for each"
    assert "will never take" in alerts[0].text


async def test_a6_one_bad_record_blocks_nothing_and_is_kept_aside_with_its_reason(tmp_path: Path) -> None:
    check_poisoned(*await poisoned(tmp_path, 300, 10, WITHIN_S))


@pytest.mark.soak
@pytest.mark.timeout(900)
async def test_a6_two_hundred_bad_records(tmp_path: Path) -> None:
    check_poisoned(*await poisoned(tmp_path, 12_000, 200, 800.0))


async def test_a6_the_control_without_dead_letters_the_queue_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def keeps_trying(self: Forwarder, send: Any, rows: Any, error: Any) -> None:
        self._lane.outbox.failed(send)

    monkeypatch.setattr(Forwarder, "_bury", keeps_trying)
    outage = Outage(tmp_path, 1, 300, 0)
    outage.enexa.poison = poison(300, 10)

    async with outage.over():
        await outage.live_second(300)
        with pytest.raises(TimeoutError):
            await outage.drained(within_s=3.0)
