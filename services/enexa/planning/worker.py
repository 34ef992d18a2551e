"""What the planner's worker process runs: facts in, plan out, both pickled.

A server process may import this module to name the function it submits; numpy and HiGHS are loaded by the call, in the
worker.
"""

from functools import lru_cache
from typing import TYPE_CHECKING

from services.enexa.planning.plan import Plan
from services.enexa.planning.problem import PlanRequest

if TYPE_CHECKING:
    from services.enexa.planning.solver import Solver


def make_plan(request: PlanRequest) -> Plan:
    """Plan for one site; raises OutOfBounds, InputsStale or SolverFailed with the field or the reason."""
    from services.enexa.planning.assembly import assemble  # noqa: PLC0415  keeps numpy out of a server process
    from services.enexa.planning.planner import plan  # noqa: PLC0415  keeps HiGHS out of a server process

    return plan(assemble(request), _solver(request.tuning.time_limit_s, request.tuning.gap_eur))


@lru_cache(maxsize=4)
def _solver(time_limit_s: float, gap_eur: float) -> "Solver":
    """The process's solver, kept so that the next plan starts warm."""
    from services.enexa.planning.solver import Solver  # noqa: PLC0415  as above

    return Solver(time_limit_s=time_limit_s, gap_eur=gap_eur)
