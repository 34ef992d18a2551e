"""Where the planner's prices come from: a file of the world, or the day that the scenario repeats."""

from datetime import datetime, timedelta
from pathlib import Path

from services.enexa.importers.prices import read_prices
from services.enexa.market.prices import PriceSeries, daily_series, published_until
from shared.energy.slots import local_day
from shared.errors import BadInput
from shared.scenario.load import load_scenario

HISTORY_DAYS = 8
AHEAD_DAYS = 3
QUARTERS = 96


class PriceSource:
    """Day-ahead prices as the market has published them at a given time."""

    def __init__(self, *, file: Path | None, scenario: str) -> None:
        self._series: PriceSeries | None = None
        self._daily: tuple[float, ...] | None = None
        self.name = file.name if file is not None else scenario
        if file is not None:
            self._series = read_prices(file)
            return
        profile = load_scenario(scenario).price_eur_per_mwh
        if profile is None:
            raise BadInput(f"the scenario {scenario} has no prices; give a price file (ENEXA_PRICES)")
        self._daily = tuple(profile.at((index + 0.5) * 900.0) for index in range(QUARTERS))

    def check(self, now: datetime) -> None:
        """BadInput where the series does not cover the start date."""
        series = self._series
        if series is None:
            return
        if series.price_at(now) is None:
            raise BadInput(
                f"the price file {self.name} has no price for {now:%Y-%m-%d %H:%M} UTC; it covers "
                f"{series.starts[0]:%Y-%m-%d} to {series.until:%Y-%m-%d}: start the stack's clock inside (DATE=...)"
            )

    def published(self, now: datetime) -> PriceSeries:
        """What is known at `now`, with some days of history."""
        start = now - timedelta(days=HISTORY_DAYS)
        return self._around(now).window(start, now + timedelta(days=AHEAD_DAYS)).published(now)

    def between(self, start: datetime, until: datetime) -> PriceSeries:
        """The prices of a period that is over, or of its part that has been published."""
        if self._series is not None:
            return self._series.window(start - timedelta(hours=1), until)
        assert self._daily is not None
        first = local_day(start)
        return daily_series(self._daily, first, (local_day(until) - first).days + 1)

    def known_until(self, now: datetime) -> datetime:
        """When the published prices end; it moves once a day, at the time of publication."""
        series = self._series
        return min(published_until(now), series.until) if series is not None else published_until(now)

    def _around(self, now: datetime) -> PriceSeries:
        if self._series is not None:
            return self._series
        assert self._daily is not None
        first = local_day(now) - timedelta(days=HISTORY_DAYS + 1)
        return daily_series(self._daily, first, HISTORY_DAYS + AHEAD_DAYS + 2)
