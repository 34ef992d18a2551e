"""An event loop without sockets: real coroutines of a program run until nothing is left to do in this second.

Time is the world's: `call_later` counts its seconds. A program that is killed takes its loop with it; whatever was
under way in it ends without another line of code being run but its `finally` clauses.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar, TypeVarTuple, Unpack

from shared.clock import ManualClock

T = TypeVar("T")
P = TypeVar("P", bound=asyncio.BaseProtocol)
Ts = TypeVarTuple("Ts")
TURNS_MAX = 100_000
"""Per second of the world; more than that is a loop that never waits."""


class StepLoop(asyncio.BaseEventLoop):
    """Runs what is ready when it is told to, and nothing in between."""

    _ready: "deque[asyncio.Handle]"
    _scheduled: "list[asyncio.TimerHandle]"

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self._world = clock
        self.dial: Callable[[asyncio.BaseProtocol], asyncio.BaseTransport] | None = None
        """Where connections of this program lead; OSError where nobody takes them."""
        self._tasks: set[asyncio.Task[Any]] = set()
        self._dead = False

    def __del__(self) -> None:
        """Nothing to warn of: it holds no selector and no socket."""

    def time(self) -> float:
        return self._world.now().s

    def turn(self) -> None:
        """Run everything that is ready or due, and what follows from it."""
        ready, timers = self._ready, self._scheduled
        now_s = self._world.now().s
        before = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        try:
            for _ in range(TURNS_MAX):
                while timers and timers[0].when() <= now_s:
                    ready.append(heapq.heappop(timers))
                if not ready:
                    return
                handle = ready.popleft()
                if not handle.cancelled():
                    handle._run()
            raise AssertionError("a program does not come to rest within one second")
        finally:
            asyncio._set_running_loop(before)

    def run_until_done(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The result of something that needs no time."""
        task = self.create_task(coroutine)
        self.turn()
        assert task.done(), "it waits for something"
        result: T = task.result()
        return result

    def die(self) -> None:
        """The process is gone."""
        self._dead = True
        self._ready.clear()
        self._scheduled.clear()
        before = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        for task in tuple(self._tasks):
            coroutine = task.get_coro()
            assert isinstance(coroutine, Coroutine)
            coroutine.close()
        self._tasks.clear()
        asyncio._set_running_loop(before)

    async def create_connection(  # type: ignore[override]  # the parent's thirty options are those of sockets
        self, protocol_factory: Callable[[], P], host: str, port: int
    ) -> tuple[asyncio.BaseTransport, P]:
        """A connection through `dial`, whatever the address."""
        assert self.dial is not None
        protocol = protocol_factory()
        transport = self.dial(protocol)
        protocol.connection_made(transport)
        return transport, protocol

    def create_task(self, coro: Any, *, name: object = None, context: Context | None = None) -> "asyncio.Task[Any]":
        task: asyncio.Task[Any] = super().create_task(coro, name=name, context=context)
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # a killed program leaves tasks that never end
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        if not self._dead:
            self._ready.append(handle)
        return handle

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self._dead:
            raise AssertionError(context.get("message")) from context.get("exception")
