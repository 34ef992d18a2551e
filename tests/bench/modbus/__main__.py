"""Measure the emulator's port beside libmodbus, a thousand stations, pipelining, memory and the physics.

    python -m tests.bench.modbus [seconds per measurement] [--short]

Server on the first core, load on the second. Ratios count, not absolute numbers: other work on the machine moves both.
"""

import asyncio
import os
import platform
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.chargepost.registers import CHARGER_1
from shared.scenario.load import load_scenario
from tests.integration.modbus.floods import Seen, healthy, known_answers, mutated, pipelined
from tests.unit.emulator.rig import Rig

HERE = Path(__file__).parent
CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
SERVER_CORE, LOAD_CORE = CORES[0], CORES[-1]
START_S = 60.0
TICKS = os.sysconf("SC_CLK_TCK")


def main() -> int:
    numbers = [word for word in sys.argv[1:] if not word.startswith("-")]
    seconds = float(numbers[0]) if numbers else 5.0
    print(f"{platform.machine()}, Python {platform.python_version()}, cores {CORES}, load {os.getloadavg()}")
    physics()
    codec()
    if "--short" in sys.argv:
        return 0
    with tempfile.TemporaryDirectory() as place:
        beside_libmodbus(Path(place), seconds)
    pipelining(requests=1_000_000)
    mutations(requests=1_000_000)
    many_stations(100, seconds)
    many_stations(1_000, seconds)
    return 0


def physics() -> None:
    """An hour of seconds of one station, with cars; CPU time, so that other work does not count."""
    rig = Rig("chargepost", load_scenario("reference_day"))
    moments = []
    now = rig.now
    for _ in range(3 * 3600):
        now = now.later(1.0)
        moments.append(now)
    start = time.process_time()
    for moment in moments:
        rig.station.step(moment)
    print(f"physics: one hour of 1 s steps {(time.process_time() - start) / 3 * 1e3:.1f} ms CPU (goal < 50)")


def codec() -> None:
    frames = [bytes((number,)) * (2 * CHARGER_1.count) for number in (1, 2)]
    start = time.process_time()
    for number in range(20_000):
        CHARGER_1.decode_bytes(frames[number & 1])
    print(f"codec: 15 registers to a struct {(time.process_time() - start) / 20_000 * 1e6:.1f} us CPU")


def beside_libmodbus(place: Path, seconds: float) -> None:
    """The same load on both servers, in turns."""
    if shutil.which("gcc") is None:
        print("libmodbus: SKIPPED, gcc is not installed")
        return
    subprocess.run(["gcc", "-O2", "-o", place / "load", HERE / "load.c"], check=True)
    command = ["gcc", "-O2", "-o", place / "server", HERE / "server.c", "-I/usr/include/modbus", "-lmodbus"]
    if subprocess.run([str(word) for word in command], check=False, capture_output=True).returncode != 0:
        print("libmodbus: SKIPPED, libmodbus-dev is not installed")
        return
    for connections, registers in ((1, 28), (100, 28)):
        rates: dict[str, list[float]] = {"libmodbus": [], "emulator": []}
        for _ in range(3):
            port = free_port()
            with process([str(place / "server"), str(port)], port):
                rates["libmodbus"].append(loaded(place, port, connections, seconds, registers, "libmodbus"))
            port = free_port()
            with emulator(port, 1):
                rates["emulator"].append(loaded(place, port, connections, seconds, registers, "emulator"))
        best = {name: sorted(values)[1] for name, values in rates.items()}
        ratio = best["emulator"] / best["libmodbus"]
        print(f"port, {connections} connections: {ratio:.2f} x libmodbus, medians of 3 (goal at 100: >= 0.3)")


def loaded(place: Path, port: int, connections: int, seconds: float, registers: int, name: str) -> float:
    words = [str(word) for word in (place / "load", port, connections, seconds, 1000, registers)]
    done = subprocess.run(["taskset", "-c", str(LOAD_CORE), *words], capture_output=True, text=True, check=True)
    rate, p50, p99, wrong = done.stdout.split()
    print(f"  {name}, {connections} connections: {rate} req/s, p50 {p50} us, p99 {p99} us, {wrong} wrong")
    return float(rate)


