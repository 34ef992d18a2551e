"""What a station is made of: every figure of the physics is a field of a profile, checked before anything starts."""

import math
from typing import Annotated, TypeAlias

from msgspec import Meta, Struct

Kw: TypeAlias = Annotated[float, Meta(ge=0.0, le=10_000.0)]
PositiveKw: TypeAlias = Annotated[float, Meta(gt=0.0, le=10_000.0)]
PositiveKwh: TypeAlias = Annotated[float, Meta(gt=0.0, le=100_000.0)]
Pct: TypeAlias = Annotated[float, Meta(ge=0.0, le=100.0)]
Ratio: TypeAlias = Annotated[float, Meta(ge=0.0, le=1.0)]
Seconds: TypeAlias = Annotated[float, Meta(ge=0.0, le=86_400.0)]
Celsius: TypeAlias = Annotated[float, Meta(ge=-60.0, le=120.0)]
WORN_OUT_RATIO = 0.5


class Plate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of a station file."""


class StringPlate(Plate, frozen=True, kw_only=True):
    """One LFP string with its converter; energies are usable at the cells, powers are AC.

    Converter loss at |P| is `fixed * P / (P + 1) + linear * P + quadratic * P^2`, to which the string adds I^2 R.
    A string fades with its full cycles and with the root of its years; for every percent of capacity lost, resistance
    rises by `stiffening_ratio` percent. `cycles_before` and `years_before` are what a used string has behind it.
    """

    capacity_kwh: PositiveKwh = 95.0
    charge_kw: PositiveKw = 110.0
    discharge_kw: PositiveKw = 110.0
    floor_pct: Pct = 10.0
    full_discharge_above_pct: Pct = 30.0
    ceiling_pct: Pct = 97.0
    taper_below_ceiling_pct: Annotated[float, Meta(gt=0.0, le=50.0)] = 5.0
    cells: Annotated[int, Meta(ge=1, le=2_000)] = 224
    resistance_ohm: Annotated[float, Meta(ge=0.0, le=10.0)] = 0.06
    loss_fixed_kw: Kw = 0.25
    loss_linear_ratio: Ratio = 0.0232
    loss_quadratic_per_kw: Ratio = 2.07e-4
    thermal_lag_s: Annotated[float, Meta(gt=0.0)] = 300.0
    heating_c: Celsius = 6.0
    derate_from_c: Celsius = 45.0
    stop_at_c: Celsius = 55.0
    no_charge_below_c: Celsius = 0.0
    fade_per_cycle_ratio: Ratio = 2.5e-5
    fade_per_year_ratio: Ratio = 0.01
    stiffening_ratio: Annotated[float, Meta(ge=0.0, le=20.0)] = 2.0
    cycles_before: Annotated[float, Meta(ge=0.0, le=20_000.0)] = 0.0
    years_before: Annotated[float, Meta(ge=0.0, le=30.0)] = 0.0

    def __post_init__(self) -> None:
        if not self.floor_pct < self.full_discharge_above_pct < self.ceiling_pct:
            raise ValueError(
                f"floor_pct {self.floor_pct}, full_discharge_above_pct {self.full_discharge_above_pct} and "
                f"ceiling_pct {self.ceiling_pct} must rise in this order"
            )
        if not self.derate_from_c < self.stop_at_c:
            raise ValueError(f"derate_from_c {self.derate_from_c} must lie below stop_at_c {self.stop_at_c}")
        if self.health_ratio(self.cycles_before, self.years_before) < WORN_OUT_RATIO:
            raise ValueError(
                f"after cycles_before {self.cycles_before:g} and years_before {self.years_before:g} less than "
                f"{WORN_OUT_RATIO:.0%} of the capacity is left"
            )

    def health_ratio(self, cycles: float, years: float) -> float:
        """Capacity left of the new string's."""
        return 1.0 - self.fade_per_cycle_ratio * cycles - self.fade_per_year_ratio * math.sqrt(years)


