"""What the planner's worker process runs: facts in, plan out, both pickled.

A server process may import this module to name the function it submits; numpy and HiGHS are loaded by the call, in the
worker. A worker that lives long compiles the recursions beside its plans; a plan takes half the time then.
"""

import threading
from functools import lru_cache
from typing import TYPE_CHECKING

from services.enexa.planning.plan import Plan
from services.enexa.planning.problem import PlanRequest

if TYPE_CHECKING:
    from services.enexa.planning.policy import Backward
    from services.enexa.planning.shortcut import Exactly
    from services.enexa.planning.solver import Solver

COMPILE_AFTER_PLANS = 20
"""Loading numba takes a second and 100 MB, the first compiling ten: a worker of a few plans gains nothing."""


def make_plan(request: PlanRequest) -> Plan:
    """Plan for one site; raises OutOfBounds, InputsStale or SolverFailed with the field or the reason."""
    from services.enexa.planning.assembly import assemble  # noqa: PLC0415  keeps numpy out of a server process
    from services.enexa.planning.planner import plan  # noqa: PLC0415  keeps HiGHS out of a server process

    step_back, exactly = _recursions().now()
    return plan(assemble(request), _solver(request.tuning.time_limit_s, request.tuning.gap_eur), step_back, exactly)


class Recursions:
    """The recursions as plain Python, and as machine code once that is ready; equal plans come of both."""

    def __init__(self) -> None:
        self._plans_count = 0
        self._ready = threading.Event()

    def now(self) -> "tuple[Backward, Exactly]":
        """What the next plan shall use."""
        from services.enexa.planning.recursion import backward  # noqa: PLC0415  keeps numpy out of a server process
        from services.enexa.planning.shortcut import EXACTLY  # noqa: PLC0415  as above

        self._plans_count += 1
        if self._plans_count == COMPILE_AFTER_PLANS:
            threading.Thread(target=self._compile, daemon=True).start()
        if not self._ready.is_set():
            return backward, EXACTLY
        from services.enexa.planning.compiled import fast_backward, fast_exactly  # noqa: PLC0415  loads numba

        return fast_backward(), fast_exactly()

    def ready(self, within_s: float) -> bool:
        """Whether the machine code is ready, or becomes so in time."""
        return self._ready.wait(within_s)

    def _compile(self) -> None:
        from services.enexa.planning.compiled import warm  # noqa: PLC0415  loads numba

        warm()
        self._ready.set()


@lru_cache(maxsize=1)
def _recursions() -> Recursions:
    return Recursions()


@lru_cache(maxsize=4)
def _solver(time_limit_s: float, gap_eur: float) -> "Solver":
    """The process's solver, kept so that the next plan starts warm."""
    from services.enexa.planning.solver import Solver  # noqa: PLC0415  as above

    return Solver(time_limit_s=time_limit_s, gap_eur=gap_eur)
