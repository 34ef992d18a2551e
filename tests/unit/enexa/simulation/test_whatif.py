"""What-if knobs turn what they say, and a sweep is every combination, bounded."""

from datetime import date

import pytest

from services.enexa.market.prices import daily_series
from services.enexa.market.tariffs import Tariff
from services.enexa.simulation.scenarios import CHARGEPOST
from services.enexa.simulation.whatif import Knobs, sweep, turned_plant, turned_prices, turned_tariff
from shared.errors import BadInput

PRICES = daily_series(tuple(float(quarter) for quarter in range(96)), date(2024, 5, 1), 1)


def test_untouched_knobs_change_nothing() -> None:
    assert turned_prices(PRICES, Knobs()).price_eur_per_mwh == pytest.approx(PRICES.price_eur_per_mwh)
    assert turned_plant(CHARGEPOST, Knobs()) == CHARGEPOST
    assert turned_tariff(Tariff(), Knobs()) == Tariff()


def test_volatility_stretches_around_the_mean() -> None:
    wild = turned_prices(PRICES, Knobs(volatility_ratio=2.0)).price_eur_per_mwh

    assert sum(wild) == pytest.approx(sum(PRICES.price_eur_per_mwh))
    assert max(wild) - min(wild) == pytest.approx(2 * 95)


def test_no_battery_is_a_plant_without_strings() -> None:
    assert turned_plant(CHARGEPOST, Knobs(battery_energy_ratio=0.0)).strings == ()


def test_a_sweep_is_every_combination() -> None:
    variants = sweep({"battery_energy_ratio": (0.5, 1.0, 2.0), "fees_ratio": (1.0, 2.0)})

    assert len(set(variants)) == 6


@pytest.mark.parametrize("axes", [{"colour_ratio": (1.0,)}, {"pv_ratio": (1.0,) * 200, "fees_ratio": (1.0,) * 200}])
def test_unknown_knobs_and_floods_are_refused(axes: dict[str, tuple[float, ...]]) -> None:
    with pytest.raises(BadInput):
        sweep(axes)
