"""The recursions, compiled: numba turns the plain functions into machine code on first use.

Loading numba takes half a second and 100 MB, compiling several seconds; so only who gains by it imports this:
simulations, and the planner's worker, which compiles beside its first plans. Without it all runs as plain Python.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from services.enexa.planning import exact, recursion
from services.enexa.planning.shortcut import Exactly

HELPERS: tuple[Callable[..., Any], ...] = (
    recursion.add_piece,
    recursion.substep_pieces,
    recursion.discharge_rate_kw,
    recursion.removable_kwh,
    recursion.value_at,
    recursion.cost_at,
    recursion.convolve_into,
    exact.stage,
    exact.merge_and_cut,
    exact.run_back,
    exact.evaluate,
    exact.step_forward,
    exact.add_up,
    exact.cost_under,
    exact.best_peak,
    exact.one_stage,
)


@lru_cache(maxsize=1)
def fast_backward() -> Callable[..., None]:
    """`recursion.backward`, compiled."""
    return machine_code(recursion.backward, HELPERS)


@lru_cache(maxsize=1)
def fast_exactly() -> Exactly:
    """The exact recursions, compiled."""
    return Exactly(two_stage=machine_code(exact.two_stage, HELPERS), one_stage=machine_code(exact.one_stage, HELPERS))


@lru_cache(maxsize=1)
def fast_many_sites() -> Callable[..., None]:
    """`exact.many_sites`, compiled."""
    return machine_code(exact.many_sites, HELPERS)


def warm() -> None:
    """Compile what a plan uses, or read it from where an earlier process kept it."""
    few, slots = 3, 2
    one = np.ones((slots, 1))
    line = np.ones(slots)
    battery = np.array([1.0, 1.0, 0.9, 0.9, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    fast_backward()(
        np.zeros((slots + 1, few)), 1.0, battery, line, line, line, line, line, line, line, one, one, one, one
    )
    flows, site, series = np.zeros((1, exact.FLOW_ROWS, slots)), np.ones((3, slots)), np.ones((1, 6, slots))
    fast_exactly().two_stage(flows, battery, site, series, np.ones(1), 1.0, 0.1, 0.5, True)
    fast_exactly().one_stage(flows[0], battery, site, series[0], 1.0, 0.1, 0.5, 0.0, 1.0, 0.0, True)


def machine_code(function: Callable[..., Any], helpers: tuple[Callable[..., Any], ...]) -> Callable[..., Any]:
    """The function, compiled at its first call; what it calls must be among the `helpers`."""
    import numba  # noqa: PLC0415  takes half a second and 100 MB: only who calls this pays
    from numba.extending import register_jitable  # noqa: PLC0415  as above

    for helper in helpers:
        if helper not in _REGISTERED:
            register_jitable(helper)
            _REGISTERED.add(helper)
    try:
        compiled: Callable[..., Any] = numba.njit(cache=True)(function)
    except RuntimeError:
        # Nowhere to keep the machine code, as in a read-only container: compile anew in each process.
        compiled = numba.njit(function)
    return compiled


_REGISTERED: set[Callable[..., Any]] = set()
