"""SmartEMS in fast time: the value of stored energy, re-planned every slot and at every plug, steers the plant.

It differs from the running product in two ways, both for speed: it keeps one set of drawn arrivals per local day
instead of drawing anew for each plan, and it steers by the value table alone, without the linear program.

What it knows is a choice, and the difference between the choices is the price of not knowing:

    FORECAST   cars as they come, prices as published         what the product has
    ARRIVALS   every car known beforehand, prices as published
    ALL        every car and every price known                 what is left is model and control
"""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from enum import StrEnum

import numpy as np
from msgspec import Struct

from services.enexa.market.prices import PriceSeries, published_until
from services.enexa.planning.assembly import OUTCOMES, end_value_eur_per_kwh, outcome_table, substeps
from services.enexa.planning.bounds import whole_battery
from services.enexa.planning.forecast import ArrivalModel, alike_kwh, estimate_prices, learn_arrivals, sample_ev_kw
from services.enexa.planning.policy import GRID_POINTS
from services.enexa.planning.problem import SessionRecord
from services.enexa.planning.recursion import backward, energy_where
from services.enexa.planning.tuning import Tuning
from services.enexa.simulation.plant import (
    ABSORB_BELOW,
    CHARGE_BELOW,
    DISCHARGE_ABOVE,
    EXPORT_ABOVE,
    GATE,
    LEVEL_ROWS,
    LEVELS,
    Floats,
    run_steps,
)
from services.enexa.simulation.site import NO_BATTERY, STEP_S, STEPS_PER_SLOT, Run, RunSteps, Stretch, by_slot
from shared.energy.slots import SLOT_S, local_day

DRAWN_SAMPLES = 800
"""So many draws of a day's arrivals; with 200 the result wanders by a percent."""
NEAR_SLOTS = 10
"""For so many slots the cars that are plugged now matter; later only arrivals do."""


class Knows(StrEnum):
    """What a controller knows beforehand."""

    FORECAST = "forecast"
    ARRIVALS = "arrivals"
    ALL = "all"


class History(Struct, frozen=True, kw_only=True):
    """What the site saw before the stretch; the stretch's own past is added day by day."""

    sessions: tuple[SessionRecord, ...] = ()
    observed_days: tuple[date, ...] = ()


class Errors(Struct, frozen=True, kw_only=True):
    """What a controller sees instead of the truth: the sun minute by minute, and how far (standard deviation) its
    estimates of unpublished prices are off."""

    pv_kw: Floats
    price_eur_per_mwh: float


