"""One server on one core, one `wrk` on another: requests per second, tail and memory."""

import asyncio
import json
import os
import sys
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from msgspec import Struct

from tests.bench.enexa.target import CLIENT, SECRET, SITES
from tests.bench.servers.__main__ import ROOT, Load, answers, free_port, pinned, resident_mb, sample, wrk

SAMPLE = sample()


class Target(Struct, frozen=True):
    """A running server: its address, its token, and what it takes."""

    pid: int
    port: int
    token: str

    @property
    def rss_mb(self) -> float:
        return resident_mb(self.pid)

    @property
    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Measured(Struct, frozen=True):
    """A load and what it cost the server's core."""

    load: Load
    cpu_us: float


@asynccontextmanager
async def running(kind: str, url: str = "", packages: Path | None = None) -> AsyncIterator[Target]:
    """A server pinned to the first core, until the block ends."""
    port = free_port()
    command = [*pinned(0), sys.executable, "-m", "tests.bench.enexa.target", kind, str(port), url]
    environment = {**os.environ, **({"PYTHONPATH": str(packages)} if packages else {})}
    server = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environment, start_new_session=True)
    try:
        await answers(port)
        yield Target(server.pid, port, SECRET if kind == "bare" else _token(port))
    finally:
        server.terminate()
        await server.wait()


def _token(port: int) -> str:
    asked = {"grant_type": "client_credentials", "client_id": CLIENT, "client_secret": SECRET}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/oauth/token",
        data=json.dumps(asked).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as reply:
        return str(json.load(reply)["access_token"])


async def press(target: Target, script: Path, path: str, *, seconds: int, connections: int, life: str) -> Measured:
    """Press for a while with requests that `life` makes, a piece of Lua."""
    head = (
        "wrk.method = 'POST'\nwrk.headers['Content-Type'] = 'application/json'\n"
        f"wrk.headers['Authorization'] = 'Bearer {target.token}'\n"
    )
    await asyncio.to_thread(script.write_text, head + life, encoding="utf-8")
    before_s = target.cpu_s
    load = await wrk(f"http://127.0.0.1:{target.port}{path}", seconds, script, connections=connections)
    spent_s = target.cpu_s - before_s
    return Measured(load, spent_s / max(load.requests_per_s * seconds, 1.0) * 1e6)


ALIKE = f"wrk.body = [==[{SAMPLE.decode()}]==]\n"
"""The same sample each time, for servers that store nothing."""


def numbered(epoch: str, per_request: int = 1) -> str:
    """Samples of ten sites with growing numbers and times, one or many in a request."""
    _, _, middle = SAMPLE.decode().partition('"2026-01-15T10:00:00Z"')
    middle, _, tail = middle.partition('"bench","sequence":1')
    began = int((datetime.now(UTC) - timedelta(days=20)).timestamp())
    sites = ", ".join(f"'{each}'" for each in SITES)
    lines = [
        f"local sites, n = {{{sites}}}, 0",
        "local function sample(site, k)",
        f"  local at = os.date('!%Y-%m-%dT%H:%M:%SZ', {began} + k)",
        """  return '{"site_id":"' .. site .. '","timestamp":"' .. at .. '"' ..""",
        f"""    [==[{middle}"{epoch}","sequence":]==] .. k .. [==[{tail}]==]""",
        "end",
        "function request()",
        "  n = n + 1",
        "  local site, k = sites[n % #sites + 1], math.floor(n / #sites) + 1",
    ]
    if per_request == 1:
        lines.append("  return wrk.format(nil, nil, nil, sample(site, k))")
    else:
        lines += [
            "  local many = {}",
            f"  for each = 1, {per_request} do many[each] = sample(site, (k - 1) * {per_request} + each) end",
            f"""  local head = '{{"site_id":"' .. site .. '","stream_epoch":"{epoch}","samples":['""",
            "  return wrk.format(nil, nil, nil, head .. table.concat(many, ',') .. ']}')",
        ]
    return "\n".join([*lines, "end", ""])
