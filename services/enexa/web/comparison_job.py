"""Comparisons in a process of their own, one at a time, each kept: a page asks, and comes back until it is there."""

import asyncio
import multiprocessing
import os
import tempfile
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import msgspec
import structlog

from services.enexa.insight.comparison import Comparison, Knobs
from shared.errors import RateLimited, SiteError, SolverFailed

KEPT_MAX = 32
WAITING_MAX = 4
TIMEOUT_REAL_S = 120.0
NICE = 10
SCENARIO = "reference_day"

log = structlog.get_logger()

Compute = Callable[[Knobs], Awaitable[Comparison]]


class ComparisonJob:
    """`ask` answers a comparison, an error that it ended with, or None while it is being computed."""

    def __init__(self, compute: Compute) -> None:
        self._compute_one = compute
        self._kept: OrderedDict[bytes, Comparison | SiteError] = OrderedDict()
        self._running: dict[bytes, asyncio.Task[None]] = {}
        self._turn = asyncio.Semaphore(1)

    def ask(self, knobs: Knobs) -> Comparison | None:
        """Raises what went wrong, once; asking again tries again."""
        key = msgspec.json.encode(knobs)
        found = self._kept.get(key)
        if isinstance(found, SiteError):
            del self._kept[key]
            raise found
        if found is None and key not in self._running:
            if len(self._running) >= WAITING_MAX:
                raise RateLimited("too many comparisons wait already", retry_after_s=10.0)
            self._running[key] = asyncio.create_task(self._compute(key, knobs))
        return found

    async def _compute(self, key: bytes, knobs: Knobs) -> None:
        try:
            async with self._turn:
                self._keep(key, await self._compute_one(knobs))
        except SiteError as error:
            self._keep(key, error)
        except Exception:  # a bug in the engine belongs in the log and on the page, not in a lost task
            log.exception("comparison_crashed", knobs=msgspec.to_builtins(knobs))
            self._keep(key, SolverFailed("the comparison failed; the service's log says why"))
        finally:
            del self._running[key]

    def _keep(self, key: bytes, outcome: Comparison | SiteError) -> None:
        self._kept[key] = outcome
        while len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)


async def in_a_process(knobs: Knobs) -> Comparison:
    """A fresh process each time: it takes its memory with it when it ends."""
    pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    try:
        future = asyncio.get_running_loop().run_in_executor(pool, run, knobs)
        packed = await asyncio.wait_for(future, TIMEOUT_REAL_S)
    except TimeoutError as error:
        raise SolverFailed(f"no comparison within {TIMEOUT_REAL_S:.0f} real seconds") from error
    except BrokenProcessPool as error:
        raise SolverFailed("the comparison's process died") from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return msgspec.msgpack.decode(packed, type=Comparison)


def run(knobs: Knobs) -> bytes:
    """In the worker: load the engine, run, and answer bytes, so that the server never loads the engine's types."""
    os.nice(NICE)
    # Compiled code is kept where this process may write, also in a container whose root is read-only.
    os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(tempfile.gettempdir(), f"enexa-{os.getuid()}")))
    from services.enexa.insight.compare import compare  # noqa: PLC0415 -- the server process must not load the engine
    from services.enexa.simulation.compiled import fast_backward, fast_run_steps  # noqa: PLC0415 -- as above
    from shared.scenario.load import load_scenario  # noqa: PLC0415 -- as above

    made = compare(load_scenario(SCENARIO), knobs, recursion=fast_backward(), step_function=fast_run_steps())
    return msgspec.msgpack.encode(made)
