"""Measure HTTP servers for our case and print one table; needs `wrk` (on Debian: apt-get install wrk).

`python -m tests.bench.servers [SECONDS]` takes about a minute for each candidate: it waits to see what a server lets
slow clients do.
"""

import asyncio
import os
import platform
import re
import shutil
import socket
import ssl
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

from services.stack.credentials import make_certificates
from shared.clock import real_deadline_s, real_now_s
from shared.contract.telemetry import Battery, BatteryUnit, Charger, Grid, Station, Telemetry
from shared.contract.wire import encode
from tests.bench.servers.target import CANDIDATES, TOKEN

CONNECTIONS = 32
LONGEST_WAIT_S = 35.0
ROOT = Path(__file__).resolve().parents[3]


class Load(Struct, frozen=True, kw_only=True):
    requests_per_s: float
    p50_ms: float
    p99_ms: float


class Row(Struct, frozen=True, kw_only=True):
    """One candidate's figures; a deadline of None means still open after LONGEST_WAIT_S."""

    name: str
    plain: Load
    tls: Load
    rss_mb: float
    refuses_tls_1_2: bool
    silent_closed_s: float | None
    half_head_closed_s: float | None
    half_body_closed_s: float | None


def sample() -> bytes:
    """A full telemetry message of ordinary size."""
    unit = BatteryUnit(soc_pct=63.5, power_kw=-12.4, temp_min_c=21.0, temp_max_c=24.5, charge_max_kw=80.0)
    charger = Charger(
        state="charging", plugged=True, power_kw=84.2, session_id="S-1", session_kwh=12.25, limit_kw=150.0
    )
    return encode(
        Telemetry(
            site_id="SITE001",
            timestamp=datetime(2026, 1, 15, 10, 0, tzinfo=UTC),
            battery=Battery(soc_pct=63.5, power_kw=-24.8, temp_c=22.5, units=(unit, unit)),
            grid=Grid(import_kw=195.0, export_kw=0.0, frequency_hz=50.01, power_factor=0.98, import_kwh=1234.5),
            chargers=(charger, charger),
            aux_kw=1.8,
            station=Station(state="ready", mode=None),
            stream_epoch="bench",
            sequence=1,
        )
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def measure(name: str, seconds: int, directory: Path) -> Row:
    plain, tls = free_port(), free_port()
    cert, key = directory / "enexa.pem", directory / "enexa.key"
    command = [sys.executable, "-m", "tests.bench.servers.target", name, str(plain), str(tls), str(cert), str(key)]
    server = await asyncio.create_subprocess_exec(*pinned(0), *command, cwd=ROOT, start_new_session=True)
    try:
        await answers(plain)
        await answers(tls)
        script = directory / "post.lua"
        await wrk(f"http://127.0.0.1:{plain}/", 1, script)
        load = await wrk(f"http://127.0.0.1:{plain}/", seconds, script)
        load_tls = await wrk(f"https://127.0.0.1:{tls}/", seconds, script)
        rss_mb = resident_mb(server.pid)
        head = b"POST / HTTP/1.1\r\nHost: a\r\n"
        whole = head + b"Authorization: " + TOKEN + b"\r\nContent-Length: 900\r\n\r\n{"
        silent, half_head, half_body = await asyncio.gather(
            *(_closed_after(plain, sent) for sent in (b"", head, whole))
        )
        return Row(
            name=name,
            plain=load,
            tls=load_tls,
            rss_mb=rss_mb,
            refuses_tls_1_2=await _refuses_tls_1_2(tls),
            silent_closed_s=silent,
            half_head_closed_s=half_head,
            half_body_closed_s=half_body,
        )
    finally:
        os.killpg(server.pid, 9)
        await server.wait()


async def answers(port: int) -> None:
    deadline_s = real_deadline_s(20)
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            assert real_now_s() < deadline_s, "the candidate did not start"
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return


async def wrk(url: str, seconds: int, script: Path, *, connections: int = CONNECTIONS) -> Load:
    words = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script), url]
    run = await asyncio.create_subprocess_exec(*pinned(1), *words, stdout=asyncio.subprocess.PIPE)
    said = (await run.communicate())[0].decode()
    assert "Non-2xx" not in said, said
    return Load(
        requests_per_s=float(_found(r"Requests/sec:\s+([\d.]+)", said)),
        p50_ms=_ms(_found(r"^ +50% +(\S+)$", said)),
        p99_ms=_ms(_found(r"^ +99% +(\S+)$", said)),
    )


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text, re.MULTILINE)
    assert match, text
    return match.group(1)


def _ms(word: str) -> float:
    for unit, factor in (("us", 0.001), ("ms", 1.0), ("s", 1000.0)):
        if word.endswith(unit):
            return float(word.removesuffix(unit)) * factor
    raise AssertionError(word)


async def _closed_after(port: int, sent: bytes) -> float | None:
    """Seconds until the server gives up on a client that says so much and no more."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    begun_s = real_now_s()
    try:
        async with asyncio.timeout(LONGEST_WAIT_S):
            while await reader.read(1000):
                pass
    except TimeoutError:
        return None
    except ConnectionError:
        pass
    finally:
        writer.close()
    return real_now_s() - begun_s


async def _refuses_tls_1_2(port: int) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    except (ssl.SSLError, ConnectionError):
        return True
    writer.close()
    return False


def resident_mb(group: int) -> float:
    """Resident memory of every process in the candidate's session."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(encoding="utf-8").rpartition(")")[2].split()
            if int(fields[3]) == group:
                total += int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
        except OSError:
            continue
    return total / 1e6


def pinned(core: int) -> list[str]:
    return ["taskset", "-c", str(core)] if shutil.which("taskset") and (os.cpu_count() or 1) > 1 else []


def _table(rows: list[Row]) -> str:
    heads = ("", "plain req/s", "p50 / p99 ms", "TLS req/s", "p50 / p99 ms", "RSS MB", "refuses TLS 1.2")
    ends = ("silent client closed after", "half a head", "half a body")
    lines = ["| " + " | ".join(heads + ends) + " |", "|---" * len(heads + ends) + "|"]
    for row in rows:
        waits = (row.silent_closed_s, row.half_head_closed_s, row.half_body_closed_s)
        told = [f"open after {LONGEST_WAIT_S:.0f} s" if wait is None else f"{wait:.0f} s" for wait in waits]
        lines.append(
            f"| {row.name} | {row.plain.requests_per_s:,.0f} | {row.plain.p50_ms:.2f} / {row.plain.p99_ms:.2f} "
            f"| {row.tls.requests_per_s:,.0f} | {row.tls.p50_ms:.2f} / {row.tls.p99_ms:.2f} | {row.rss_mb:.0f} "
            f"| {'yes' if row.refuses_tls_1_2 else 'no'} | {' | '.join(told)} |"
        )
    return "\n".join(lines)


async def main(seconds: int) -> None:
    assert shutil.which("wrk"), "wrk is not installed: apt-get install wrk"
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        make_certificates(directory)
        body = sample()
        (directory / "post.lua").write_text(
            'wrk.method = "POST"\n'
            f"wrk.body = [==[{body.decode()}]==]\n"
            'wrk.headers["Content-Type"] = "application/json"\n'
            f'wrk.headers["Authorization"] = "{TOKEN.decode()}"\n',
            encoding="utf-8",
        )
        rows = [await measure(name, seconds, directory) for name in CANDIDATES]
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {len(body)} B a sample, ")
    print(f"{CONNECTIONS} connections, {seconds} s each, server and wrk pinned to a core each\n")
    print(_table(rows))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
