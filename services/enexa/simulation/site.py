"""A stretch of a site's life as arrays: cars, prices, sun and limits minute by minute, ready for any controller."""

import math
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import numpy as np
from msgspec import Struct

from services.enexa.market.prices import PriceSeries
from services.enexa.market.tariffs import Tariff
from services.enexa.planning.assembly import end_value_eur_per_kwh
from services.enexa.planning.bounds import whole_battery
from services.enexa.planning.problem import BatteryString, Plant
from services.enexa.planning.tuning import Tuning
from services.enexa.simulation.plant import (
    ENERGY_NOW,
    LEVEL_ROWS,
    PLANT_PARAMETERS,
    REACTIVE,
    RECORD_ROWS,
    STATE_PLACES,
    Floats,
    Integers,
    run_steps,
)
from shared.errors import BadInput

STEP_S = 60
STEPS_PER_SLOT = 15
NO_BATTERY = BatteryString(capacity_kwh=0.0, max_charge_kw=0.0, max_discharge_kw=0.0)

RunSteps = Callable[..., None]


class Visit(Struct, frozen=True, kw_only=True):
    """A car's visit: it wants `energy_kwh` at up to `max_power_kw` and leaves at `until`, served or not."""

    start: datetime
    until: datetime
    energy_kwh: float
    max_power_kw: float


class ReactiveRule(Struct, frozen=True, kw_only=True):
    """The settings of the reactive baseline."""

    idle_import_kw: float = 50.0
    recharge_soc_pct: float = 80.0


class Losses(Struct, frozen=True, kw_only=True):
    """Where constant efficiencies are too coarse: curves over power, and air conditioning that follows the load.

    A string loses `fixed * P / (P + 1) + linear * P + quadratic * P^2`, a car's converter `quadratic * P^2` beside the
    stretch's `ev_loss_ratio`. Air conditioning draws `hvac_kw_per_kw` of what goes through the station, up to
    `hvac_max_kw`, with a lag. Defaults: the ChargePost in mild weather (0.94 one way at rated power, 0.96 near a
    quarter of it; 35 % of 8 kW at 220 kW).
    """

    string_fixed_kw: float = 0.25
    string_linear_ratio: float = 0.0232
    string_quadratic_per_kw: float = 3.2e-4
    ev_quadratic_per_kw: float = 1.333e-4
    hvac_kw_per_kw: float = 8.0 * 0.35 / 220.0
    hvac_max_kw: float = 8.0 * 0.35
    hvac_lag_s: float = 600.0


class Stretch(Struct, frozen=True, kw_only=True):
    """Everything a run depends on but the controller; arrays have one entry per minute from `start` (on a slot).

    Energy left at the end is worth `end_value_eur_per_kwh` to every controller and bound alike.
    """

    start: datetime
    plant: Plant
    tariff: Tariff
    rule: ReactiveRule
    ev_loss_ratio: float
    start_kwh: float
    end_value_eur_per_kwh: float
    price_eur_per_mwh: Floats
    buy_eur_per_kwh: Floats
    sell_eur_per_kwh: Floats
    pv_kw: Floats
    own_kw: Floats
    import_cap_kw: Floats
    visits: tuple[Visit, ...]
    car_first: Integers
    car_last: Integers
    car_max_kw: Floats
    car_kwh: Floats
    losses: Losses | None = None

    @property
    def steps(self) -> int:
        return len(self.own_kw)

    def at(self, step: int) -> datetime:
        """The instant at which a step begins."""
        return self.start + timedelta(seconds=STEP_S * step)


def stretch(
    *,
    start: datetime,
    minutes: int,
    plant: Plant,
    tariff: Tariff,
    prices: PriceSeries,
    visits: Sequence[Visit],
    start_soc_pct: float,
    ev_loss_ratio: float = 0.0,
    own_kw: float = 0.0,
    pv_kw: Floats | None = None,
    import_cap_kw: Floats | None = None,
    rule: ReactiveRule | None = None,
    losses: Losses | None = None,
) -> Stretch:
    """A stretch of whole minutes; raises BadInput where a price is missing."""
    at = [start + timedelta(minutes=minute) for minute in range(minutes)]
    known = [price for price in prices.on_grid(at) if price is not None]
    if len(known) != minutes:
        raise BadInput(
            "Prices do not cover the simulated time", start=start.isoformat(), missing_min=minutes - len(known)
        )
    price = np.array(known)
    sells = [tariff.export_eur_per_kwh(value) for value in known]
    battery = whole_battery(plant) or NO_BATTERY
    ordered = tuple(sorted(visits, key=lambda visit: visit.start))
    first = [round((visit.start - start).total_seconds() / STEP_S) for visit in ordered]
    last = [round((visit.until - start).total_seconds() / STEP_S) for visit in ordered]
    return Stretch(
        start=start,
        plant=plant,
        tariff=tariff,
        rule=rule or ReactiveRule(),
        ev_loss_ratio=ev_loss_ratio,
        start_kwh=battery.capacity_kwh * start_soc_pct / 100,
        end_value_eur_per_kwh=end_value_eur_per_kwh(plant, tariff, Tuning(), known[::STEPS_PER_SLOT]),
        price_eur_per_mwh=price,
        buy_eur_per_kwh=(price + tariff.fees_eur_per_mwh) / 1000,
        sell_eur_per_kwh=np.array([np.nan if sell is None else sell for sell in sells]),
        pv_kw=np.zeros(minutes) if pv_kw is None else pv_kw,
        own_kw=np.full(minutes, own_kw),
        import_cap_kw=np.full(minutes, plant.import_limit_kw) if import_cap_kw is None else import_cap_kw,
        visits=ordered,
        car_first=np.array(first, dtype=np.int64),
        car_last=np.array(last, dtype=np.int64),
        car_max_kw=np.array([visit.max_power_kw for visit in ordered], dtype=float),
        car_kwh=np.array([visit.energy_kwh for visit in ordered], dtype=float),
        losses=losses,
    )


