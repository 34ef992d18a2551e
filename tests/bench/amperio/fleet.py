"""Many sites at 1 Hz in one process: the whole of Amperio as it is served, on one core; its peers have the other.

    python -m tests.bench.amperio.fleet [SITES] [SECONDS] [--backlog ROWS] [--profile FILE]

The stations are the emulator program, the platform a bare sink, both in other processes. Times are taken from the
schedule of a cycle (look, decide, act, durable outbox, POST) until the sink's confirmation has come back. With a
backlog, so many rows of each site wait in the store at the start, as after an outage; they are replayed first.
"""

import argparse
import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

import msgspec
import structlog
import uvloop

from services.amperio.app import STORE, Amperio
from services.amperio.lane import SiteLane
from services.amperio.runtime import Lanes
from services.amperio.settings import Settings
from services.amperio.store import tables
from services.amperio.store.database import open_connection
from shared.clock import SystemClock, real_deadline_s, real_now_s
from shared.contract.wire import encode
from shared.rest.auth import digest
from shared.rest.server import Listener, serve, spare_the_collector
from tests.unit.amperio.bench import Bench

ROOT = Path(__file__).resolve().parents[3]
CORES = sorted(os.sched_getaffinity(0))
FIRST_PORT, SINK_PORT, API_PORT, OWN_PORT = 21_000, 20_990, 20_991, 20_992
SETTLE_S = 30.0
PATIENCE_S = 900.0
STORE_MAX_MB = 60_000
DAY_S = 86_400
TEN, HUNDRED = 10, 100
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def thread_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_THREAD)
    return used.ru_utime + used.ru_stime


def rss_mb() -> float:
    line = next(each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith("VmRSS"))
    return int(line.split()[1]) / 1024.0


def line(name: str, value: float, unit: str, goal: float | None) -> None:
    """One figure, beside its goal where it has one."""
    aim = "" if goal is None else f"   goal <= {goal:g} {unit}{'' if value <= goal else '   MISSED'}"
    print(f"  {name}: {value:.2f} {unit}{aim}", flush=True)


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(int(len(values) * share), len(values) - 1)] if values else float("nan")


@contextmanager
def peers(sites: int) -> Iterator[None]:
    """Stations and sink on the last core, until the block ends."""
    stations = {
        "CHARGEPOST_PORT": str(FIRST_PORT),
        "CHARGEPOST_API_PORT": str(API_PORT),
        "CHARGEPOST_STATIONS": str(sites),
        "CHARGEPOST_LOG_LEVEL": "warning",
    }
    pinned = ["taskset", "-c", str(CORES[-1]), sys.executable, "-m"]
    with (
        subprocess.Popen([*pinned, "emulator", "serve"], env={**os.environ, **stations}, cwd=ROOT) as emulator,
        subprocess.Popen([*pinned, "tests.bench.amperio.sink", str(SINK_PORT)], cwd=ROOT) as sink,
    ):
        try:
            yield
        finally:
            emulator.send_signal(signal.SIGKILL)
            sink.send_signal(signal.SIGKILL)


class Watch:
    """Notes, beside the lanes, when each cycle was due and when its sample was confirmed."""

    def __init__(self, clock: SystemClock) -> None:
        self.clock = clock
        self.confirmed_ms: list[float] = []
        self.late_ms: list[float] = []
        self.on = False
        """Whether it notes what it sees."""
        self._due: dict[tuple[str, int], float] = {}

    def clear(self) -> None:
        self.confirmed_ms, self.late_ms = [], []

    def follow(self, lane: SiteLane) -> None:
        kept, confirmed, cycle = lane.outbox.kept, lane.outbox.confirmed, lane.cycle
        begun_s = due_s = lane.due_s

        async def timed_cycle() -> None:
            nonlocal begun_s, due_s
            begun_s = self.clock.now().s
            if lane.due_s > due_s:  # else the cycle is not of the schedule: a command or a plan woke the lane
                begun_s, due_s = lane.due_s, lane.due_s
                if self.on:
                    self.late_ms.append((self.clock.now().s - due_s) * 1e3)
            await cycle()

        def timed_kept(rows):  # type: ignore[no-untyped-def]  # stands in for the method
            if self.on:
                self._due[lane.site_id, rows[-1].seq] = begun_s
            kept(rows)

        def timed_confirmed(send, through):  # type: ignore[no-untyped-def]  # as above
            since_s = self._due.pop((lane.site_id, send.last), None)
            if since_s is not None:
                self.confirmed_ms.append((self.clock.now().s - since_s) * 1e3)
            return confirmed(send, through)

        lane.cycle = timed_cycle  # type: ignore[method-assign]  # a watch beside the lane
        lane.outbox.kept = timed_kept  # type: ignore[method-assign]  # a watch beside the lane
        lane.outbox.confirmed = timed_confirmed  # type: ignore[method-assign]  # a watch beside the lane


