"""The coarse plant and the emulator's physics, written apart, live the same days and come to the same energies.

Both get the same cars and the same setpoints: the battery power of each of the plant's minutes is asked of the emulated
station as a grid request that follows the car each second, as Amperio does. What they may differ in is what the plant
leaves out: the course of a ramp, two strings instead of one, loss that varies with the state of charge. The plant knows
nothing shorter than a minute, so the cars charge for whole ones; a car that is full in the middle of one costs 0.1 kWh
more discharge in the emulator than in the plant, which levels that minute out.
"""

from datetime import date, datetime, timedelta

import numpy as np
import pytest
from msgspec import Struct

from services.enexa.market.prices import PriceSeries, daily_series
from services.enexa.market.tariffs import Tariff
from services.enexa.planning.compiled import fast_backward
from services.enexa.simulation.compiled import fast_run_steps
from services.enexa.simulation.plant import CHARGE, DISCHARGE, EV, IMPORT, OWN
from services.enexa.simulation.scenarios import CHARGEPOST
from services.enexa.simulation.site import Losses, Run, Visit, stretch
from services.enexa.simulation.smartems import History, Knows, SmartEms
from shared.chargepost.registers import CONFIG, MANAGEMENT
from shared.energy.slots import day_start
from shared.scenario.load import load_scenario
from tests.unit.emulator.rig import Rig

CAPACITY_KWH = 200.0
AWAKE_KW, EV_LOSS_RATIO = 0.52, 0.03
"""What the emulated station's electronics draw, and the linear part of its loss per kWh into a car."""
AMBIENT_C = 18.0
HEAD_START_S = 24
"""Authorisation, set-up and half the ramp: so much earlier an emulated car is plugged, so that both draw as one."""


class Day(Struct, frozen=True, kw_only=True):
    """When it is, how long it lasts, and its cars: minute of the day, kW, minutes at that power, outlet."""

    day: date
    minutes: int = 1440
    start_soc_pct: float
    cars: tuple[tuple[int, float, int, int], ...]


def drawn(seed: int, count: int) -> tuple[tuple[int, float, int, int], ...]:
    """Cars in turn at both outlets, so far apart that none waits for another."""
    rng = np.random.default_rng(seed)
    begins = np.sort(rng.choice(np.arange(200, 1380, 70), count, replace=False))
    return tuple(
        (int(at), float(rng.uniform(50, 150)), int(rng.integers(8, 30)), 1 + index % 2)
        for index, at in enumerate(begins)
    )


DAYS = (
    Day(day=date(2024, 6, 15), start_soc_pct=60.0, cars=drawn(1, 12)),
    Day(day=date(2024, 1, 17), start_soc_pct=30.0, cars=drawn(2, 8)),
    Day(day=date(2024, 10, 2), start_soc_pct=85.0, cars=drawn(3, 16)),
    Day(day=date(2024, 4, 9), start_soc_pct=50.0, cars=drawn(4, 9)),
)


class Energies(Struct, frozen=True, kw_only=True):
    """What a day came to, kWh."""

    imported: float
    ev: float
    own: float
    charged: float
    discharged: float
    stored: float


def prices_of(day: date) -> PriceSeries:
    profile = load_scenario("reference_day").price_eur_per_mwh
    assert profile is not None
    return daily_series(tuple(profile.at(900.0 * quarter) for quarter in range(96)), day - timedelta(days=15), 18)


def simulated(day: Day) -> tuple[Run, Energies]:
    start = day_start(day.day)
    prices = prices_of(day.day)
    visits = [
        Visit(start=start + timedelta(minutes=at), until=start + timedelta(minutes=at + 50),
              energy_kwh=kw * minutes / 60, max_power_kw=kw)
        for at, kw, minutes, _ in day.cars
    ]  # fmt: skip
    given = stretch(
        start=start, minutes=day.minutes, plant=CHARGEPOST, tariff=Tariff(), prices=prices, visits=visits,
        start_soc_pct=day.start_soc_pct, ev_loss_ratio=EV_LOSS_RATIO, own_kw=AWAKE_KW, losses=Losses(),
    )  # fmt: skip
    run = SmartEms(
        given, prices, History(), Knows.ALL, recursion=fast_backward(), step_function=fast_run_steps()
    ).complete()
    sums = {row: float(run.record[row].sum() / 60) for row in (IMPORT, EV, OWN, CHARGE, DISCHARGE)}
    return run, Energies(
        imported=sums[IMPORT], ev=sums[EV], own=sums[OWN], charged=sums[CHARGE], discharged=sums[DISCHARGE],
        stored=run.energy_kwh - given.start_kwh,
    )  # fmt: skip


