"""The planner in its own process: a low-priority worker that is replaced when it dies or hangs.

Only this process's child loads the solver. What comes back is bytes, because unpickling the planner's own types would
load the planner's modules here.
"""

import asyncio
import contextlib
import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING

import msgspec
import structlog
from msgspec import Struct

from services.enexa.planning.problem import PlanRequest
from services.enexa.planning.travel import schedule_of
from services.enexa.state import PlanReport
from shared.contract.schedule import SiteSchedule
from shared.errors import SiteError, SolverFailed

if TYPE_CHECKING:
    from services.enexa.planning.plan import Plan

log = structlog.get_logger()

TIMEOUT_REAL_S = 60.0
TASKS_PER_CHILD = 200
NICE = 10


class Planned(Struct, frozen=True, kw_only=True):
    """A plan as the platform keeps it."""

    schedule: SiteSchedule
    report: PlanReport


class PlanningJob:
    """Makes one plan at a time."""

    def __init__(self, *, timeout_s: float = TIMEOUT_REAL_S) -> None:
        self._timeout_s = timeout_s
        self._pool: ProcessPoolExecutor | None = None

    async def make(self, request: PlanRequest) -> Planned:
        """A plan; PlanUnavailable or OutOfBounds with the reason. Waits in real seconds: a solver knows no clock."""
        loop = asyncio.get_running_loop()
        try:
            packed = await asyncio.wait_for(loop.run_in_executor(self._open(), make, request), self._timeout_s)
        except TimeoutError as error:
            self.close(kill=True)
            raise SolverFailed(f"no plan within {self._timeout_s:.0f} real seconds") from error
        except BrokenProcessPool as error:
            self.close(kill=True)
            raise SolverFailed("the planner's process died") from error
        except SiteError:
            raise
        except Exception as error:  # a bug in the worker; its traceback came along as the cause
            log.exception("planner_crashed", site_id=request.site_id)
            raise SolverFailed(f"the planner crashed: {type(error).__name__}: {error}"[:300]) from error
        return msgspec.msgpack.decode(packed, type=Planned)

    async def worker_pid(self) -> int:
        """The worker's process id; starts one where none runs."""
        return await asyncio.get_running_loop().run_in_executor(self._open(), os.getpid)

    def close(self, *, kill: bool = False) -> None:
        """Let the worker go; `kill` where it does not answer."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        if kill:
            for process in list((getattr(pool, "_processes", None) or {}).values()):
                with contextlib.suppress(OSError, ValueError):
                    process.kill()
        pool.shutdown(wait=False, cancel_futures=True)

    def _open(self) -> ProcessPoolExecutor:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                max_workers=1,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=settle_in,
                max_tasks_per_child=TASKS_PER_CHILD,
            )
        return self._pool


def settle_in() -> None:
    """Planning may wait, ingest and dispatching may not; and a worker must not outlive a server that was killed."""
    os.nice(NICE)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(0)


def make(request: PlanRequest) -> bytes:
    """Runs in the worker: plan, and bring the result into the contract's shape."""
    from services.enexa.planning.worker import make_plan  # noqa: PLC0415 -- the solver is loaded in the worker only

    plan = make_plan(request)
    return msgspec.msgpack.encode(Planned(schedule=schedule_of(plan, made_at=request.now), report=report_of(plan)))


def report_of(plan: "Plan") -> PlanReport:
    return PlanReport(
        explanations=plan.explanations,
        price_published=plan.price_published,
        costs_eur={name: getattr(plan.costs, name) for name in plan.costs.__struct_fields__},
        breaches=tuple(
            f"{each.limit}: {each.amount_kwh:.1f} kWh from slot {each.first_slot}" for each in plan.breaches
        ),
        gap_eur=plan.gap_eur,
        solve_s=plan.solve_s,
        method=plan.method,
        scenario_count=plan.scenario_count,
    )
