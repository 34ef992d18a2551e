"""Many sites at 1 Hz in one process: the whole of Amperio as it is served, on one core; its peers have the other.

    python -m tests.bench.amperio.fleet [SITES] [SECONDS] [--profile FILE]

The stations are the emulator program, the platform a bare sink, both in other processes. Times are taken from the
schedule of a cycle (look, decide, act, durable outbox, POST) until the sink's confirmation has come back.
"""

import asyncio
import gc
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog
import uvloop

from services.amperio.app import Amperio
from services.amperio.lane import SiteLane
from services.amperio.runtime import Lanes
from services.amperio.settings import Settings
from shared.clock import SystemClock, real_deadline_s, real_now_s
from shared.rest.auth import digest
from shared.rest.server import Listener, serve

ROOT = Path(__file__).resolve().parents[3]
CORES = sorted(os.sched_getaffinity(0))
FIRST_PORT, SINK_PORT, API_PORT, OWN_PORT = 21_000, 20_990, 20_991, 20_992
SETTLE_S = 30.0
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
        self._due: dict[tuple[str, int], float] = {}

    def follow(self, lane: SiteLane) -> None:
        kept, confirmed, cycle = lane.outbox.kept, lane.outbox.confirmed, lane.cycle

        async def timed_cycle() -> None:
            now = self.clock.now()
            if self.on:
                self.late_ms.append((now.s - lane.due_s) * 1e3)
            await cycle()

        def timed_kept(rows):  # type: ignore[no-untyped-def]  # stands in for the method
            if self.on:
                self._due[lane.site_id, rows[-1].seq] = lane.due_s
            kept(rows)

        def timed_confirmed(send, through):  # type: ignore[no-untyped-def]  # as above
            due_s = self._due.pop((lane.site_id, send.last), None)
            if due_s is not None:
                self.confirmed_ms.append((self.clock.now().s - due_s) * 1e3)
            return confirmed(send, through)

        lane.cycle = timed_cycle  # type: ignore[method-assign]  # a watch beside the lane
        lane.outbox.kept = timed_kept  # type: ignore[method-assign]  # a watch beside the lane
        lane.outbox.confirmed = timed_confirmed  # type: ignore[method-assign]  # a watch beside the lane


async def measure(sites: int, seconds: float, directory: Path) -> None:
    (directory / "secret").write_text("s")
    client = {"client_id": "enexa", "secret_sha256": digest("s"), "scope": "platform", "sites": []}
    (directory / "clients.json").write_text(json.dumps([client]))
    settings = Settings(
        data_dir=directory / "data",
        credentials_file=directory / "clients.json",
        secret_file=directory / "secret",
        enexa_url=f"http://127.0.0.1:{SINK_PORT}",
        sites=",".join(f"SITE{number:04}=127.0.0.1:{FIRST_PORT + number}" for number in range(sites)),
    )
    clock = SystemClock()
    amperio = Amperio(settings, clock)
    await listening(FIRST_PORT + sites - 1)
    await listening(SINK_PORT)
    lanes = await amperio.lanes()
    watch = Watch(clock)
    for lane in lanes.all():
        watch.follow(lane)
    stop = asyncio.Event()
    served = asyncio.create_task(serve(amperio.application(lanes), [Listener("127.0.0.1", OWN_PORT)], stop=stop))
    await asyncio.sleep(SETTLE_S)
    gc.collect()
    gc.freeze()
    overruns = sum(lane.overruns for lane in lanes.all())
    watch.on, cpu_before, before_s = True, cpu_s(), real_now_s()
    await asyncio.sleep(seconds)
    share = (cpu_s() - cpu_before) / (real_now_s() - before_s)
    report(sites, seconds, watch, lanes, share, sum(lane.overruns for lane in lanes.all()) - overruns)
    stop.set()
    await served


def report(sites: int, seconds: float, watch: Watch, lanes: Lanes, share: float, overruns: int) -> None:
    modes = [lane.agent.mode.value for lane in lanes.all()]
    online = modes.count("online")
    done, late = watch.confirmed_ms, watch.late_ms
    print(
        f"{sites} sites at 1 Hz for {seconds:.0f} s, {online} online: {share * 100:.0f} % of a core, "
        f"{rss_mb():.0f} MB; {len(done)} samples confirmed, due -> confirmed p50 {percentile(done, 0.5):.2f} "
        f"p99 {percentile(done, 0.99):.2f} ms; late p50 {percentile(late, 0.5):.2f} p99 {percentile(late, 0.99):.2f} "
        f"ms; {overruns} overruns; load {os.getloadavg()[0]:.1f}"
    )


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
    numbers = [float(word) for word in words if word.replace(".", "").isdigit()]
    sites, seconds = int(numbers[0]) if numbers else 1000, numbers[1] if len(numbers) > 1 else 30.0
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20_000), hard))
    os.sched_setaffinity(0, {CORES[0]})
    sys.setswitchinterval(0.001)
    with peers(sites), tempfile.TemporaryDirectory() as directory:
        if "--profile" in words:
            import cProfile  # noqa: PLC0415 -- only here

            profile = cProfile.Profile(thread_cpu_s)
            profile.runcall(uvloop.run, measure(sites, seconds, Path(directory)))
            profile.dump_stats(words[words.index("--profile") + 1])
        else:
            uvloop.run(measure(sites, seconds, Path(directory)))


if __name__ == "__main__":
    main(sys.argv[1:])
