"""The plant, compiled: the same source as machine code, made on first use (`planning.compiled` says what it costs)."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from services.enexa.planning.compiled import machine_code
from services.enexa.simulation import plant
from shared.energy import reactive

HELPERS: tuple[Callable[..., Any], ...] = (
    reactive.derated_kw,
    reactive.reactive_kw,
    plant.levels_kw,
    plant.wished_kw,
    plant.cell_kw,
)


@lru_cache(maxsize=1)
def fast_run_steps() -> Callable[..., None]:
    """`plant.run_steps`, compiled."""
    return machine_code(plant.run_steps, HELPERS)
