"""Figures of Amperio on this machine: `python -m tests.bench.amperio [cycle|dispatch|replay|restart|outage|fleet]`.

`cycle`, `dispatch` and `replay` run in one process on one core, peers included (the station's server, and a receiver
that decodes strictly and answers as Enexa does): upper bounds of what Amperio alone takes. The others are the whole
program as it is served, its peers in other processes.
"""

import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import structlog
import uvloop

from services.amperio.enexa_client import EnexaClient
from services.amperio.forwarder import Forwarder
from services.amperio.modbus_link import ModbusLink
from services.amperio.site.outbox import Cursor, Outbox, Row
from services.amperio.site.reads import reads_of_cycle
from services.amperio.store import tables
from services.amperio.store.database import Database
from shared.clock import SystemClock, real_now_s
from shared.contract.dispatch import ImportKw, SetGridLimit
from shared.contract.operations import DISPATCH, ENEXA_TOKEN, POST_TELEMETRY, POST_TELEMETRY_BATCH, Scope
from shared.contract.telemetry import Telemetry, TelemetryAck, TelemetryBatchAck
from shared.rest.auth import Credential, TokenBook, digest
from shared.rest.gate import Call, Gate, Route, serves, token_route
from shared.rest.serve import application
from shared.rest.server import Listener, serve
from tests.bench.amperio.fleet import cpu_s, line, percentile
from tests.integration.amperio.stage import SITE, free_port, playing
from tests.unit.amperio.bench import Bench

DAY = 86_400
AT = datetime(2024, 1, 15, tzinfo=UTC)


async def cycle() -> None:
    """One decided second without I/O, and the reads of one over the station's socket."""
    bench = Bench().online(-30.0, -30.0, -30.0, -30.0)
    bench.rig.plug(max_kw=100.0)
    bench.seconds(60)
    image = bench.agent.image
    assert image is not None
    started = real_now_s()
    for _ in range(2000):
        bench.cycle()
    print(f"cycle, pure core with the station's registers in memory: {(real_now_s() - started) / 2000 * 1e6:.0f} us")
    with tempfile.TemporaryDirectory() as directory:
        async with playing(Path(directory), speed=1.0) as stage:
            link = ModbusLink(SITE, "127.0.0.1", stage.lane.link.port, stage.clock)
            requests = reads_of_cycle(0, everything=False, with_pv=False)
            spans = []
            for _ in range(300):
                started = real_now_s()
                await link.look(requests)
                spans.append((real_now_s() - started) * 1e3)
            link.close()
            print(f"the look of a cycle over the socket, {len(requests)} reads")
            line("p50", percentile(spans, 0.5), "ms", None)
            line("p99", percentile(spans, 0.99), "ms", None)


async def dispatch() -> None:
    """POST /v1/dispatch until the register is written, read back and the answer is here."""
    with tempfile.TemporaryDirectory() as directory:
        async with playing(Path(directory), speed=1.0) as stage:
            spans = []
            for number in range(150):
                command = SetGridLimit(
                    site_id=SITE,
                    timestamp=stage.clock.now().at,
                    params=ImportKw(import_kw=20.0 + number % 2),
                    command_id=f"bench-{number}",
                )
                started = real_now_s()
                reply = await stage.call("enexa", DISPATCH, command)
                spans.append((real_now_s() - started) * 1e3)
                assert reply.message.status == "applied"
                await asyncio.sleep(0.06)
            print(f"dispatch -> written -> read back -> durable -> answered, n={len(spans)}")
            line("p50", percentile(spans, 0.5), "ms", None)
            line("p99", percentile(spans, 0.99), "ms", 5.0)


def receiver(book: TokenBook) -> list[Route]:
    """Decodes strictly, counts, and confirms what it has without a hole."""
    seen: set[int] = set()
    through = [0]

    def take(numbers: Sequence[int]) -> int:
        seen.update(numbers)
        while through[0] + 1 in seen:
            through[0] += 1
        return through[0]

    @serves(POST_TELEMETRY)
    async def sample(call: Call[Any]) -> TelemetryAck:
        return TelemetryAck(accepted=1, stored_through=take((call.body.sequence,)))

    @serves(POST_TELEMETRY_BATCH)
    async def batch(call: Call[Any]) -> TelemetryBatchAck:
        numbers = [each.sequence for each in call.body.samples]
        return TelemetryBatchAck(accepted=len(numbers), stored_through=take(numbers))

    return [token_route(ENEXA_TOKEN, book), sample, batch]


