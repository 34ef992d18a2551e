"""What a comparison of controllers is asked and what it answers: light structs that a server process may load."""

from datetime import date, datetime
from typing import Annotated

from msgspec import Meta, Struct

PLANT_NAMES = ("chargepost", "reference_day")


class Knobs(Struct, frozen=True, kw_only=True):
    """What may be turned; the defaults are the shipped day on the shipped plant."""

    plant: str = "chargepost"
    battery_ratio: Annotated[float, Meta(ge=0.0, le=5.0)] = 1.0
    battery_power_ratio: Annotated[float, Meta(ge=0.1, le=5.0)] = 1.0
    """Power alone, beside what `battery_ratio` does to energy and power."""
    second_string_ratio: Annotated[float, Meta(ge=0.0, le=5.0)] = 1.0
    """Size of all strings but the first: unlike strings, or none beside the first."""
    efficiency_pct: Annotated[float, Meta(ge=50.0, le=100.0)] | None = None
    """One way, in both directions; None as built."""
    grid_limit_kw: Annotated[float, Meta(ge=5.0, le=500.0)] | None = None
    price_level_ratio: Annotated[float, Meta(ge=0.0, le=5.0)] = 1.0
    price_spread_ratio: Annotated[float, Meta(ge=0.0, le=5.0)] = 1.0
    price_shift_eur_per_mwh: Annotated[float, Meta(ge=-300.0, le=300.0)] = 0.0
    negative_hours_count: Annotated[float, Meta(ge=0.0, le=24.0)] = 0.0
    """So many of each day's cheapest hours cost no more than -50 EUR/MWh."""
    price_error_ratio: Annotated[float, Meta(ge=0.0, le=2.0)] = 0.0
    """How far the estimate of prices that are not published yet is off, in standard deviations of the day."""
    pv_kwp: Annotated[float, Meta(ge=0.0, le=500.0)] = 0.0
    pv_error_ratio: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.0
    """How far the forecast of the sun is off, hour by hour, as a share of it (standard deviation)."""
    cars_ratio: Annotated[float, Meta(ge=0.0, le=4.0)] = 1.0
    """Sessions a day against the day's own: evenly thinned, or joined by others in between."""
    car_power_ratio: Annotated[float, Meta(ge=0.1, le=3.0)] = 1.0
    winter_ratio: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.0
    """The season: at 1 cars want a fifth more and draw three tenths less, and there is a fifth of the sun."""
    fees_ratio: Annotated[float, Meta(ge=0.0, le=5.0)] = 1.0
    wear_ratio: Annotated[float, Meta(ge=0.0, le=10.0)] = 1.0
    dimmed_from_h: Annotated[float, Meta(ge=0.0, le=24.0)] = 17.0
    dimmed_h: Annotated[float, Meta(ge=0.0, le=24.0)] = 0.0
    """For so many hours from then on (local) the grid operator holds import to 4.2 kW per point (section 14a)."""
    sites_count: Annotated[float, Meta(ge=1.0, le=20.0)] = 1.0
    """A fleet of such sites, each with its cars at its own times; money and energies are the fleet's."""


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
