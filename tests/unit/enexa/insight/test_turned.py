"""Each knob turns what it names and nothing else."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from services.enexa.insight.compare import together
from services.enexa.insight.comparison import Comparison, Knobs, Result
from services.enexa.insight.turned import (
    errors_of,
    import_cap_kw,
    sun_ratio,
    turned_plant,
    turned_prices,
    turned_tariff,
    turned_visits,
)
from services.enexa.market.prices import daily_series
from services.enexa.market.tariffs import Tariff
from services.enexa.simulation.scenarios import CHARGEPOST
from services.enexa.simulation.site import Stretch, Visit, stretch

PRICES = daily_series(tuple(float(quarter) for quarter in range(96)), date(2024, 5, 1), 2)
START = datetime(2024, 4, 30, 22, tzinfo=UTC)
CARS = tuple(
    Visit(start=START + timedelta(hours=hour), until=START + timedelta(hours=hour, minutes=30), energy_kwh=30.0,
          max_power_kw=100.0)
    for hour in range(6, 18)
)  # fmt: skip


def a_day() -> Stretch:
    return stretch(
        start=START, minutes=1440, plant=CHARGEPOST, tariff=Tariff(), prices=PRICES, visits=CARS, start_soc_pct=50.0,
        pv_kw=np.full(1440, 20.0),
    )  # fmt: skip


def test_untouched_knobs_change_nothing() -> None:
    knobs, given = Knobs(), a_day()

    assert turned_prices(PRICES, knobs).price_eur_per_mwh == pytest.approx(PRICES.price_eur_per_mwh)
    assert turned_plant(knobs) == CHARGEPOST
    assert turned_tariff(knobs) == Tariff()
    assert tuple(turned_visits(CARS, knobs, 0)) == CARS
    assert sun_ratio(knobs) == 1.0
    assert errors_of(given, knobs) is None
    assert np.array_equal(import_cap_kw(given, knobs), given.import_cap_kw)


def test_spread_stretches_around_the_mean_and_level_moves_the_mean() -> None:
    wild = turned_prices(PRICES, Knobs(price_spread_ratio=2.0)).price_eur_per_mwh
    dear = turned_prices(PRICES, Knobs(price_level_ratio=2.0)).price_eur_per_mwh

    assert sum(wild) == pytest.approx(sum(PRICES.price_eur_per_mwh))
    assert max(wild) - min(wild) == pytest.approx(2 * 95)
    assert sum(dear) == pytest.approx(2 * sum(PRICES.price_eur_per_mwh))
    assert max(dear) - min(dear) == pytest.approx(95)


def test_each_day_has_as_many_negative_hours_as_asked() -> None:
    turned = turned_prices(PRICES, Knobs(negative_hours_count=3.0)).price_eur_per_mwh

    assert [sum(price < 0 for price in turned[day * 96 : day * 96 + 96]) for day in (0, 1)] == [12, 12]
    assert min(turned) == -50.0
    assert turned[12:96] == pytest.approx(PRICES.price_eur_per_mwh[12:96])


def test_a_battery_may_be_gone_unlike_stronger_or_worse() -> None:
    assert turned_plant(Knobs(battery_ratio=0.0)).strings == ()
    assert [each.capacity_kwh for each in turned_plant(Knobs(second_string_ratio=0.5)).strings] == [95.0, 47.5]
    assert len(turned_plant(Knobs(second_string_ratio=0.0)).strings) == 1
    strong = turned_plant(Knobs(battery_power_ratio=2.0)).strings[0]
    assert (strong.capacity_kwh, strong.max_discharge_kw) == (95.0, 220.0)
    assert turned_plant(Knobs(efficiency_pct=90.0)).strings[1].charge_efficiency_ratio == 0.9


def test_fees_and_wear_are_turned_apart() -> None:
    tariff = turned_tariff(Knobs(fees_ratio=2.0, wear_ratio=0.0))

    assert (tariff.fees_eur_per_mwh, tariff.wear_eur_per_kwh) == (160.0, 0.0)


@pytest.mark.parametrize(("ratio", "count"), [(0.0, 0), (0.25, 3), (0.5, 6), (1.0, 12), (1.5, 18), (3.0, 36)])
def test_so_many_cars_come(ratio: float, count: int) -> None:
    assert len(turned_visits(CARS, Knobs(cars_ratio=ratio), 0)) == count


def test_winter_is_hungry_slow_and_dark_and_a_fleet_has_its_own_times() -> None:
    cold = turned_visits(CARS, Knobs(winter_ratio=1.0), 0)[0]
    second, again = turned_visits(CARS, Knobs(), 1), turned_visits(CARS, Knobs(), 1)

    assert cold.energy_kwh == pytest.approx(36.0)
    assert cold.max_power_kw == pytest.approx(70.0)
    assert sun_ratio(Knobs(winter_ratio=1.0)) == pytest.approx(0.2)
    assert second == again
    assert any(one.start != other.start for one, other in zip(second, CARS, strict=True))
    assert all(abs(one.start - other.start) <= timedelta(minutes=45) for one, other in zip(second, CARS, strict=True))


def test_dimmed_hours_hold_import_to_the_points_share_across_midnight() -> None:
    cap = import_cap_kw(a_day(), Knobs(dimmed_from_h=23.0, dimmed_h=2.0))

    assert set(cap[:60]) == set(cap[23 * 60 :]) == {8.4}
    assert set(cap[60 : 23 * 60]) == {CHARGEPOST.import_limit_kw}


def test_errors_leave_the_truth_alone() -> None:
    given = a_day()
    errors = errors_of(given, Knobs(pv_error_ratio=0.3, price_error_ratio=1.0))

    assert errors is not None
    assert (errors.pv_kw >= 0).all()
    assert not np.array_equal(errors.pv_kw, given.pv_kw)
    assert (given.pv_kw == 20.0).all()
    assert errors.price_eur_per_mwh == pytest.approx(float(given.price_eur_per_mwh.std()))


def a_result(import_kw: tuple[float, ...]) -> Result:
    return Result(
        controller="smart", net_eur=10.0, cost_eur=9.0, import_kwh=sum(import_kw) / 4, export_kwh=0.0, charged_kwh=1.0,
        discharged_kwh=1.0, ev_kwh=2.0, unserved_kwh=0.0, end_soc_pct=40.0, peak_kw=max(import_kw),
        import_kw=import_kw, battery_kw=import_kw, soc_pct=import_kw, soc_min_pct=20.0, cycles_count=1.0,
    )  # fmt: skip


def test_a_fleet_adds_up_and_its_peak_is_lower_than_the_sum_of_peaks() -> None:
    made = [
        Comparison(
            knobs=Knobs(sites_count=2.0), day=date(2024, 5, 1), start=START, sessions_count=3, requested_kwh=90.0,
            pv_kwh=0.0, price_eur_per_mwh=(1.0, 2.0), ev_wanted_kw=(1.0, 2.0), plans_count=5,
            reactive=a_result(column), smart=a_result(column), perfect=a_result(column),
        )
        for column in ((80.0, 10.0), (10.0, 80.0))
    ]  # fmt: skip

    fleet = together(made)

    assert (fleet.sessions_count, fleet.requested_kwh, fleet.plans_count) == (6, 180.0, 10)
    assert fleet.smart.net_eur == 20.0
    assert fleet.smart.peak_kw == 90.0
    assert fleet.smart.soc_pct == (45.0, 45.0)
    assert fleet.smart.cycles_count == 1.0
    assert fleet.smart.sessions_served_count is None