async def replay() -> None:
    """24 hours of one site, replayed and confirmed through the real forwarder and loopback HTTP."""
    sample_of_life = Bench().online(-30.0).last
    clock = SystemClock()
    book = TokenBook([Credential(client_id="CTRL001", secret_sha256=digest("s"), scope=Scope.MIDDLEWARE)])
    port, stop = free_port(), asyncio.Event()
    app = application(receiver(book), Gate(clock, book))
    served = asyncio.create_task(serve(app, [Listener("127.0.0.1", port)], stop=stop))
    enexa = EnexaClient(f"http://127.0.0.1:{port}", clock, ca_file=None, client_id="CTRL001", secret="s")
    with tempfile.TemporaryDirectory() as directory:
        database = Database(Path(directory) / "amperio.db")
        await fill(database, sample_of_life, DAY)
        async with playing_lane(directory, database, clock) as lane:
            started, cpu_started = real_now_s(), cpu_s()
            forwarder = Forwarder(lane, enexa, database, clock)
            while (send := lane.outbox.next_replay()) is not None:
                assert await forwarder._carry(send)
            seconds, cpu = real_now_s() - started, cpu_s() - cpu_started
            assert lane.outbox.pending_count == 0
            print(f"{DAY} samples of one site in batches of {lane.outbox.batch}, with a receiver that decodes strictly")
            line("replayed and confirmed", seconds, "s", 5.0)
            line("CPU of sender and receiver together", cpu, "s", None)
        database.close()
    await enexa.close()
    stop.set()
    await served


async def fill(database: Database, sample: Telemetry, count: int) -> None:
    import msgspec  # noqa: PLC0415 -- only here

    outbox = Outbox(SITE, "epoch", Cursor())
    for first in range(0, count, 5000):
        rows: list[Row] = []
        for second in range(first, min(first + 5000, count)):
            dated = msgspec.structs.replace(sample, timestamp=AT + timedelta(seconds=second))
            made = outbox.rows_for(dated, period_s=1e9)
            outbox.kept(made)
            rows += made
        await database.run(partial(tables.keep_rows, site=SITE, rows=rows))


def playing_lane(directory: str, database: Database, clock: SystemClock) -> Any:
    """A lane on a filled store, without a station: only its streams matter here."""
    import contextlib  # noqa: PLC0415 -- only here

    from services.amperio.lane import SiteLane  # noqa: PLC0415 -- only here
    from services.amperio.locks import Locks  # noqa: PLC0415 -- only here

    @contextlib.asynccontextmanager
    async def lane() -> Any:
        yield SiteLane(
            SITE,
            clock,
            ModbusLink(SITE, "127.0.0.1", 9, clock),
            database,
            Locks(Path(directory)),
            stream_epoch=await database.run(tables.stream_epoch),
            keepsake=None,
            entries=(),
            cursor=await database.run(partial(tables.cursor_of, site=SITE)),
        )

    return lane()


async def restart() -> None:
    """A start with a million rows in the store, and their replay."""
    print("a start of 10 sites with 1,000,000 rows that wait")
    await as_served("10", "10", "--backlog", "100000")


async def outage() -> None:
    """A hundred sites return at once; a tenth of a day each, for the disk's sake (a day of all is 10 GB)."""
    print("100 sites after an outage of 8,640 s")
    await as_served("100", "60", "--backlog", "8640")


async def fleet() -> None:
    """A thousand sites at 1 Hz."""
    await as_served("1000", "60")


async def as_served(*words: str) -> None:
    running = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.bench.amperio.fleet", *words)
    assert await running.wait() == 0


BENCHES: dict[str, Callable[[], Awaitable[None]]] = {
    "cycle": cycle,
    "dispatch": dispatch,
    "replay": replay,
    "restart": restart,
    "outage": outage,
    "fleet": fleet,
}


async def main(names: Sequence[str]) -> None:
    for name in names or tuple(BENCHES):
        await BENCHES[name]()


if __name__ == "__main__":
    import logging

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    uvloop.run(main(sys.argv[1:]))
