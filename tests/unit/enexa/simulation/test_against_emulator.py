"""The coarse plant and the emulator's physics, written apart, live the same day and come to the same energies.

Both get the same cars and the same setpoints: the battery power of each of the plant's minutes is asked of the emulated
station as a grid request that follows the car each second, as Amperio does. What they may differ in is what the plant
leaves out: seconds of authorisation and ramp, efficiencies that depend on power, two strings instead of one.
"""

from datetime import date, timedelta
from functools import lru_cache

import pytest
from msgspec import Struct

from services.enexa.market.prices import daily_series
from services.enexa.market.tariffs import Tariff
from services.enexa.simulation.compiled import fast_backward, fast_run_steps
from services.enexa.simulation.plant import CHARGE, DISCHARGE, EV, IMPORT
from services.enexa.simulation.scenarios import CHARGEPOST
from services.enexa.simulation.site import Visit, stretch
from services.enexa.simulation.smartems import History, Knows, SmartEms
from shared.chargepost.registers import MANAGEMENT
from shared.energy.slots import day_start
from shared.scenario.load import load_scenario
from tests.unit.emulator.rig import Rig

DAY = date(2024, 6, 15)
MINUTES = 1440
CAPACITY_KWH = 80.0
OWN_KW = 0.9
"""What the emulated station draws on average with no car there."""
CARS = (  # minute of the day, kW, kWh, outlet
    (430, 120.0, 20.0, 1), (485, 90.0, 33.0, 2), (560, 140.0, 32.0, 1), (610, 75.0, 24.0, 2), (690, 110.0, 30.0, 1),
    (770, 130.0, 38.0, 2), (845, 60.0, 22.0, 1), (905, 95.0, 40.0, 2), (1000, 150.0, 45.0, 1), (1065, 80.0, 26.0, 2),
    (1140, 110.0, 36.0, 1), (1260, 100.0, 28.0, 2),
)  # fmt: skip


class Energies(Struct, frozen=True, kw_only=True):
    """One day, kWh."""

    import_kwh: float
    ev_kwh: float
    charged_kwh: float
    discharged_kwh: float
    stored_kwh: float

    @property
    def spent_kwh(self) -> float:
        """What the day took from the grid and out of the cells."""
        return self.import_kwh - self.stored_kwh

    @property
    def moved_kwh(self) -> float:
        """What went through the battery, both ways."""
        return self.charged_kwh + self.discharged_kwh


@lru_cache(maxsize=1)
def both() -> tuple[Energies, Energies]:
    """The day in the plant and in the emulator."""
    start = day_start(DAY)
    profile = load_scenario("reference_day").price_eur_per_mwh
    assert profile is not None
    prices = daily_series(tuple(profile.at(900.0 * quarter) for quarter in range(96)), DAY - timedelta(days=15), 18)
    visits = [
        Visit(start=start + timedelta(minutes=at), until=start + timedelta(minutes=at + 50), energy_kwh=kwh,
              max_power_kw=kw)
        for at, kw, kwh, _ in CARS
    ]  # fmt: skip
    given = stretch(
        start=start, minutes=MINUTES, plant=CHARGEPOST, tariff=Tariff(), prices=prices, visits=visits,
        start_soc_pct=60.0, ev_loss_ratio=0.05, own_kw=OWN_KW,
    )  # fmt: skip
    run = SmartEms(
        given, prices, History(), Knows.ALL, recursion=fast_backward(), step_function=fast_run_steps()
    ).complete()  # fmt: skip
    rig = Rig("chargepost", soc_pct=60.0, at=start)
    before_kwh = sum(string.energy_kwh for string in rig.post.strings)
    sums = dict.fromkeys(("import", "ev", "charged", "discharged"), 0.0)
    arrivals = {at: (kw, kwh, outlet) for at, kw, kwh, outlet in CARS}
    rig.take_control(clearance_kw=83.0)
    for minute in range(MINUTES):
        if minute in arrivals:
            kw, kwh, outlet = arrivals[minute]
            rig.plug(
                outlet=outlet, max_kw=kw, capacity_kwh=CAPACITY_KWH, soc_start_pct=20.0,
                soc_target_pct=20.0 + kwh / CAPACITY_KWH * 100, stay_s=3000.0, leaves_when_full=True,
                curve=((0.0, kw), (100.0, kw)),
            )  # fmt: skip
        battery_kw = float(run.record[DISCHARGE, minute] - run.record[CHARGE, minute])
        for second in range(60):
            if second % 20 == 0:
                assert rig.write(MANAGEMENT.write(watchdog_interval_s=60)) == 0
            flows = rig.post.flows
            following_kw = flows.ev_1_kw + flows.ev_2_kw + flows.own_kw - battery_kw
            assert rig.write(MANAGEMENT.write(request_kw=min(max(following_kw, 0.0), 83.0))) == 0
            rig.run(1)
            sums["import"] += flows.grid_kw / 3600
            sums["ev"] += (flows.ev_1_kw + flows.ev_2_kw) / 3600
            for string_kw in (flows.battery_1_kw, flows.battery_2_kw):
                sums["discharged" if string_kw > 0 else "charged"] += abs(string_kw) / 3600
    after_kwh = sum(string.energy_kwh for string in rig.post.strings)
    emulated = Energies(
        import_kwh=sums["import"], ev_kwh=sums["ev"], charged_kwh=sums["charged"], discharged_kwh=sums["discharged"],
        stored_kwh=after_kwh - before_kwh,
    )  # fmt: skip
    planned = Energies(
        import_kwh=float(run.record[IMPORT].sum() / 60), ev_kwh=float(run.record[EV].sum() / 60),
        charged_kwh=float(run.record[CHARGE].sum() / 60), discharged_kwh=float(run.record[DISCHARGE].sum() / 60),
        stored_kwh=run.energy_kwh - given.start_kwh,
    )  # fmt: skip
    return planned, emulated


@pytest.mark.timeout(400)  # a day of seconds, and compiles on first use; on a busy machine
def test_the_energies_of_the_day_agree_within_one_percent() -> None:
    planned, emulated = both()

    assert emulated.ev_kwh == pytest.approx(planned.ev_kwh, rel=0.001)
    assert emulated.spent_kwh == pytest.approx(planned.spent_kwh, rel=0.01)
    assert emulated.moved_kwh == pytest.approx(planned.moved_kwh, rel=0.01)
    assert emulated.stored_kwh == pytest.approx(planned.stored_kwh, abs=0.01 * planned.moved_kwh)


@pytest.mark.timeout(400)  # as above
def test_what_is_charged_and_discharged_differs_by_the_air_conditioning_under_load_alone() -> None:
    planned, emulated = both()

    # It takes its 2 kW from what could be charged, and adds them to what the battery must give beside the grid limit.
    assert 0.96 * planned.charged_kwh < emulated.charged_kwh < planned.charged_kwh
    assert planned.discharged_kwh < emulated.discharged_kwh < 1.04 * planned.discharged_kwh
