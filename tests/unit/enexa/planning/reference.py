"""The reference day on its old plant, from the shipped scenario; and the prices of 2024-05-01 on the same day."""

from datetime import timedelta

from services.enexa.market.prices import daily_series
from services.enexa.market.tariffs import Tariff
from services.enexa.simulation.days import REFERENCE_DAY, scenario_day, scenario_prices
from services.enexa.simulation.scenarios import OLD_PLANT
from services.enexa.simulation.site import Stretch
from shared.scenario.load import load_scenario

MAY_FIRST = (
    66.81, 55.09, 50.31, 43.99, 47.81, 44.69, 42.48, 28.08, 8.45, 0.01, -0.97, -40.05, -91.9, -120.0, -120.07, -79.98,
    -30.01, -1.14, 15.32, 50.4, 50.0, 34.01, 29.92, 22.0,
)  # fmt: skip


def reference_day(hourly_eur_per_mwh: tuple[float, ...] | None = None) -> Stretch:
    """06:00 to 06:00 local, one outlet, 25 cars, sun without clouds; with its own prices or 24 hourly ones."""
    scenario = load_scenario("reference_day")
    prices = scenario_prices(scenario)
    if hourly_eur_per_mwh is not None:
        quarters = tuple(price for price in hourly_eur_per_mwh for _ in range(4))
        prices = daily_series(quarters, REFERENCE_DAY - timedelta(days=21), 24)
    return scenario_day(scenario, plant=OLD_PLANT, tariff=Tariff(), prices=prices)
