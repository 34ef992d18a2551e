"""Time the pages of a running stack: `python -m tests.bench.web` prints one line for each promise."""

import asyncio
import os
import platform
import statistics
import tempfile
from http.cookies import SimpleCookie
from pathlib import Path

import aiohttp

from services.enexa.web.navigation import existing
from shared.clock import real_now_s
from tests.live.stack import SITE, Stack, free_ports

VIEWERS = 50
WATCHED_REAL_S = 20.0
ROUNDS = 5
WARM_UP_REAL_S = 3.0


def main() -> None:
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"{machine}, load {os.getloadavg()[0]:.1f}\n")
    print("| what | measured | promised |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        stack = Stack(Path(name) / "stack", free_ports())
        try:
            stack.up()
            stack.wait_for(stack.verified, "a verified setpoint")
            asyncio.run(_measure(stack))
        finally:
            stack.make("down")


async def _measure(stack: Stack) -> None:
    base = f"http://127.0.0.1:{stack.ports.enexa}"
    password = (stack.places.secrets / "operator").read_text(encoding="utf-8").strip()
    connector = aiohttp.TCPConnector(limit=VIEWERS + 10)
    async with aiohttp.ClientSession(base, connector=connector, headers={"Accept": "text/html"}) as session:
        form = {"name": "operator", "password": password, "next": "/"}
        async with session.post("/login", data=form, allow_redirects=False) as answer:
            cookies = SimpleCookie(answer.headers["Set-Cookie"])
        session.headers["Cookie"] = "; ".join(f"{each.key}={each.value}" for each in cookies.values())
        await _pages(session)
        await _viewers(session, stack)


async def _pages(session: aiohttp.ClientSession) -> None:
    """The server's time for each page, the engine's pages while they wait for the engine."""
    took: dict[str, float] = {}
    largest = ("", 0)
    for path in [page.path.replace("{site_id}", SITE) for group in existing(operator=True) for page in group.pages]:
        times = []
        for _ in range(ROUNDS):
            begun_s = real_now_s()
            async with session.get(path) as answer:
                body = await answer.read()
                assert answer.status == 200, path
            times.append(real_now_s() - begun_s)
        took[path] = statistics.median(times) * 1000.0
        largest = max(largest, (path, len(body)), key=lambda each: each[1])
    slowest = max(took, key=lambda path: took[path])
    print(f"| first page, server time | {took[f'/sites/{SITE}/monitoring']:.0f} ms | < 300 ms |")
    print(f"| slowest of {len(took)} pages ({slowest}) | {took[slowest]:.0f} ms | < 300 ms |")
    print(f"| largest page ({largest[0]}) | {largest[1] / 1000:.0f} kB | < 150 kB with its scripts |")
    async with session.get(f"/sites/{SITE}/chart?back_h=24&ahead_h=24") as answer:
        print(f"| 24 h chart | {len(await answer.read()) / 1000:.0f} kB | in those 150 kB |", flush=True)


async def _viewers(session: aiohttp.ClientSession, stack: Stack) -> None:
    """Processor time of Enexa with nobody watching and with fifty, each of whom gets every frame."""
    process = stack.program("enexa").process
    assert process is not None
    idle = await _busy_share(process.pid)
    frames = [0] * VIEWERS
    viewers = [asyncio.create_task(_watch(session, frames, index)) for index in range(VIEWERS)]
    await asyncio.sleep(WARM_UP_REAL_S)
    before = sum(frames)
    busy = await _busy_share(process.pid)
    per_s = (sum(frames) - before) / WATCHED_REAL_S / VIEWERS
    for each in viewers:
        each.cancel()
    await asyncio.gather(*viewers, return_exceptions=True)
    print(f"| Enexa with nobody watching | {100 * idle:.1f} % of one core | |")
    print(f"| live page, {VIEWERS} viewers at {per_s:.2f} frames/s | {100 * busy:.1f} % of one core | < 30 % |")


async def _watch(session: aiohttp.ClientSession, frames: list[int], index: int) -> None:
    timeout = aiohttp.ClientTimeout(total=None)
    async with session.get(f"/sites/{SITE}/live", timeout=timeout) as answer:
        async for line in answer.content:
            frames[index] += line.startswith(b"event: frame")


async def _busy_share(pid: int) -> float:
    before = _cpu_s(pid)
    await asyncio.sleep(WATCHED_REAL_S)
    return (_cpu_s(pid) - before) / WATCHED_REAL_S


def _cpu_s(pid: int) -> float:
    """User and system time of one process, without its workers."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
