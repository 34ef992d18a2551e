"""Work for the engine in processes of its own, one at a time, each result kept: a page asks, and comes back for it.

The server never loads the engine: numpy, the solver and compiled code live and die with the worker.
"""

import asyncio
import multiprocessing
import os
import tempfile
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Generic, TypeVar

import msgspec
import structlog
from msgspec import Struct

from services.enexa.insight.bounds import Bounds, Measured
from services.enexa.insight.comparison import Comparison, Knobs
from shared.errors import RateLimited, SiteError, SolverFailed
from shared.scenario.schema import Scenario

KEPT_MAX = 64
WAITING_MAX = 16
TIMEOUT_REAL_S = 120.0
NICE = 10

log = structlog.get_logger()

Wish = TypeVar("Wish", bound=Struct)
Made = TypeVar("Made", bound=Struct)
SPAWN = multiprocessing.get_context("spawn")


class ComparisonWish(Struct, frozen=True, kw_only=True):
    """A day and what is turned on it."""

    scenario: Scenario
    knobs: Knobs


class Progress:
    """How far one piece of work is, from 0 to 1; the worker writes it, the server reads it."""

    def __init__(self) -> None:
        self.shared: Synchronized[float] = SPAWN.Value("d", 0.0)

    @property
    def ratio(self) -> float:
        return float(self.shared.value)


Work = Callable[[Wish, Progress], Awaitable[Made]]


class Jobs(Generic[Wish, Made]):
    """`ask` answers a result, raises what the work ended with, or answers None while it is being done."""

    def __init__(self, work: "Work[Wish, Made]", turn: asyncio.Semaphore | None = None) -> None:
        self._work = work
        self._kept: OrderedDict[bytes, Made | SiteError] = OrderedDict()
        self._running: dict[bytes, asyncio.Task[None]] = {}
        self._progress: dict[bytes, Progress] = {}
        self._turn = turn or asyncio.Semaphore(1)

    def ask(self, wish: Wish) -> Made | None:
        """Raises what went wrong, once; asking again tries again."""
        key = msgspec.msgpack.encode(wish)
        found = self._kept.get(key)
        if isinstance(found, SiteError):
            del self._kept[key]
            raise found
        if found is None and key not in self._running:
            if len(self._running) >= WAITING_MAX:
                raise RateLimited("too many computations wait already", retry_after_s=10.0)
            self._progress[key] = Progress()
            self._running[key] = asyncio.create_task(self._compute(key, wish))
        return found

    def progress_ratio(self, wish: Wish) -> float:
        """How far the work on this wish is; 0 where it has not begun."""
        progress = self._progress.get(msgspec.msgpack.encode(wish))
        return progress.ratio if progress is not None else 0.0

    async def _compute(self, key: bytes, wish: Wish) -> None:
        try:
            async with self._turn:
                self._keep(key, await self._work(wish, self._progress[key]))
        except SiteError as error:
            self._keep(key, error)
        except Exception:  # a bug in the engine belongs in the log and on the page, not in a lost task
            log.exception("computation_crashed")
            self._keep(key, SolverFailed("the computation failed; the service's log says why"))
        finally:
            del self._running[key], self._progress[key]

    def _keep(self, key: bytes, outcome: Made | SiteError) -> None:
        self._kept[key] = outcome
        while len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)


async def compare_in_a_process(wish: ComparisonWish, progress: Progress) -> Comparison:
    return msgspec.msgpack.decode(await _in_a_process(_compared, wish, progress), type=Comparison)


async def bounds_in_a_process(measured: Measured, progress: Progress) -> Bounds:
    return msgspec.msgpack.decode(await _in_a_process(_bounded, measured, progress), type=Bounds)


async def _in_a_process(run: Callable[[Wish], bytes], wish: Wish, progress: Progress) -> bytes:
    """A fresh process each time: it takes its memory with it when it ends."""
    pool = ProcessPoolExecutor(1, mp_context=SPAWN, initializer=_begin, initargs=(progress.shared,))
    try:
        future = asyncio.get_running_loop().run_in_executor(pool, run, wish)
        return await asyncio.wait_for(future, TIMEOUT_REAL_S)
    except TimeoutError as error:
        raise SolverFailed(f"no result within {TIMEOUT_REAL_S:.0f} real seconds") from error
    except BrokenProcessPool as error:
        raise SolverFailed("the worker process died") from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


# ---- in the worker ---------------------------------------------------------------------------------------------------

_told: "list[Synchronized[float]]" = []


def _begin(shared: "Synchronized[float]") -> None:
    os.nice(NICE)
    # Compiled code is kept where this process may write, also in a container whose root is read-only.
    os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(tempfile.gettempdir(), f"enexa-{os.getuid()}")))
    _told.append(shared)


def _tell(ratio: float) -> None:
    _told[0].value = ratio


def _compared(wish: ComparisonWish) -> bytes:
    """Answers bytes, so that the server never loads the engine's types."""
    from services.enexa.insight.compare import compare  # noqa: PLC0415 -- the server process must not load the engine
    from services.enexa.planning.compiled import fast_backward  # noqa: PLC0415 -- as above
    from services.enexa.simulation.compiled import fast_run_steps  # noqa: PLC0415 -- as above

    made = compare(wish.scenario, wish.knobs, recursion=fast_backward(), step_function=fast_run_steps(), progress=_tell)
    return msgspec.msgpack.encode(made)


def _bounded(measured: Measured) -> bytes:
    from services.enexa.insight.measured import bounds_of  # noqa: PLC0415 -- the server process must not load the engine
    from services.enexa.simulation.compiled import fast_run_steps  # noqa: PLC0415 -- as above

    return msgspec.msgpack.encode(bounds_of(measured, fast_run_steps()))