def emulated(day: Day, run: Run, start: datetime) -> Energies:
    """The same battery power minute by minute, asked of the station second by second."""
    rig = Rig("chargepost", soc_pct=day.start_soc_pct, at=start)
    rig.post.environment.mean_c, rig.post.environment.swing_c = AMBIENT_C, 0.0
    post, flows = rig.post, rig.post.flows
    before_kwh = sum(string.energy_kwh for string in post.strings)
    imported = ev = own = charged = discharged = 0.0
    arrivals = {at: (kw, kw * minutes / 60, outlet) for at, kw, minutes, outlet in day.cars}
    assert rig.write(CONFIG.write(soc_reserve_pct=10)) == 0
    rig.take_control(clearance_kw=83.0)
    for minute in range(day.minutes):
        battery_kw = float(run.record[DISCHARGE, minute] - run.record[CHARGE, minute])
        asked_kw = -1.0
        for second in range(60):
            if second % 30 == 0:
                assert rig.write(MANAGEMENT.write(watchdog_interval_s=60)) == 0
            if second == 60 - HEAD_START_S and minute + 1 in arrivals:
                plug(rig, *arrivals[minute + 1])
            following_kw = min(max(flows.ev_1_kw + flows.ev_2_kw + flows.own_kw - battery_kw, 0.0), 83.0)
            if abs(following_kw - asked_kw) > 0.05:
                assert rig.write(MANAGEMENT.write(request_kw=following_kw)) == 0
                asked_kw = following_kw
            rig.run(1)
            imported += flows.grid_kw
            ev += flows.ev_1_kw + flows.ev_2_kw
            own += flows.own_kw
            charged += max(-flows.battery_1_kw, 0.0) + max(-flows.battery_2_kw, 0.0)
            discharged += max(flows.battery_1_kw, 0.0) + max(flows.battery_2_kw, 0.0)
    after_kwh = sum(string.energy_kwh for string in post.strings)
    return Energies(
        imported=imported / 3600, ev=ev / 3600, own=own / 3600, charged=charged / 3600, discharged=discharged / 3600,
        stored=after_kwh - before_kwh,
    )  # fmt: skip


def plug(rig: Rig, kw: float, kwh: float, outlet: int) -> None:
    rig.plug(
        outlet=outlet, max_kw=kw, capacity_kwh=CAPACITY_KWH, soc_start_pct=20.0,
        soc_target_pct=20.0 + kwh / CAPACITY_KWH * 100, stay_s=3000.0, leaves_when_full=True,
        curve=((0.0, kw), (100.0, kw)),
    )  # fmt: skip


@pytest.mark.timeout(400)  # seconds of a station, and compiles on first use; on a busy machine
@pytest.mark.parametrize("day", DAYS, ids=lambda day: day.day.isoformat())
def test_plant_and_emulator_agree_within_one_percent_in_every_energy(day: Day) -> None:
    run, planned = simulated(day)
    lived = emulated(day, run, run.given.start)
    moved_kwh = planned.charged + planned.discharged

    assert planned.ev == pytest.approx(sum(kw * minutes / 60 for _, kw, minutes, _ in day.cars), rel=1e-6)
    assert lived.ev == pytest.approx(planned.ev, rel=0.001)
    assert lived.imported == pytest.approx(planned.imported, rel=0.01)
    assert lived.own == pytest.approx(planned.own, rel=0.01)
    assert lived.charged == pytest.approx(planned.charged, rel=0.01)
    assert lived.discharged == pytest.approx(planned.discharged, rel=0.01)
    assert lived.stored == pytest.approx(planned.stored, abs=0.01 * moved_kwh)
