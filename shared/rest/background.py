"""Loops that live as long as a service; one that breaks is logged and started again."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import structlog

from shared.errors import SiteError

RESTART_PAUSE_S = 1.0

log = structlog.get_logger()


class Background:
    """Supervise coroutines: a SiteError is a warning, anything else a bug with its traceback; both start again."""

    def __init__(self, loops: Sequence[Callable[[], Coroutine[Any, Any, None]]]) -> None:
        self._loops = loops
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._keep_running(each)) for each in self._loops]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _keep_running(self, loop: Callable[[], Coroutine[Any, Any, None]]) -> None:
        name = getattr(loop, "__qualname__", repr(loop))
        while True:
            try:
                await loop()
            except SiteError as error:
                log.warning("loop_stopped", loop=name, code=error.code, error=str(error))
            except Exception:  # a bug must not silence the rest of the service, and must be seen
                log.exception("loop_crashed", loop=name)
            else:
                return
            await asyncio.sleep(RESTART_PAUSE_S)