def pipelining(requests: int) -> None:
    """Depth 8, cut into pieces anywhere, four connections: every answer must be the right bytes, in order."""

    async def talk(port: int) -> list[Seen]:
        known = await known_answers(port)
        each = requests // 4
        return list(await asyncio.gather(*(pipelined(port, known, each, depth=8, seed=seed) for seed in range(4))))

    port = free_port()
    with emulator(port, 1):
        start = time.perf_counter()
        seen = asyncio.run(talk(port))
    spent = time.perf_counter() - start
    answered, wrong = sum(each.answered for each in seen), sum(each.wrong for each in seen)
    print(
        f"pipelining: depth 8 in fragments, {requests} requests, {requests - answered} lost, {wrong} of "
        f"{answered // 8} batches mixed (goal 0 and 0), {answered / spent:.0f}/s"
    )


def mutations(requests: int) -> None:
    """Broken requests in a flood; beside them a healthy client asks on and every answer must be right and in time."""

    async def both(port: int) -> tuple[Seen, Seen]:
        stop = asyncio.Event()
        beside = asyncio.create_task(healthy(port, stop))
        flood = await mutated(port, requests, seed=20240615)
        stop.set()
        return flood, await beside

    port = free_port()
    with emulator(port, 1) as pid:
        before_mb = rss_mb(pid)
        flood, calm = asyncio.run(both(port))
        grown_mb = rss_mb(pid) - before_mb
    p99_ms = sorted(calm.took_s)[int(len(calm.took_s) * 0.99)] * 1e3
    print(
        f"mutations: {requests} requests, {flood.answered} answers of which {flood.wrong} wrong, {flood.closed} bad "
        f"connections closed and {flood.kept_open} not; a healthy client beside them had {calm.answered} answers, "
        f"{calm.wrong} wrong, p99 {p99_ms:.1f} ms (one process with the flood); {grown_mb:.1f} MB more"
    )


def many_stations(stations: int, seconds: float) -> None:
    """Every station on its own port, stepped and polled (60 registers in two requests) once a second."""

    async def poll(first: int) -> None:
        links = [await asyncio.open_connection("127.0.0.1", first + i) for i in range(stations)]
        frames = b"".join(
            struct.pack(">HHHBBHH", i, 0, 6, 1, 4, a, c) for i, (a, c) in enumerate(((1000, 28), (3000, 32)))
        )
        for _ in range(int(seconds) + 1):
            start = time.perf_counter()
            for _, writer in links:
                writer.write(frames)
            for reader, _ in links:
                await asyncio.wait_for(reader.readexactly(9 + 56 + 9 + 64), 30)
            await asyncio.sleep(max(0.0, 1.0 - (time.perf_counter() - start)))
        for _, writer in links:
            writer.close()

    port = 20_000
    with emulator(port, stations) as pid:
        asyncio.run(poll(port))
        before, start = cpu_s(pid), time.perf_counter()
        asyncio.run(poll(port))
        share = (cpu_s(pid) - before) / (time.perf_counter() - start)
        print(
            f"{stations} stations stepped and polled at 1 Hz: {100 * share:.0f} % of a core, {rss_mb(pid):.0f} MB "
            f"({'goal < 200 MB' if stations == 100 else 'goal <= 35 %, < 1 GB'})"
        )


@contextmanager
def emulator(port: int, stations: int) -> Iterator[int]:
    environment = {
        **os.environ,
        "CHARGEPOST_PORT": str(port),
        "CHARGEPOST_API_PORT": str(free_port()),
        "CHARGEPOST_STATIONS": str(stations),
        "CHARGEPOST_MOST_CONNECTIONS": "200",
        "CHARGEPOST_LOG_LEVEL": "warning",
    }
    with process([sys.executable, "-m", "emulator", "serve"], port + stations - 1, environment) as pid:
        yield pid


@contextmanager
def process(command: list[str], port: int, environment: dict[str, str] | None = None) -> Iterator[int]:
    """A server pinned to its core, ready when its (last) port answers, and gone afterwards."""
    pinned = ["taskset", "-c", str(SERVER_CORE), *command]
    with subprocess.Popen(pinned, env=environment) as running:
        try:
            deadline = time.monotonic() + START_S
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    if running.poll() is not None or time.monotonic() > deadline:
                        raise
                    time.sleep(0.05)
            yield running.pid
        finally:
            running.send_signal(signal.SIGKILL)


def _many_files() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20_000), hard))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def rss_mb(pid: int) -> float:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024.0


if __name__ == "__main__":
    _many_files()
    sys.exit(main())