class OutletPlate(Plate, frozen=True, kw_only=True):
    """One CCS outlet and its DC stage, whose loss at P is `linear * P + quadratic * P^2` per unit."""

    single_kw: PositiveKw = 150.0
    coupled_kw: PositiveKw = 300.0
    current_a: Annotated[float, Meta(gt=0.0, le=2_000.0)] = 500.0
    loss_linear_ratio: Ratio = 0.03
    loss_quadratic_per_kw: Ratio = 1.333e-4
    authorization_s: Seconds = 3.0
    setup_s: Seconds = 5.0
    ramp_s: Annotated[float, Meta(gt=0.0, le=3_600.0)] = 30.0
    teardown_s: Seconds = 2.0

    def __post_init__(self) -> None:
        if self.coupled_kw < self.single_kw:
            raise ValueError(f"coupled_kw {self.coupled_kw} must not lie below single_kw {self.single_kw}")


class GridPlate(Plate, frozen=True, kw_only=True):
    """The connection point; `reactive_kvar` is what the awake converters draw at unity power factor."""

    apparent_kva: PositiveKw = 87.0
    unit_kva: PositiveKw = 87.0
    reactive_kvar: Kw = 1.0
    power_factor_ratio: Annotated[float, Meta(gt=0.5, le=1.0)] = 1.0
    export_limit_kw: Kw = 0.0
    fallback_clearance_kw: Kw = 40.0
    gradient_pct_per_min: Annotated[float, Meta(gt=0.0, le=6_000.0)] = 10.0
    voltage_v: Annotated[float, Meta(gt=0.0, le=1_000.0)] = 230.0
    frequency_hz: Annotated[float, Meta(gt=0.0, le=100.0)] = 50.0

    def __post_init__(self) -> None:
        if self.fallback_clearance_kw > self.apparent_kva:
            raise ValueError(
                f"fallback_clearance_kw {self.fallback_clearance_kw} exceeds apparent_kva {self.apparent_kva}"
            )


class OwnPlate(Plate, frozen=True, kw_only=True):
    """Own consumption: electronics and displays awake or asleep, and HVAC that follows throughput and weather."""

    awake_kw: Kw = 0.52
    asleep_kw: Kw = 0.23
    hvac_kw: Kw = 8.0
    hvac_lag_s: Annotated[float, Meta(gt=0.0)] = 600.0
    hvac_full_load_kw: PositiveKw = 220.0
    comfort_c: Celsius = 18.0


class PvPlate(Plate, frozen=True, kw_only=True):
    """A PV inverter on the site's AC bus."""

    peak_kw: PositiveKw = 60.0
    inverter_kw: PositiveKw = 60.0


class StationProfile(Plate, frozen=True, kw_only=True):
    """A station; `soc_start_pct` is per string, `outlets` says how many of the two a driver can reach.

    `coupled` couples both units behind outlet 1 without an EMS asking for it. `watchdog_lateness_ratio` is how late
    the watchdog trips (1.0 in time). `reboot_s` is how long a rebooting station is silent.
    """

    name: str
    about: str = ""
    string: StringPlate = StringPlate()
    outlet: OutletPlate = OutletPlate()
    grid: GridPlate = GridPlate()
    own: OwnPlate = OwnPlate()
    pv: PvPlate | None = None
    soc_start_pct: tuple[Pct, Pct] = (60.0, 60.0)
    outlets: Annotated[int, Meta(ge=1, le=2)] = 2
    coupled: bool = False
    watchdog_lateness_ratio: Annotated[float, Meta(ge=0.5, le=10.0)] = 1.0
    reboot_s: Seconds = 60.0
    startup_s: Seconds = 3.0

    def __post_init__(self) -> None:
        if self.coupled and self.outlets == 2:
            raise ValueError("coupled stations have one outlet: outlets must be 1")
