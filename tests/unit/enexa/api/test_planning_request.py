"""What the planner is told: measured where something was measured, and careful where nothing was."""

from datetime import timedelta

import pytest

from services.enexa.planning_request import IDLE_AUX_KW, cars_of, own_consumption_kw, plan_request, sessions_of, socs_of
from services.enexa.pricing import PriceSource
from shared.contract.events import Event, EventKind
from shared.contract.telemetry import Battery, BatteryUnit, Charger, Mode, Telemetry
from tests.unit.enexa.dispatching.scene import CONFIG, START, sample

PRICES = PriceSource(file=None, scenario="reference_day").published(START)


def test_a_string_that_says_nothing_stands_where_the_battery_stands() -> None:
    seen = Telemetry(
        site_id="SITE001",
        timestamp=START,
        battery=Battery(soc_pct=60.0, units=(BatteryUnit(soc_pct=62.0), BatteryUnit())),
    )

    assert socs_of(CONFIG, seen) == (62.0, 60.0)
    assert socs_of(CONFIG, Telemetry(site_id="SITE001", timestamp=START)) == (20.0, 20.0)


def test_a_lower_clearance_is_a_cap_only_while_the_middleware_follows_us() -> None:
    online = plan_request(CONFIG, sample(clearance_kw=40.0), PRICES, now=START, version=1)
    alone = plan_request(CONFIG, sample(clearance_kw=40.0, mode=Mode.SAFE), PRICES, now=START, version=1)
    full = plan_request(CONFIG, sample(clearance_kw=83.5), PRICES, now=START, version=1)

    assert [cap.import_kw for cap in online.caps] == [40.0]
    assert (alone.caps, full.caps) == ((), ())


def test_a_plugged_car_has_been_there_since_its_session_began() -> None:
    began = START - timedelta(minutes=10)
    car = Charger(
        plugged=True, power_kw=100.0, session_id=f"SITE001-1-{int(began.timestamp())}", session_kwh=15.0, ev_soc_pct=40
    )
    seen = Telemetry(site_id="SITE001", timestamp=START, chargers=(car, Charger(plugged=False)))

    (found,) = cars_of(seen, CONFIG)

    assert (found.plugged_at, found.power_kw, found.energy_kwh, found.soc_pct) == (began, 100.0, 15.0, 40.0)


def test_sessions_come_from_their_ends_and_only_whole_ones_count() -> None:
    def ended(**facts: float) -> Event:
        return Event(event_id="e", site_id="SITE001", timestamp=START, kind=EventKind.SESSION_ENDED, facts=dict(facts))

    (found,) = sessions_of(
        [ended(energy_kwh=30.0, duration_s=1800.0, peak_kw=120.0), ended(energy_kwh=0.0, duration_s=60.0), ended()]
    )

    assert (found.start, found.energy_kwh, found.max_power_kw) == (START - timedelta(minutes=30), 30.0, 120.0)


def test_own_consumption_is_measured_when_nobody_is_there() -> None:
    assert own_consumption_kw([]) == IDLE_AUX_KW
    assert own_consumption_kw([sample(aux_kw=0.6), sample(aux_kw=0.8), sample(aux_kw=9.0, ev_kw=100.0)]) == (
        pytest.approx(0.7)
    )


def test_prices_are_what_the_market_has_published() -> None:
    source = PriceSource(file=None, scenario="reference_day")
    morning, afternoon = START.replace(hour=9), START.replace(hour=13)

    assert source.known_until(afternoon) - source.known_until(morning) == timedelta(days=1)
    assert source.published(morning).until == source.known_until(morning)