class SmartEms:
    """One controller on one stretch."""

    def __init__(
        self,
        given: Stretch,
        prices: PriceSeries,
        history: History,
        knows: Knows,
        *,
        tuning: Tuning | None = None,
        errors: Errors | None = None,
        recursion: Callable[..., None] = backward,
        step_function: RunSteps = run_steps,
    ) -> None:
        self._given, self._prices, self._history, self._knows = given, prices, history, knows
        self._tuning = tuning or Tuning()
        self._seen_pv_kw = given.pv_kw if errors is None else errors.pv_kw
        self._price_error = 0.0 if errors is None else errors.price_eur_per_mwh
        self._recursion = recursion
        self._battery = whole_battery(given.plant) or NO_BATTERY
        self._slots = -(-given.steps // STEPS_PER_SLOT)
        self._levels: Floats = np.zeros((LEVEL_ROWS, self._slots))
        self._levels[GATE] = given.plant.import_limit_kw
        self.run = Run(given, step_function)
        self._horizon = round(self._tuning.horizon_h * 3600 / SLOT_S)
        self._day: date | None = None
        self._drawn_kw: Floats = np.zeros((0, 0))
        self._drawn_from = 0
        self._table: Floats = np.zeros((4, OUTCOMES, 0))
        self._known_kw: Floats = np.zeros(0)
        self._priced: Floats = np.zeros(0)
        self._priced_from = 0
        self._priced_until: datetime | None = None
        self.plans_count = 0

    def complete(self, progress: Callable[[float], None] = lambda _ratio: None) -> Run:
        """Run the whole stretch; plan at each slot and whenever a car comes, is full or goes, if there is a battery.

        `progress` hears which share of the stretch is done.
        """
        if not self._given.plant.strings:
            self.run.go(0, self._given.steps, LEVELS, self._levels)
            return self.run
        events = {
            step for step in (*self.run.given.car_first, *self.run.given.car_last) if 0 < step < self._given.steps
        }
        edges = sorted({int(step) for step in events} | set(range(0, self._given.steps, STEPS_PER_SLOT)))
        edges.append(self._given.steps)
        step, after = 0, 1
        while step < self._given.steps:
            while edges[after] <= step:
                after += 1
            self._plan(step)
            until = min(edges[after], self._served_at(step))
            self.run.go(step, until, LEVELS, self._levels)
            step = until
            progress(step / self._given.steps)
        return self.run

    def _served_at(self, step: int) -> int:
        """When the next car has what it wants, if nothing holds it back: its power falls, and demand is off plan."""
        given = self._given
        here = (given.car_first <= step) & (step < given.car_last) & (self.run.rest_kwh > 0)
        minutes = np.ceil(self.run.rest_kwh[here] * 60 / given.car_max_kw[here] - 1e-9)
        return step + max(int(minutes.min(initial=1440)), 1)

    def _plan(self, step: int) -> None:
        slot = step // STEPS_PER_SLOT
        slots = min(self._horizon, self._slots - slot)
        price = self._price(step, slot, slots)
        table = self._outcomes(step, slot, slots)
        hours = np.full(slots, SLOT_S / 3600)
        hours[0] = (STEPS_PER_SLOT - step % STEPS_PER_SLOT) * STEP_S / 3600
        values = self._values(price, table, hours, slot)
        self._set_levels(slot, price[0], values[1])
        self.plans_count += 1

    def _price(self, step: int, slot: int, slots: int) -> Floats:
        """Published prices, and estimates for the slots behind them; both change only with a publication."""
        at = self._given.at(step)
        until = max(published_until(at), at) if self._knows is not Knows.ALL else None
        if (
            until != self._priced_until
            or len(self._priced) == 0
            or slot + slots > self._priced_from + len(self._priced)
        ):
            self._priced_until, self._priced_from = until, slot
            known = self._prices if self._knows is Knows.ALL else self._prices.published(at)
            recent = known.window(at - timedelta(days=15), at + timedelta(days=5))
            count = min(self._horizon + 100, self._slots - slot)
            starts = [self._given.at(STEPS_PER_SLOT * (slot + index)) for index in range(count)]
            priced, published = estimate_prices(recent, starts)
            wrong = np.random.default_rng([self._tuning.seed, slot]).normal(0.0, self._price_error, count)
            self._priced = np.array(priced) + np.where(published, 0.0, wrong)
        first = slot - self._priced_from
        return self._priced[first : first + slots]

    def _values(self, price: Floats, table: Floats, hours: Floats, slot: int) -> Floats:
        given, battery, tariff = self._given, self._battery, self._given.tariff
        slots = len(price)
        floor_kwh = battery.capacity_kwh * battery.soc_min_pct / 100
        ceiling_kwh = battery.capacity_kwh * battery.soc_max_pct / 100
        width_kwh = (ceiling_kwh - floor_kwh) / (GRID_POINTS - 1)
        parameters = np.array(
            [
                battery.max_charge_kw,
                battery.max_discharge_kw,
                battery.charge_efficiency_ratio,
                battery.discharge_efficiency_ratio,
                tariff.wear_eur_per_kwh,
                tariff.unserved_eur_per_kwh,
                given.plant.export_limit_kw,
                given.ev_loss_ratio,
                1.0 if given.plant.battery_offsets_load else 0.0,
                battery.capacity_kwh * battery.derating_below_pct / 100 - floor_kwh,
                battery.capacity_kwh * battery.derating_floor_pct / 100 - floor_kwh,
            ]
        )
        sells = [tariff.export_eur_per_kwh(float(value)) for value in price]
        values = np.zeros((slots + 1, GRID_POINTS))
        ends = slot + slots == self._slots
        worth = given.end_value_eur_per_kwh if ends else self._worth(price)
        values[-1] = -worth * width_kwh * np.arange(GRID_POINTS)
        cap_kw = by_slot(given.import_cap_kw, slot, slots)
        self._recursion(
            values, width_kwh, parameters, hours, (price + tariff.fees_eur_per_mwh) / 1000,
            np.array([np.nan if sell is None else sell for sell in sells]),
            by_slot(given.own_kw, slot, slots), by_slot(self._seen_pv_kw, slot, slots), cap_kw, cap_kw,
            table[0].T.copy(), table[1].T.copy(), table[2].T.copy(), table[3].T.copy(),
        )  # fmt: skip
        return values

    def _worth(self, price: Floats) -> float:
        return end_value_eur_per_kwh(self._given.plant, self._given.tariff, self._tuning, price.tolist())

    def _set_levels(self, slot: int, price: float, after: Floats) -> None:
        battery, tariff = self._battery, self._given.tariff
        floor_kwh = battery.capacity_kwh * battery.soc_min_pct / 100
        width_kwh = battery.capacity_kwh * (battery.soc_max_pct - battery.soc_min_pct) / 100 / (GRID_POINTS - 1)
        buy, sell = tariff.import_eur_per_kwh(price), tariff.export_eur_per_kwh(price)
        wear, charge_eff = tariff.wear_eur_per_kwh, battery.charge_efficiency_ratio
        discharge_eff = battery.discharge_efficiency_ratio

        def level(marginal: float) -> float:
            return floor_kwh + energy_where(after, width_kwh, marginal)

        forgone = sell if sell is not None and self._given.plant.export_limit_kw > 0 else 0.0
        self._levels[CHARGE_BELOW, slot] = level((buy + wear) / charge_eff)
        self._levels[DISCHARGE_ABOVE, slot] = level((buy - wear) * discharge_eff)
        self._levels[ABSORB_BELOW, slot] = level((forgone + wear) / charge_eff)
        self._levels[EXPORT_ABOVE, slot] = np.inf if sell is None else level((sell - wear) * discharge_eff)

    def _outcomes(self, step: int, slot: int, slots: int) -> Floats:
        if self._knows is not Knows.FORECAST:
            return self._true_outcomes(step, slot, slots)
        self._draw(step, slot)
        offset = slot - self._drawn_from
        table = self._table[:, :, offset : offset + slots].copy()
        near = min(NEAR_SLOTS, slots)
        first_steps = STEPS_PER_SLOT - step % STEPS_PER_SLOT
        start = step - self._drawn_from * STEPS_PER_SLOT
        ev_kw = self._drawn_kw[:, start : start + first_steps + (near - 1) * STEPS_PER_SLOT].copy()
        ev_kw[:, :first_steps] = 0.0
        self._add_present(ev_kw, step)
        limit = self._spare_kw(slot, near)
        table[:, :, :near] = outcome_table(substeps(ev_kw, first_steps * STEP_S, near, limit))
        return table

    def _add_present(self, ev_kw: Floats, step: int) -> None:
        """Cars that are plugged now: their power is measured, their rest is drawn from sessions longer than theirs."""
        given = self._given
        rng = np.random.default_rng(step)
        for car in np.flatnonzero((given.car_first <= step) & (step < given.car_last) & (self.run.rest_kwh > 0)):
            kw = float(given.car_max_kw[car])
            taken = float(given.car_kwh[car] - self.run.rest_kwh[car])
            longer = alike_kwh(self._model, kw, taken)
            rest = rng.choice(longer, len(ev_kw)) if len(longer) > 4 else rng.gamma(3.0, 32.0 / 3.0, len(ev_kw))
            minutes = np.arange(ev_kw.shape[1])
            ev_kw += np.clip(rest[:, None] * 60 - kw * minutes[None, :], 0.0, kw)

    def _draw(self, step: int, slot: int) -> None:
        """Arrivals for the local day and the horizon behind it, drawn when the day begins."""
        given = self._given
        day = local_day(given.at(step))
        if day == self._day:
            return
        self._day, self._drawn_from = day, slot
        sessions = [*self._history.sessions, *self._seen_before(step)]
        days = {*self._history.observed_days, *(local_day(given.at(at)) for at in range(0, step, 1440))} - {day}
        self._model: ArrivalModel = learn_arrivals(sessions, sorted(days))
        slots = self._horizon + 100
        rng = np.random.default_rng([self._tuning.seed, day.toordinal()])
        minutes = slots * STEPS_PER_SLOT
        start = given.at(slot * STEPS_PER_SLOT)
        self._drawn_kw = sample_ev_kw(
            self._model,
            (),
            start,
            minutes,
            DRAWN_SAMPLES,
            given.plant.max_charger_kw,
            rng,
            plugs=given.plant.charger_count,
        )
        shares = substeps(self._drawn_kw, SLOT_S, slots, self._spare_kw(slot, slots))
        self._table = outcome_table(shares)

    def _seen_before(self, step: int) -> list[SessionRecord]:
        given = self._given
        return [
            SessionRecord(start=v.start, until=v.until, energy_kwh=v.energy_kwh, max_power_kw=v.max_power_kw)
            for v, last in zip(given.visits, given.car_last, strict=True)
            if last <= step
        ]

    def _spare_kw(self, slot: int, slots: int) -> tuple[float, ...]:
        given = self._given
        spare = by_slot(given.import_cap_kw, slot, slots) - by_slot(given.own_kw, slot, slots)
        return tuple((np.maximum(spare, 0.0) / (1 + given.ev_loss_ratio)).tolist())

    def _true_outcomes(self, step: int, slot: int, slots: int) -> Floats:
        """The demand as it will be: each car at full power until it has what it wants."""
        given = self._given
        first_steps = STEPS_PER_SLOT - step % STEPS_PER_SLOT
        minutes = first_steps + (slots - 1) * STEPS_PER_SLOT
        ev_kw = np.zeros((1, minutes))
        ahead = (given.car_last > step) & (given.car_first < step + minutes) & (self.run.rest_kwh > 0)
        for car in np.flatnonzero(ahead):
            rest_kwh = float(self.run.rest_kwh[car])
            begin = max(int(given.car_first[car]) - step, 0)
            end = min(int(given.car_last[car]) - step, minutes)
            if begin >= end:
                continue
            kw = float(given.car_max_kw[car])
            ev_kw[0, begin:end] += np.clip(rest_kwh * 60 - kw * np.arange(end - begin), 0.0, kw)
        ev_kw = np.minimum(ev_kw, given.plant.max_charger_kw)
        return outcome_table(substeps(ev_kw, first_steps * STEP_S, slots, self._spare_kw(slot, slots)))