def by_slot(minutes: Floats, slot: int, slots: int) -> Floats:
    """Slot means from `slot` on; beyond the stretch the day before repeats."""
    index = (slot * STEPS_PER_SLOT + np.arange(slots * STEPS_PER_SLOT)).astype(np.int64)
    beyond = np.maximum(index - (len(minutes) - 1), 0)
    index = np.clip(index - 1440 * -(-beyond // 1440), 0, len(minutes) - 1)
    return np.asarray(minutes[index].reshape(slots, STEPS_PER_SLOT).mean(axis=1))


def plant_parameters(given: Stretch) -> Floats:
    """The plant as the array that `run_steps` reads."""
    battery, plant = whole_battery(given.plant) or NO_BATTERY, given.plant
    capacity, budget = battery.capacity_kwh, plant.daily_discharge_budget_kwh
    values = (
        battery.max_charge_kw,
        battery.max_discharge_kw,
        battery.charge_efficiency_ratio,
        battery.discharge_efficiency_ratio,
        capacity * battery.soc_min_pct / 100,
        max(capacity * battery.soc_max_pct / 100, given.start_kwh),
        capacity * battery.derating_floor_pct / 100,
        capacity * battery.derating_below_pct / 100,
        given.rule.idle_import_kw,
        capacity * given.rule.recharge_soc_pct / 100,
        math.inf if budget is None else budget,
        plant.max_charger_kw,
        given.ev_loss_ratio,
        1.0 if plant.battery_offsets_load else 0.0,
        plant.export_limit_kw,
        *_loss_parameters(given),
    )
    assert len(values) == PLANT_PARAMETERS
    return np.array(values)


def _loss_parameters(given: Stretch) -> tuple[float, ...]:
    """Places EV_LOSS_PER_KW to HVAC_LAG_H; the strings share the power alike."""
    losses, strings = given.losses, max(len(given.plant.strings), 1)
    if losses is None:
        return (0.0,) * 8
    return (
        losses.ev_quadratic_per_kw,
        1.0,
        losses.string_fixed_kw * strings,
        losses.string_linear_ratio,
        losses.string_quadratic_per_kw / strings,
        losses.hvac_kw_per_kw,
        losses.hvac_max_kw,
        losses.hvac_lag_s / 3600,
    )


class Run:
    """A controller's run through a stretch: the record so far, the cars' rests and the battery's state."""

    def __init__(self, given: Stretch, step_function: RunSteps = run_steps) -> None:
        self.given = given
        self.record: Floats = np.zeros((RECORD_ROWS, given.steps))
        self.rest_kwh: Floats = given.car_kwh.copy()
        self.state: Floats = np.zeros(STATE_PLACES)
        self.state[ENERGY_NOW] = given.start_kwh
        self._parameters = plant_parameters(given)
        self._run_steps = step_function

    @property
    def energy_kwh(self) -> float:
        """Energy in the cells now."""
        return float(self.state[ENERGY_NOW])

    def go(self, first: int, last: int, mode: int, levels: Floats) -> None:
        """Advance from step `first` to `last`; `levels` has a column for each slot of the stretch."""
        given = self.given
        self._run_steps(
            first, last, mode, STEP_S / 3600, STEPS_PER_SLOT, self._parameters, given.buy_eur_per_kwh,
            given.sell_eur_per_kwh, given.pv_kw, given.own_kw, given.import_cap_kw, given.car_first, given.car_last,
            given.car_max_kw, self.rest_kwh, levels, self.state, self.record,
        )  # fmt: skip


def run_reactive(given: Stretch, step_function: RunSteps = run_steps) -> Run:
    """The baseline: the whole stretch by the reactive rule."""
    run = Run(given, step_function)
    slots = -(-given.steps // STEPS_PER_SLOT)
    run.go(0, given.steps, REACTIVE, np.zeros((LEVEL_ROWS, slots)))
    return run
