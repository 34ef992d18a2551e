"""The one identity of a site's AC bus, and how far a set of readings misses it.

grid + battery + pv = charger + load        (grid import +, battery discharging +)
"""

from msgspec import Struct


class Flows(Struct, frozen=True, kw_only=True):
    """Power at one instant; what can flow both ways is positive into the bus."""

    grid_kw: float
    battery_kw: float
    charger_kw: float
    load_kw: float
    pv_kw: float = 0.0


def imbalance_kw(flows: Flows) -> float:
    """What flows into the bus minus what leaves it; 0 when every reading is true."""
    return flows.grid_kw + flows.battery_kw + flows.pv_kw - flows.charger_kw - flows.load_kw


def grid_kw(*, battery_kw: float, charger_kw: float, load_kw: float, pv_kw: float = 0.0) -> float:
    """The import (+) or export (-) that closes the balance."""
    return charger_kw + load_kw - battery_kw - pv_kw