class Use:
    """What this process used since it was made."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._cpu_s, self._since_s, self._overruns = cpu_s(), real_now_s(), self._all_overruns()

    @property
    def seconds(self) -> float:
        return real_now_s() - self._since_s

    @property
    def core_pct(self) -> float:
        return 100.0 * (cpu_s() - self._cpu_s) / self.seconds

    @property
    def overruns(self) -> int:
        return self._all_overruns() - self._overruns

    def _all_overruns(self) -> int:
        return sum(lane.overruns for lane in self._lanes.all())


def site_ids(sites: int) -> list[str]:
    return [f"SITE{number:04}" for number in range(sites)]


def leave_backlog(path: Path, sites: int, rows: int, clock: SystemClock) -> None:
    """What an outage of `rows` seconds leaves in the store; each body is a whole sample of a station at work."""
    path.parent.mkdir(parents=True)
    connection = open_connection(path, synchronous="OFF")
    epoch = tables.stream_epoch(connection)
    first_at = clock.now().at - timedelta(seconds=rows + 1.0)
    for site_id in site_ids(sites):
        sample = msgspec.structs.replace(
            Bench().online(-30.0).last, site_id=site_id, stream_epoch=epoch, sequence=987_654_321
        )
        before, after = encode(sample).split(b"987654321")
        at_s = first_at.timestamp()
        with connection:
            connection.executemany(
                "INSERT INTO samples VALUES (?, ?, ?, 0, ?)",
                ((site_id, seq, at_s + seq, before + b"%d" % seq + after) for seq in range(1, rows + 1)),
            )
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


async def measure(sites: int, seconds: float, backlog: int, directory: Path) -> None:
    (directory / "secret").write_text("s")
    client = {"client_id": "enexa", "secret_sha256": digest("s"), "scope": "platform", "sites": []}
    (directory / "clients.json").write_text(json.dumps([client]))
    settings = Settings(
        data_dir=directory / "data",
        credentials_file=directory / "clients.json",
        secret_file=directory / "secret",
        enexa_url=f"http://127.0.0.1:{SINK_PORT}",
        store_max_mb=STORE_MAX_MB,
        sites=",".join(f"{site_id}=127.0.0.1:{FIRST_PORT + n}" for n, site_id in enumerate(site_ids(sites))),
    )
    clock = SystemClock()
    await listening(FIRST_PORT + sites - 1)
    await listening(SINK_PORT)
    if backlog:
        leave_backlog(settings.data_dir / STORE, sites, backlog, clock)
    started_s = real_now_s()
    amperio = Amperio(settings, clock)
    lanes = await amperio.lanes()
    watch = Watch(clock)
    for lane in lanes.all():
        watch.follow(lane)
    waiting = sum(lane.outbox.pending_count for lane in lanes)
    assert waiting == sites * backlog
    stop = asyncio.Event()
    listener = Listener("127.0.0.1", OWN_PORT)
    served = asyncio.create_task(serve(amperio.application(lanes), [listener], stop=stop, started=spare_the_collector))
    replay = Use(lanes)
    await until(lambda: all(lane.agent.controlled for lane in lanes), "a station is not in control")
    line("from the start until all are in control", real_now_s() - started_s, "s", 5.0 if sites <= TEN else None)
    if backlog:
        use, watch.on = Use(lanes), True
        most = 5 * sites
        await until(lambda: sum(lane.outbox.pending_count for lane in lanes) <= most, "the backlog stays")
        line(f"{waiting} rows that waited, replayed and confirmed", replay.seconds, "s", None)
        whole_s = sites * DAY_S * replay.seconds / waiting
        line(f"at that rate {DAY_S} of each site", whole_s, "s", 300.0 if sites > 1 else 5.0)
        told(watch, use, "live meanwhile")
    await asyncio.sleep(SETTLE_S)
    watch.clear()
    use, watch.on = Use(lanes), True
    await asyncio.sleep(seconds)
    online = sum(lane.agent.mode.value == "online" for lane in lanes)
    print(f"{sites} sites at 1 Hz for {seconds:.0f} s, {online} online, load {os.getloadavg()[0]:.1f}")
    line("CPU of a core", use.core_pct, "%", 80.0)
    line("resident memory", rss_mb(), "MB", 300.0 if sites <= HUNDRED else None)
    told(watch, use, "live")
    stop.set()
    await served


def told(watch: Watch, use: Use, when: str) -> None:
    done, late = watch.confirmed_ms, watch.late_ms
    line(f"{when}: due -> confirmed, p50 of {len(done)}", percentile(done, 0.5), "ms", None)
    line(f"{when}: due -> confirmed, p99", percentile(done, 0.99), "ms", 5.0)
    line(f"{when}: late, p99", percentile(late, 0.99), "ms", 2.0)
    line(f"{when}: overruns", use.overruns, "", 0.0)


async def until(true: Callable[[], bool], otherwise: str) -> None:
    deadline_s = real_deadline_s(PATIENCE_S)
    while not true():
        assert real_now_s() < deadline_s, otherwise
        await asyncio.sleep(0.02)


async def listening(port: int) -> None:
    deadline_s = real_deadline_s(60.0)
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            assert real_now_s() < deadline_s, f"nobody listens on {port}"
            await asyncio.sleep(0.1)
        else:
            writer.close()
            return


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="tests.bench.amperio.fleet")
    parser.add_argument("sites", type=int, nargs="?", default=1000)
    parser.add_argument("seconds", type=float, nargs="?", default=30.0)
    parser.add_argument("--backlog", type=int, default=0, help="rows of each site that wait at the start")
    parser.add_argument("--profile", help="a file for cProfile")
    given = parser.parse_args(words)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20_000), hard))
    os.sched_setaffinity(0, {CORES[0]})
    sys.setswitchinterval(0.001)
    with peers(given.sites), tempfile.TemporaryDirectory() as directory:
        work = partial(uvloop.run, measure(given.sites, given.seconds, given.backlog, Path(directory)))
        if given.profile:
            import cProfile  # noqa: PLC0415 -- only here

            profile = cProfile.Profile(thread_cpu_s)
            profile.runcall(work)
            profile.dump_stats(given.profile)
        else:
            work()


if __name__ == "__main__":
    main(sys.argv[1:])
