"""PV power as a contiguous series, and the same on any grid of minutes."""

from datetime import datetime, timedelta

from msgspec import Struct

from shared.errors import BadInput


class PvSeries(Struct, frozen=True, kw_only=True):
    """Mean power of equal intervals from `start` (UTC) on; never negative."""

    start: datetime
    interval_s: int
    pv_kw: tuple[float, ...]

    @property
    def until(self) -> datetime:
        """End of the last interval."""
        return self.start + timedelta(seconds=self.interval_s * len(self.pv_kw))

    def minutes_kw(self, start: datetime, minutes: int) -> tuple[float, ...]:
        """The power of each minute from `start` on; raises BadInput where the series does not reach."""
        end = start + timedelta(minutes=minutes)
        if start < self.start or end > self.until:
            raise BadInput(
                "The PV series does not cover the time asked for",
                asked_from=start.isoformat(),
                asked_until=end.isoformat(),
                covered_from=self.start.isoformat(),
                covered_until=self.until.isoformat(),
            )
        first_s = (start - self.start).total_seconds()
        return tuple(self.pv_kw[int((first_s + 60 * minute) // self.interval_s)] for minute in range(minutes))
