"""What the planner's worker process runs: facts in, plan out, both pickled; HiGHS is loaded only here."""

from functools import lru_cache

from services.enexa.planning.assembly import assemble
from services.enexa.planning.planner import Plan, plan
from services.enexa.planning.problem import PlanRequest
from services.enexa.planning.solver import Solver


def make_plan(request: PlanRequest) -> Plan:
    """Plan for one site; raises OutOfBounds, InputsStale or SolverFailed with the field or the reason."""
    solver = _solver(request.tuning.time_limit_s, request.tuning.gap_eur)
    return plan(assemble(request), solver)


@lru_cache(maxsize=4)
def _solver(time_limit_s: float, gap_eur: float) -> Solver:
    """The process's solver, kept so that the next plan starts warm."""
    return Solver(time_limit_s=time_limit_s, gap_eur=gap_eur)
