"""Ask each program how it is, on its plain port."""

import asyncio
import contextlib
from typing import Literal, TypeAlias

import aiohttp
import msgspec
from msgspec import Struct

Condition: TypeAlias = Literal["ok", "degraded", "unhealthy", "silent"]


class Health(Struct, frozen=True, kw_only=True):
    """One answer: `ready` is what counts, `reason` is for people."""

    ready: bool
    condition: str
    reason: str = ""


class _Check(Struct):
    name: str = ""
    ok: bool = True
    detail: str = ""


class _Body(Struct):
    """What the three programs have in common when they speak of their health."""

    status: str
    reason: str = ""
    checks: tuple[_Check, ...] = ()

    def why(self) -> str:
        return self.reason or "; ".join(f"{check.name}: {check.detail}" for check in self.checks if not check.ok)


async def ask(ports: dict[str, int], *, timeout_s: float = 2.0) -> dict[str, Health]:
    """The health of every program, asked at the same time."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout_s)) as session:
        answers = await asyncio.gather(*(_ask(session, port) for port in ports.values()))
    return dict(zip(ports, answers, strict=True))


async def _ask(session: aiohttp.ClientSession, port: int) -> Health:
    try:
        async with session.get(f"http://127.0.0.1:{port}/v1/health") as reply:
            body = await reply.content.read(100_000)
            said = _Body(status="unhealthy")
            with contextlib.suppress(msgspec.MsgspecError):
                said = msgspec.json.decode(body, type=_Body)
            return Health(ready=reply.status == 200, condition=said.status, reason=said.why())
    except (aiohttp.ClientError, TimeoutError, OSError):
        return Health(ready=False, condition="silent", reason=f"nothing answers on port {port}")
