"""What every price file must survive: order, duplicates, gaps, resolution, and a price that can be one."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from msgspec import Struct

from services.enexa.market.prices import PriceSeries
from shared.errors import BadInput

INTERVALS_S = (900, 1800, 3600)
HIGHEST_EUR_PER_MWH = 5000.0
# A whole file below this looks like EUR/kWh: no day-ahead market stays under 3 EUR/MWh for a day and a half.
KWH_LOOKS_EUR = 3.0


class PriceRow(Struct, frozen=True):
    """One price as a file tells it: start (UTC), length, EUR/MWh."""

    start: datetime
    interval_s: int
    price_eur_per_mwh: float


def series_of(rows: Sequence[PriceRow], name: str, *, allow_gaps: bool = False) -> PriceSeries:
    """Checked rows as a series; every complaint names the file, the place and what to do."""
    if not rows:
        raise BadInput("The file holds no price; is it the right file?", file=name)
    rows = sorted(rows, key=lambda row: row.start)
    _check_each(rows, name)
    _check_unit(rows, name)
    _check_order(rows, name, allow_gaps)
    return PriceSeries(
        starts=tuple(row.start for row in rows),
        interval_s=tuple(row.interval_s for row in rows),
        price_eur_per_mwh=tuple(row.price_eur_per_mwh for row in rows),
    )


def _check_each(rows: Sequence[PriceRow], name: str) -> None:
    for row in rows:
        at = row.start.isoformat()
        if row.interval_s not in INTERVALS_S:
            raise BadInput("A price must hold for 15, 30 or 60 min", file=name, at=at, interval_s=row.interval_s)
        if int(row.start.timestamp()) % row.interval_s:
            raise BadInput("A price must start on its own grid; is the time zone right?", file=name, at=at)
        if not math.isfinite(row.price_eur_per_mwh):
            raise BadInput("A price is missing or not a number; fill it or cut the file there", file=name, at=at)
        if abs(row.price_eur_per_mwh) > HIGHEST_EUR_PER_MWH:
            price = row.price_eur_per_mwh
            raise BadInput("Beyond what the auction allows; is it EUR/MWh?", file=name, at=at, price_eur_per_mwh=price)


def _check_unit(rows: Sequence[PriceRow], name: str) -> None:
    seconds = sum(row.interval_s for row in rows)
    highest = max(abs(row.price_eur_per_mwh) for row in rows)
    if seconds >= 36 * 3600 and 0 < highest < KWH_LOOKS_EUR:
        raise BadInput(
            "These prices look like EUR/kWh; multiply by 1000 to get EUR/MWh", file=name, highest=round(highest, 5)
        )


def _check_order(rows: Sequence[PriceRow], name: str, allow_gaps: bool) -> None:
    gaps: list[tuple[datetime, datetime]] = []
    for row, after in pairwise(rows):
        end = row.start + timedelta(seconds=row.interval_s)
        if after.start < end:
            same = after.start == row.start
            sentence = "A price comes twice; remove one" if same else "Two prices overlap; remove one"
            raise BadInput(sentence, file=name, at=after.start.isoformat())
        if after.start > end:
            gaps.append((end, after.start))
    if gaps and not allow_gaps:
        raise BadInput(
            "Prices are missing; complete the file or cut it before the gap",
            file=name,
            first_gap_from=gaps[0][0].isoformat(),
            first_gap_until=gaps[0][1].isoformat(),
            gaps=len(gaps),
        )


class LocalTimes:
    """Local wall clock to UTC, in the order of a file: the second 02:00 of an autumn night is the later one."""

    def __init__(self, zone: ZoneInfo, name: str) -> None:
        self._zone, self._name = zone, name
        self._last: datetime | None = None

    def utc(self, wall: datetime) -> datetime:
        """The instant of a naive local time; raises BadInput for one that the spring change skips."""
        first = wall.replace(tzinfo=self._zone, fold=0)
        found = first.astimezone(UTC)
        if found.astimezone(self._zone).replace(tzinfo=None) != wall:
            raise BadInput("This local time does not exist; is the file in UTC?", file=self._name, at=wall.isoformat())
        if self._last is not None and found <= self._last:
            later = wall.replace(tzinfo=self._zone, fold=1).astimezone(UTC)
            found = later if later > self._last else found
        self._last = found
        return found


def instant(text: str, name: str, line: int) -> datetime:
    """An ISO 8601 instant with its zone, as UTC."""
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise BadInput("Not a timestamp; write 2024-05-01T00:00:00Z", file=name, line=line, text=text[:40]) from error
    if at.tzinfo is None:
        raise BadInput("A timestamp without time zone; write 2024-05-01T00:00:00Z", file=name, line=line)
    return at.astimezone(UTC)


def number(text: str, name: str, line: int, *, decimal_comma: bool = False) -> float:
    """A number of a file; empty, '-' and 'n/e' are missing values and refused by name."""
    cleaned = text.strip().strip('"')
    if decimal_comma:
        cleaned = cleaned.replace(".", "").replace(",", ".")
    try:
        return float(cleaned)
    except ValueError as error:
        sentence = "A price is missing or not a number; fill it or cut the file there"
        raise BadInput(sentence, file=name, line=line, text=cleaned[:40]) from error
