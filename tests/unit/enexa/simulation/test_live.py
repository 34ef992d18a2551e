"""SmartEMS as the service plays it: its plans, triggers and gates on the simulated plant."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from services.enexa.market.prices import daily_series
from services.enexa.market.tariffs import Tariff
from services.enexa.planning.compiled import fast_backward
from services.enexa.planning.problem import Plant, SessionRecord
from services.enexa.planning.tuning import Tuning
from services.enexa.simulation.compiled import fast_run_steps
from services.enexa.simulation.kpis import kpis_of
from services.enexa.simulation.live import LiveEms, config_of
from services.enexa.simulation.plant import CHARGE, DISCHARGE, ENERGY, EV, EXPORT, IMPORT, OWN, PV_USED
from services.enexa.simulation.scenarios import CHARGEPOST
from services.enexa.simulation.site import Stretch, Visit, run_reactive, stretch
from services.enexa.simulation.smartems import History

START = datetime(2024, 6, 15, 10, 0, tzinfo=UTC)
PROFILE = tuple(20.0 if quarter < 56 else 320.0 for quarter in range(96))
"""Cheap until 14:00 local, two hours after the start, and dear then."""
PRICES = daily_series(PROFILE, START.date() - timedelta(days=16), 19)
QUICK = Tuning(scenario_count=4, horizon_h=5.0)
CAMES_MIN = (37, 151)
"""Cars come so late, and have come so late on every day before."""


def as_always() -> History:
    days = range(14, 0, -1)
    return History(
        sessions=tuple(
            SessionRecord(
                start=START + timedelta(days=-day, minutes=at), until=START + timedelta(days=-day, minutes=at + 50),
                energy_kwh=40.0, max_power_kw=120.0,
            )
            for day in days for at in CAMES_MIN
        ),
        observed_days=tuple(START.date() - timedelta(days=day) for day in days),
    )  # fmt: skip


def afternoon(plant: Plant = CHARGEPOST, *, dimmed: bool = False) -> Stretch:
    """Four hours, one car in the cheap ones and one in the dear ones."""
    visits = [
        Visit(start=START + timedelta(minutes=at), until=START + timedelta(minutes=at + 50), energy_kwh=40.0,
              max_power_kw=120.0)
        for at in CAMES_MIN
    ]  # fmt: skip
    cap_kw = np.full(240, plant.import_limit_kw)
    if dimmed:
        cap_kw[150:] = 8.4
    return stretch(
        start=START, minutes=240, plant=plant, tariff=Tariff(), prices=PRICES, visits=visits, start_soc_pct=30.0,
        ev_loss_ratio=0.05, own_kw=0.4, import_cap_kw=cap_kw,
    )  # fmt: skip


def played(given: Stretch) -> LiveEms:
    controller = LiveEms(
        given, PRICES, as_always(), tuning=QUICK, recursion=fast_backward(), step_function=fast_run_steps()
    )
    controller.complete()
    return controller


@pytest.mark.timeout(240)  # compiles on a busy machine
def test_plans_triggers_and_gates_play_the_day_within_its_limits() -> None:
    given = afternoon()
    controller = played(given)
    run = controller.run
    record = run.record

    into = record[IMPORT] - record[EXPORT] + record[PV_USED] + record[DISCHARGE] - record[CHARGE]
    assert np.abs(into - record[EV] - record[OWN]).max() < 1e-9
    assert record[IMPORT].max() <= CHARGEPOST.import_limit_kw + 1e-9
    assert run.rest_kwh.sum() == pytest.approx(0.0, abs=1e-6)
    assert record[ENERGY, 119] > given.start_kwh + 20.0
    assert record[DISCHARGE, 151:200].sum() / 60 > 15.0
    assert kpis_of(run).net_eur < kpis_of(run_reactive(given)).net_eur - 1.0
    # A plan at the start, at every quarter hour, and when cars come, are full and go: each when its spacing allows.
    assert 16 <= controller.plans_count <= 60


@pytest.mark.timeout(240)  # as above
def test_what_the_grid_operator_has_announced_is_kept_and_the_battery_gives_the_car_all_it_has() -> None:
    given = afternoon(dimmed=True)
    run = played(given).run

    assert run.record[IMPORT, 150:].max() <= 8.4 + 1e-9
    assert run.rest_kwh.sum() == pytest.approx(0.0, abs=0.1)


@pytest.mark.timeout(240)  # as above
def test_a_demand_charge_that_counts_keeps_the_battery_from_charging_at_full_power() -> None:
    given = afternoon()
    controller = LiveEms(
        given, PRICES, as_always(), tuning=QUICK, demand_charge=True, recursion=fast_backward(),
        step_function=fast_run_steps(),
    )  # fmt: skip
    free = played(given).run.record[CHARGE, :37].max()

    assert free > 50.0
    assert controller.complete().record[CHARGE, :37].max() < free / 2


def test_the_configuration_that_the_gates_read_is_the_plants() -> None:
    config = config_of(afternoon())

    assert [unit.capacity_kwh for unit in config.battery.units] == [95.0, 95.0]
    assert config.grid.import_limit_kw == CHARGEPOST.import_limit_kw
    assert not config.grid.export_allowed
    assert len(config.chargers) == 2
