"""SmartEMS as the running service plays it, in fast time: its planner's linear program, its triggers and its gates.

Each minute is measured into a sample; the triggers say whether a new plan is due; the gates turn slot and sample into a
wish; the plant holds it as the middleware would. What is left out are the seconds: a wish holds for its minute, and a
plan is there at once.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np
from msgspec.structs import replace

from services.enexa.dispatching.gates import View, decide
from services.enexa.dispatching.triggers import Triggers, slot_index
from services.enexa.market.prices import PriceSeries
from services.enexa.planning.assembly import assemble
from services.enexa.planning.bounds import whole_battery
from services.enexa.planning.planner import plan
from services.enexa.planning.policy import Backward
from services.enexa.planning.problem import Car, ImportCap, PlanRequest, SessionRecord
from services.enexa.planning.recursion import backward
from services.enexa.planning.solver import Solver
from services.enexa.planning.travel import schedule_of
from services.enexa.planning.tuning import Tuning
from services.enexa.simulation.kpis import highest_quarter_kw
from services.enexa.simulation.plant import IMPORT, LEVEL_ROWS, REACTIVE, WISH, WISHES, Floats, run_steps
from services.enexa.simulation.site import NO_BATTERY, STEPS_PER_SLOT, Run, RunSteps, Stretch, by_slot
from services.enexa.simulation.smartems import History
from shared.contract.config import BatteryConfig, BatteryUnitConfig, ChargerConfig, GridConfig, SiteConfig
from shared.contract.schedule import SiteSchedule
from shared.contract.telemetry import Battery, Charger, Grid, Telemetry
from shared.energy.slots import SLOT_S, local_day
from shared.moment import Moment

SITE_ID = "SITE001"
PRICE_DAYS = 15
"""So many past days of prices are kept for the estimate of what is not published yet."""


class LiveEms:
    """One controller on one stretch; it always knows what the service would know.

    Comparisons count no demand charge, so by default the plan counts none either; with `demand_charge` it does, and the
    peak so far is the stretch's own.
    """

    def __init__(
        self,
        given: Stretch,
        prices: PriceSeries,
        history: History,
        *,
        tuning: Tuning | None = None,
        demand_charge: bool = False,
        recursion: Backward = backward,
        step_function: RunSteps = run_steps,
    ) -> None:
        self._given, self._prices, self._history = given, prices, history
        self._tuning = tuning or Tuning()
        self._recursion = recursion
        self._solver = Solver(time_limit_s=self._tuning.time_limit_s, gap_eur=self._tuning.gap_eur)
        self._config = config_of(given)
        self._tariff = given.tariff if demand_charge else replace(given.tariff, demand_charge_eur_per_kw_year=0.0)
        self._battery = whole_battery(given.plant) or NO_BATTERY
        self._triggers = Triggers()
        self._schedule: SiteSchedule | None = None
        self._levels: Floats = np.zeros((LEVEL_ROWS, -(-given.steps // STEPS_PER_SLOT)))
        self.run = Run(given, step_function)
        self.plans_count = 0

    def complete(self, progress: Callable[[float], None] = lambda _ratio: None) -> Run:
        """Run the whole stretch; `progress` hears which share of it is done."""
        for step in range(self._given.steps):
            self._minute(step)
            if step % STEPS_PER_SLOT == 0:
                progress(step / self._given.steps)
        return self.run

    def _minute(self, step: int) -> None:
        now = Moment(60.0 * step, self._given.at(step))
        sample = self._sample(step, now.at)
        self._triggers.saw(now, sample, self._config, self._schedule)
        if self._triggers.due(now) is not None:
            self._triggers.planning(now)
            self._schedule = self._plan(step, now.at)
        intent = decide(self._view(now, sample))
        if intent.setpoint_kw is None:
            self.run.go(step, step + 1, REACTIVE, self._levels)
            return
        self._levels[WISH, step // STEPS_PER_SLOT] = intent.setpoint_kw
        self.run.go(step, step + 1, WISHES, self._levels)

    def _sample(self, step: int, at: datetime) -> Telemetry:
        """What is measured in this minute: the cars follow what they want at once, import what was drawn before."""
        given, run = self._given, self.run
        cars = self._cars(step)
        drawn_kw = [min(float(given.car_max_kw[car]), float(run.rest_kwh[car]) * 60) for car in cars]
        ev_kw = sum(drawn_kw)
        share = min(1.0, given.plant.max_charger_kw / ev_kw) if ev_kw > 0 else 1.0
        chargers = tuple(
            Charger(plugged=True, power_kw=kw * share, session_id=f"car-{car}")
            for car, kw in zip(cars, drawn_kw, strict=True)
        )
        soc_pct = 100.0 * run.energy_kwh / (self._battery.capacity_kwh or 1.0)
        return Telemetry(
            site_id=SITE_ID,
            timestamp=at,
            battery=Battery(soc_pct=soc_pct),
            grid=Grid(clearance_kw=float(given.import_cap_kw[step])),
            chargers=chargers,
            aux_kw=float(given.own_kw[step]) + given.ev_loss_ratio * ev_kw * share,
            pv_kw=float(given.pv_kw[step]),
        )

    def _cars(self, step: int) -> list[int]:
        given = self._given
        here = (given.car_first <= step) & (step < given.car_last) & (self.run.rest_kwh > 0)
        return [int(car) for car in np.flatnonzero(here)]

    def _view(self, now: Moment, sample: Telemetry) -> View:
        schedule = self._schedule
        index = slot_index(schedule, now) if schedule is not None and now.at < schedule.valid_until else None
        if schedule is None or index is None:
            return View(at=now.at, config=self._config, sample=sample, sample_age_s=0.0)
        slot = schedule.slots[index]
        return View(
            at=now.at,
            config=self._config,
            slot=slot,
            slot_ends_at=slot.start + timedelta(seconds=SLOT_S),
            sample=sample,
            sample_age_s=0.0,
        )

    def _plan(self, step: int, at: datetime) -> SiteSchedule:
        self.plans_count += 1
        problem = assemble(self._request(step, at))
        # The day's sun is known to every simulated controller alike.
        sun_kw = by_slot(self._given.pv_kw, step // STEPS_PER_SLOT, len(problem.starts))
        problem = replace(problem, pv_kw=tuple(sun_kw.tolist()))
        made = plan(problem, self._solver, self._recursion)
        return schedule_of(made, made_at=at)

    def _request(self, step: int, at: datetime) -> PlanRequest:
        given = self._given
        soc_pct = 100.0 * self.run.energy_kwh / (self._battery.capacity_kwh or 1.0)
        days = {*self._history.observed_days, *(local_day(given.at(past)) for past in range(0, step, 1440))}
        return PlanRequest(
            site_id=SITE_ID,
            version=self.plans_count,
            now=at,
            plant=given.plant,
            tariff=self._tariff,
            prices=self._prices.published(at).window(at - timedelta(days=PRICE_DAYS), at + timedelta(days=5)),
            soc_pct=(min(max(soc_pct, 0.0), 100.0),) * len(given.plant.strings),
            cars=tuple(self._car(car, at) for car in self._cars(step)),
            sessions=(*self._history.sessions, *self._seen_before(step)),
            observed_days=tuple(sorted(days - {local_day(at)})),
            own_consumption_kw=float(given.own_kw[: step + 1].mean()),
            ev_loss_ratio=given.ev_loss_ratio,
            caps=self._caps(step),
            peak_so_far_kw=highest_quarter_kw(self.run.record[IMPORT, :step]) if step else 0.0,
            tuning=self._tuning,
        )

    def _car(self, car: int, at: datetime) -> Car:
        given, rest_kwh = self._given, float(self.run.rest_kwh[car])
        kw = float(given.car_max_kw[car])
        return Car(
            power_kw=min(kw, rest_kwh * 60),
            plugged_at=min(given.at(int(given.car_first[car])), at),
            energy_kwh=float(given.car_kwh[car]) - rest_kwh,
            max_power_kw=kw,
        )

    def _seen_before(self, step: int) -> list[SessionRecord]:
        given = self._given
        return [
            SessionRecord(start=v.start, until=v.until, energy_kwh=v.energy_kwh, max_power_kw=v.max_power_kw)
            for v, last in zip(given.visits, given.car_last, strict=True)
            if last <= step
        ]

    def _caps(self, step: int) -> tuple[ImportCap, ...]:
        """What the grid operator has announced: stretches in which less than the usual limit may be imported."""
        given, usual_kw = self._given, self._given.plant.import_limit_kw
        ahead = given.import_cap_kw[step:]
        edges = [0, *(np.flatnonzero(np.diff(ahead)) + 1).tolist(), len(ahead)]
        return tuple(
            ImportCap(start=given.at(step + first), until=given.at(step + last), import_kw=float(ahead[first]))
            for first, last in pairwise(edges)
            if ahead[first] < usual_kw - 0.5
        )


def config_of(given: Stretch) -> SiteConfig:
    """The stretch's plant as the configuration that the gates and triggers read."""
    plant = given.plant
    string = plant.strings[0] if plant.strings else NO_BATTERY
    return SiteConfig(
        site_id=SITE_ID,
        version=1,
        updated_at=given.start,
        author="simulation",
        battery=BatteryConfig(
            units=tuple(
                BatteryUnitConfig(
                    id=f"string-{index}",
                    capacity_kwh=each.capacity_kwh,
                    charge_max_kw=each.max_charge_kw,
                    discharge_max_kw=each.max_discharge_kw,
                )
                for index, each in enumerate(plant.strings, start=1)
            ),
            soc_min_pct=string.derating_floor_pct,
            soc_reserve_pct=string.soc_min_pct,
            soc_max_pct=string.soc_max_pct,
            charge_efficiency=string.charge_efficiency_ratio,
            discharge_efficiency=string.discharge_efficiency_ratio,
            derate_below_soc_pct=string.derating_below_pct,
        ),
        grid=GridConfig(
            import_limit_kw=plant.import_limit_kw,
            connection_kva=plant.grid_apparent_limit_kva,
            export_allowed=plant.export_limit_kw > 0,
            export_limit_kw=plant.export_limit_kw,
        ),
        chargers=tuple(
            ChargerConfig(id=f"outlet-{index}", coupled_max_kw=plant.max_charger_kw)
            for index in range(1, plant.charger_count + 1)
        ),
    )
