"""Arbitrage day by day over a price series: the figure every correct optimiser must meet to the cent."""

from collections.abc import Iterator
from datetime import date

from msgspec import Struct

from services.enexa.market.prices import PriceSeries, whole_days
from services.enexa.planning.arbitrage import YardstickBattery, best_day
from shared.energy.slots import day_end, day_start


class YardstickDay(Struct, frozen=True, kw_only=True):
    """One local day's best profit and what it moved at the AC side."""

    day: date
    intervals_count: int
    profit_eur: float
    charged_kwh: float
    discharged_kwh: float


def yardstick(prices: PriceSeries, battery: YardstickBattery | None = None) -> Iterator[YardstickDay]:
    """Each complete local day of 23, 24 or 25 hours; days that mix interval lengths are left out."""
    for day in whole_days(prices):
        part = prices.window(day_start(day), day_end(day))
        if len(set(part.interval_s)) != 1:
            continue
        best = best_day(part.price_eur_per_mwh, part.interval_s[0], battery or YardstickBattery())
        yield YardstickDay(
            day=day,
            intervals_count=len(part.starts),
            profit_eur=best.profit_eur,
            charged_kwh=sum(best.charged_kwh),
            discharged_kwh=sum(best.discharged_kwh),
        )
