"""What a comparison of controllers is asked and what it answers: light structs that a server process may load."""

from datetime import date, datetime
from typing import Annotated

from msgspec import Meta, Struct

PLANT_NAMES = ("chargepost", "reference_day")


class Knobs(Struct, frozen=True, kw_only=True):
    """What may be turned; the defaults are the shipped day on the shipped plant."""

    plant: str = "chargepost"
    battery_ratio: Annotated[float, Meta(ge=0.1, le=5.0)] = 1.0
    grid_limit_kw: Annotated[float, Meta(ge=5.0, le=500.0)] | None = None
    price_spread_ratio: Annotated[float, Meta(ge=0.0, le=5.0)] = 1.0
    price_shift_eur_per_mwh: Annotated[float, Meta(ge=-300.0, le=300.0)] = 0.0
    pv_kwp: Annotated[float, Meta(ge=0.0, le=500.0)] = 0.0
    cars_ratio: Annotated[float, Meta(ge=0.0, le=1.0)] = 1.0
    """Share of the day's cars that come, evenly thinned."""


class Result(Struct, frozen=True, kw_only=True):
    """One controller's day; `net_eur` is what is judged: it credits energy left and charges what cars did not get."""

    controller: str
    net_eur: float
    cost_eur: float
    import_kwh: float
    export_kwh: float
    charged_kwh: float
    discharged_kwh: float
    ev_kwh: float
    unserved_kwh: float
    end_soc_pct: float
    peak_kw: float
    sessions_served_count: int | None = None
    cycles_count: float | None = None
    energy_eur: float | None = None
    fees_eur: float | None = None
    wear_eur: float | None = None
    export_eur: float | None = None
    soc_min_pct: float | None = None
    battery_kw: tuple[float, ...] = ()
    """Mean of each quarter hour, + discharging."""
    import_kw: tuple[float, ...] = ()
    soc_pct: tuple[float, ...] = ()
    """At the end of each quarter hour."""


class Comparison(Struct, frozen=True, kw_only=True):
    """Controllers on identical cars, prices, sun and plant; all columns are quarter hours from `start`."""

    knobs: Knobs
    day: date
    start: datetime
    sessions_count: int
    requested_kwh: float
    pv_kwh: float
    price_eur_per_mwh: tuple[float, ...]
    ev_wanted_kw: tuple[float, ...]
    reactive: Result
    smart: Result
    perfect: Result
    plans_count: int

    @property
    def saved_eur(self) -> float:
        return self.reactive.net_eur - self.smart.net_eur

    @property
    def possible_eur(self) -> float:
        return self.reactive.net_eur - self.perfect.net_eur

    @property
    def captured_pct(self) -> float | None:
        """Uplift captured; None where there is nothing to gain (less than a cent)."""
        return 100.0 * self.saved_eur / self.possible_eur if self.possible_eur > 0.01 else None
