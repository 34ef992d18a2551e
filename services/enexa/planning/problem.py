"""Everything a plan depends on, in two forms: the facts as they are known, and the same on the slot grid.

`PlanRequest` is what a server process can gather without arithmetic: limits, readings, prices, sessions. It
travels to the planner's worker process, which turns it into a `PlanProblem` (forecasts drawn, prices beyond the
published ones estimated, all on slots) and solves that. A `PlanProblem` is complete: two equal ones give equal plans.
"""

from datetime import date, datetime
from itertools import pairwise

from msgspec import Struct

from services.enexa.market.prices import PriceSeries
from services.enexa.market.tariffs import Tariff
from services.enexa.planning.tuning import Tuning


class Knee(Struct, frozen=True, kw_only=True):
    """From this share of a string's full power on, each further kW is converted with these efficiencies."""

    power_ratio: float
    charge_efficiency_ratio: float
    discharge_efficiency_ratio: float


class BatteryString(Struct, frozen=True, kw_only=True):
    """One battery string; powers at the AC side, energy inside the cells.

    Full discharge power above `derating_below_pct`, falling linearly to 0 at `derating_floor_pct`; `soc_min_pct` is
    where the battery stops serving cars. `knees` bend the efficiency: up to the first one the two ratios hold, and
    each knee is worse than what is before it. A cycle up to `shallow_depth_pct` deep costs the tariff's wear; each
    kWh of a cycle beyond that depth costs `deep_wear_eur_per_kwh` more, paid when it leaves the cells.
    """

    capacity_kwh: float = 95.0
    max_charge_kw: float = 110.0
    max_discharge_kw: float = 110.0
    charge_efficiency_ratio: float = 0.94
    discharge_efficiency_ratio: float = 0.94
    soc_min_pct: float = 10.0
    soc_max_pct: float = 90.0
    derating_below_pct: float = 30.0
    derating_floor_pct: float = 10.0
    knees: tuple[Knee, ...] = ()
    shallow_depth_pct: float = 100.0
    deep_wear_eur_per_kwh: float = 0.0

    def segments(self) -> tuple[Knee, ...]:
        """The efficiency curve as segments, each from its share of full power to the next one's; the first from 0."""
        first = Knee(
            power_ratio=0.0,
            charge_efficiency_ratio=self.charge_efficiency_ratio,
            discharge_efficiency_ratio=self.discharge_efficiency_ratio,
        )
        return (first, *self.knees)

    def segment_ratios(self) -> tuple[float, ...]:
        """How much of the full power each segment of the curve has; they sum to 1."""
        edges = (*(segment.power_ratio for segment in self.segments()), 1.0)
        return tuple(after - before for before, after in pairwise(edges))

    @property
    def deep_kwh(self) -> float:
        """The part of the window that only cycles deeper than `shallow_depth_pct` reach."""
        window_pct = self.soc_max_pct - self.soc_min_pct
        return self.capacity_kwh * max(window_pct - self.shallow_depth_pct, 0.0) / 100


class Plant(Struct, frozen=True, kw_only=True):
    """What the site can do. Import is real power at the meter, own consumption included.

    `battery_offsets_load` is False on a ChargePost: its battery never covers own consumption. `export_limit_kw` 0 means
    that nothing may leave the site.
    """

    strings: tuple[BatteryString, ...] = (BatteryString(), BatteryString())
    grid_import_limit_kw: float = 83.0
    grid_apparent_limit_kva: float = 87.0
    power_factor_ratio: float = 0.96
    export_limit_kw: float = 0.0
    battery_offsets_load: bool = False
    max_charger_kw: float = 300.0
    charger_count: int = 2
    daily_discharge_budget_kwh: float | None = None
    public_points: bool = True

    @property
    def import_limit_kw(self) -> float:
        """The real power that both the contract and the apparent power allow."""
        return min(self.grid_import_limit_kw, self.grid_apparent_limit_kva * self.power_factor_ratio)

    @property
    def export_cap_kw(self) -> float:
        """The real power that may leave the site: the contract, and what the apparent power allows."""
        return min(self.export_limit_kw, self.grid_apparent_limit_kva * self.power_factor_ratio)


class ImportCap(Struct, frozen=True, kw_only=True):
    """The grid operator holds import down for a while (section 14a); `until` None means until further notice.

    With `steerable_only` own consumption stays free, and so do cars at public points: what is held is the battery's
    grid charging, together with the cars where the points are not public.
    """

    start: datetime
    until: datetime | None
    import_kw: float
    steerable_only: bool = False


