"""The table of `make status`: who runs and how well, what time it is there, and how fresh the data are."""

import contextlib
from datetime import UTC

import aiohttp
import msgspec
from msgspec import Struct

from services.stack.credentials import SITES
from services.stack.health import ask
from services.stack.login import get_token
from services.stack.places import Places
from services.stack.processes import Process
from services.stack.programs import health_ports, leaps_of
from services.stack.record import ProgramState, Record
from shared.clock import SystemClock
from shared.contract.operations import GET_LATEST, LIST_SITES
from shared.contract.registry import SitePage
from shared.errors import SiteError


class _Latest(Struct):
    age_s: float


async def describe(record: Record, places: Places) -> tuple[list[str], bool]:
    """The lines of the table, and whether everything is healthy."""
    health = await ask(health_ports(record.options.ports))
    lines = [f"{'program':<10} {'health':<10} {'pid':>8} {'restarts':>8}  note"]
    for name, one in health.items():
        state = record.programs.get(name, ProgramState(state="starting"))
        note = one.reason or (f"last exit {state.exit_code}" if state.exit_code is not None else "")
        lines.append(f"{name:<10} {one.condition:<10} {_pid(state.process):>8} {state.restarts:>8}  {note}")
    clock = SystemClock(
        speed=record.options.speed,
        origin_real=record.origin_real,
        origin_sim=record.origin_sim,
        leaps=leaps_of(record),
    )
    lines.append(f"clock      {clock.now().at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC at speed {record.options.speed:g}")
    lines.extend([f"{site:<10} {await _freshness(record, places, site)}" for site in await _sites(record, places)])
    return lines, all(one.ready for one in health.values())


async def _sites(record: Record, places: Places) -> list[str]:
    """Every site that Enexa knows; the first one where it does not tell."""
    url = f"http://127.0.0.1:{record.options.ports.enexa}{LIST_SITES.path}"
    with contextlib.suppress(SiteError, aiohttp.ClientError, TimeoutError, OSError, msgspec.MsgspecError):
        token = await get_token(places, "viewer", tls_port=record.options.ports.enexa_tls)
        headers = {"Authorization": f"Bearer {token.access_token}"}
        timeout = aiohttp.ClientTimeout(total=5)
        async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session, session.get(url) as reply:
            if reply.status == 200:
                found = msgspec.json.decode(await reply.content.read(1_000_000), type=SitePage)
                return [each.id for each in found.sites]
    return list(SITES)


async def _freshness(record: Record, places: Places, site: str) -> str:
    """How old the newest sample in Enexa's store is, in clock seconds."""
    url = f"http://127.0.0.1:{record.options.ports.enexa}{GET_LATEST.path.format(site_id=site)}"
    with contextlib.suppress(SiteError, aiohttp.ClientError, TimeoutError, OSError, msgspec.MsgspecError):
        token = await get_token(places, "viewer", tls_port=record.options.ports.enexa_tls)
        headers = {"Authorization": f"Bearer {token.access_token}"}
        timeout = aiohttp.ClientTimeout(total=5)
        async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session, session.get(url) as reply:
            body = await reply.content.read(100_000)
            if reply.status == 200:
                return f"newest sample is {msgspec.json.decode(body, type=_Latest).age_s:.1f} s old"
            return f"no sample yet (status {reply.status})"
    return "Enexa cannot be asked"


def _pid(process: Process | None) -> str:
    return str(process.pid) if process and process.alive() else "-"
