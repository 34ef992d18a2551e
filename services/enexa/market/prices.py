"""Day-ahead prices as a contiguous series, its gaps, and the rule that says when each became known."""

from bisect import bisect_right
from collections.abc import Iterable
from datetime import date, datetime, time, timedelta

from msgspec import Struct

from shared.energy.slots import MARKET_ZONE, day_end, local_day, slots_of_day
from shared.errors import BadInput

PUBLISHED_AT = time(13, 0)


class PriceGap(Struct, frozen=True, kw_only=True):
    """A stretch without a price inside a series."""

    start: datetime
    until: datetime


class PriceSeries(Struct, frozen=True, kw_only=True):
    """Prices in order of time, each for an interval of 900 or 3600 s; columns of equal length, starts in UTC.

    A series may have gaps: `gaps` names them, and `on_grid` refuses to cross one silently.
    """

    starts: tuple[datetime, ...]
    interval_s: tuple[int, ...]
    price_eur_per_mwh: tuple[float, ...]

    def __post_init__(self) -> None:
        assert len(self.starts) == len(self.interval_s) == len(self.price_eur_per_mwh)

    @property
    def until(self) -> datetime:
        """End of the last interval."""
        return self.starts[-1] + timedelta(seconds=self.interval_s[-1])

    def gaps(self) -> tuple[PriceGap, ...]:
        """Every stretch between two intervals that no price covers."""
        ends = (start + timedelta(seconds=length) for start, length in zip(self.starts, self.interval_s, strict=True))
        pairs = zip(ends, self.starts[1:], strict=False)
        return tuple(PriceGap(start=end, until=start) for end, start in pairs if start > end)

    def price_at(self, at: datetime) -> float | None:
        """The price in force at `at`, or None where the series has none."""
        index = bisect_right(self.starts, at) - 1
        if index < 0 or at >= self.starts[index] + timedelta(seconds=self.interval_s[index]):
            return None
        return self.price_eur_per_mwh[index]

    def on_grid(self, starts: Iterable[datetime]) -> tuple[float | None, ...]:
        """The price at each slot start; None where there is none."""
        return tuple(self.price_at(start) for start in starts)

    def window(self, start: datetime, until: datetime) -> "PriceSeries":
        """The intervals that begin in [start, until)."""
        first = bisect_right(self.starts, start - timedelta(microseconds=1))
        last = bisect_right(self.starts, until - timedelta(microseconds=1))
        return self._slice(first, last)

    def published(self, now: datetime) -> "PriceSeries":
        """What the market knows at `now`: local day D is published on D-1 at 13:00 local time."""
        return self._slice(0, bisect_right(self.starts, published_until(now) - timedelta(microseconds=1)))

    def _slice(self, first: int, last: int) -> "PriceSeries":
        return PriceSeries(
            starts=self.starts[first:last],
            interval_s=self.interval_s[first:last],
            price_eur_per_mwh=self.price_eur_per_mwh[first:last],
        )


def published_until(now: datetime) -> datetime:
    """The instant (UTC) up to which day-ahead prices are known at `now`."""
    local = now.astimezone(MARKET_ZONE)
    known_day = local.date() + timedelta(days=1 if local.time() >= PUBLISHED_AT else 0)
    return day_end(known_day)


def daily_series(prices_eur_per_mwh: tuple[float, ...], first_day: date, days: int) -> PriceSeries:
    """The same 96 quarter-hour prices on each local day; a day of 92 skips the lost hour, one of 100 repeats it."""
    if len(prices_eur_per_mwh) != 96:
        raise BadInput(
            "A daily price profile needs 96 quarter hours from local midnight", given=len(prices_eur_per_mwh)
        )
    starts: list[datetime] = []
    for offset in range(days):
        starts.extend(slots_of_day(first_day + timedelta(days=offset)))
    return PriceSeries(
        starts=tuple(starts),
        interval_s=(900,) * len(starts),
        price_eur_per_mwh=tuple(prices_eur_per_mwh[_local_quarter(start)] for start in starts),
    )


def whole_days(series: PriceSeries) -> tuple[date, ...]:
    """The local days that `series` covers from midnight to midnight without a gap."""
    covered: dict[date, int] = {}
    for start, length in zip(series.starts, series.interval_s, strict=True):
        day = local_day(start)
        covered[day] = covered.get(day, 0) + length
    return tuple(day for day, seconds in covered.items() if seconds == 900 * len(slots_of_day(day)))


def _local_quarter(start: datetime) -> int:
    local = start.astimezone(MARKET_ZONE)
    return local.hour * 4 + local.minute // 15