class Car(Struct, frozen=True, kw_only=True):
    """A car that is plugged now; None where nobody knows."""

    power_kw: float
    plugged_at: datetime
    energy_kwh: float = 0.0
    soc_pct: float | None = None
    capacity_kwh: float | None = None
    max_power_kw: float | None = None


class SessionRecord(Struct, frozen=True, kw_only=True):
    """A finished charging session of this site's past; the forecasts learn from these."""

    start: datetime
    until: datetime
    energy_kwh: float
    max_power_kw: float


class PvArray(Struct, frozen=True, kw_only=True):
    """The PV behind the meter that may serve the site; `recent_ratio` is measured over clear-sky energy of late."""

    peak_kw: float
    latitude_deg: float = 48.78
    longitude_deg: float = 9.18
    tilt_deg: float = 15.0
    azimuth_deg: float = 180.0
    loss_ratio: float = 0.14
    recent_ratio: float = 0.7


class PlanRequest(Struct, frozen=True, kw_only=True):
    """The facts as a server knows them at `now`; `soc_pct` has one entry per string of the plant.

    `prices` holds what is published now (`PriceSeries.published`), and as many days before as there are, for the
    estimate of what comes after. `observed_days` are the local days `sessions` was recorded on, with or without a car
    (empty: the days that have sessions). `own_consumption_kw` is what the site draws with nobody there;
    `ev_loss_ratio` is what each kWh into a car adds to it.
    """

    site_id: str
    version: int
    now: datetime
    plant: Plant
    tariff: Tariff
    prices: PriceSeries
    soc_pct: tuple[float, ...]
    cars: tuple[Car, ...] = ()
    sessions: tuple[SessionRecord, ...] = ()
    observed_days: tuple[date, ...] = ()
    own_consumption_kw: float = 0.4
    ev_loss_ratio: float = 0.05
    pv: PvArray | None = None
    caps: tuple[ImportCap, ...] = ()
    peak_so_far_kw: float = 0.0
    discharged_today_kwh: float = 0.0
    tuning: Tuning = Tuning()


class Scenario(Struct, frozen=True, kw_only=True):
    """One way things may go. Each slot has two sub-steps: for `high_share` of its time the cars draw `high_kw`, more
    than the grid can give, and for the rest `low_kw`. Sun and prices are the problem's where none are given here."""

    weight: float
    high_share: tuple[float, ...]
    high_kw: tuple[float, ...]
    low_kw: tuple[float, ...]
    pv_kw: tuple[float, ...] | None = None
    price_eur_per_mwh: tuple[float, ...] | None = None


class Outcome(Struct, frozen=True, kw_only=True):
    """One of the ways a slot's demand may go, whatever the slots before did; columns as in `Scenario`."""

    probability: tuple[float, ...]
    high_share: tuple[float, ...]
    high_kw: tuple[float, ...]
    low_kw: tuple[float, ...]


class PlanProblem(Struct, frozen=True, kw_only=True):
    """A plan's whole input on the slot grid; all columns have one entry per slot.

    Slot 0 has `first_slot_s` seconds left. `end_energy_kwh` fixes the total energy at the end; without it the energy
    left is worth `end_value_eur_per_kwh`. `peak_eur_per_kw` prices each kW of the highest
    slot mean above `peak_so_far_kw`. Each kWh into a car draws `ev_loss_ratio` more, which the battery cannot offset.
    `reserve_need_kwh` is what cars will take from the cells, with the risk of the tuning, before the grid can give it
    back. `battery_import_cap_kw` (None: no such cap) holds what the battery charges from the grid.
    """

    site_id: str
    version: int
    now: datetime
    plant: Plant
    tariff: Tariff
    tuning: Tuning
    starts: tuple[datetime, ...]
    slot_s: int
    first_slot_s: float
    price_eur_per_mwh: tuple[float, ...]
    price_published: tuple[bool, ...]
    own_kw: tuple[float, ...]
    ev_loss_ratio: float
    pv_kw: tuple[float, ...]
    import_cap_kw: tuple[float, ...]
    scenarios: tuple[Scenario, ...]
    outcomes: tuple[Outcome, ...]
    energy_kwh: tuple[float, ...]
    reserve_need_kwh: tuple[float, ...]
    peak_so_far_kw: float
    peak_eur_per_kw: float
    end_value_eur_per_kwh: float
    end_energy_kwh: float | None = None
    battery_import_cap_kw: tuple[float, ...] | None = None
    discharged_today_kwh: float = 0.0

    def hours(self) -> tuple[float, ...]:
        """Length of each slot in hours; the first is what is left of it."""
        rest = self.slot_s / 3600
        return (self.first_slot_s / 3600, *(rest for _ in self.starts[1:]))
