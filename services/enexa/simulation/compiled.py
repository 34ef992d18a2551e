"""The same source, compiled: numba turns the plain functions of plant and recursion into machine code on first use.

Only simulations import this; a server process never loads numba. Without numba everything runs as plain Python.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from services.enexa.planning import compiled
from services.enexa.simulation import plant
from shared.energy import reactive

HELPERS: tuple[Callable[..., Any], ...] = (
    reactive.derated_kw,
    reactive.reactive_kw,
    plant.levels_kw,
    plant.wished_kw,
    plant.cell_kw,
)


def fast_backward() -> Callable[..., None]:
    """`recursion.backward`, compiled."""
    return compiled.fast_backward()


@lru_cache(maxsize=1)
def fast_run_steps() -> Callable[..., None]:
    """`plant.run_steps`, compiled."""
    return compiled.machine_code(plant.run_steps, HELPERS)
