"""The same source, compiled: numba turns the plain functions of plant and recursion into machine code on first use.

Only simulations import this; a server process never loads numba. Without numba everything runs as plain Python.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from services.enexa.planning import exact, recursion
from services.enexa.simulation import plant
from shared.energy import reactive

HELPERS: tuple[Callable[..., Any], ...] = (
    recursion.add_piece,
    recursion.substep_pieces,
    recursion.discharge_rate_kw,
    recursion.removable_kwh,
    recursion.value_at,
    recursion.cost_at,
    recursion.convolve_into,
    exact.merge_and_cut,
    reactive.derated_kw,
    reactive.reactive_kw,
    plant.levels_kw,
    plant.wished_kw,
    plant.cell_kw,
)


@lru_cache(maxsize=1)
def fast_backward() -> Callable[..., None]:
    """`recursion.backward`, compiled."""
    return _compile(recursion.backward)


@lru_cache(maxsize=1)
def fast_run_steps() -> Callable[..., None]:
    """`plant.run_steps`, compiled."""
    return _compile(plant.run_steps)


@lru_cache(maxsize=1)
def fast_value_after_first() -> Callable[..., None]:
    """`exact.value_after_first`, compiled."""
    return _compile(exact.value_after_first)


def _compile(function: Callable[..., None]) -> Callable[..., None]:
    import numba  # noqa: PLC0415  takes half a second and 100 MB: only who simulates pays
    from numba.extending import register_jitable  # noqa: PLC0415  as above

    _register(register_jitable)
    try:
        compiled: Callable[..., None] = numba.njit(cache=True)(function)
    except RuntimeError:
        # Nowhere to keep the machine code, as in a read-only container: compile anew in each process.
        compiled = numba.njit(function)
    return compiled


_REGISTERED: list[bool] = []


def _register(register_jitable: Callable[[Callable[..., Any]], Any]) -> None:
    """Make the helpers callable from compiled code; once per process."""
    if not _REGISTERED:
        for helper in HELPERS:
            register_jitable(helper)
        _REGISTERED.append(True)
