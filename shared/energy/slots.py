"""The quarter-hour grid of the market: slots in UTC, days in local time with 92, 96 or 100 of them."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

SLOT_S = 900
MARKET_ZONE = ZoneInfo("Europe/Berlin")


def slot_start(at: datetime, slot_s: int = SLOT_S) -> datetime:
    """Start (UTC) of the slot that contains `at`."""
    assert at.tzinfo is not None, "a slot needs an aware datetime"
    seconds = int(at.timestamp())
    return datetime.fromtimestamp(seconds - seconds % slot_s, UTC)


def slot_starts(first: datetime, until: datetime, slot_s: int = SLOT_S) -> tuple[datetime, ...]:
    """Starts of all slots from the one that contains `first` up to, not including, `until`."""
    start = slot_start(first, slot_s)
    count = max(0, -(-int((until - start).total_seconds()) // slot_s))
    return tuple(start + timedelta(seconds=slot_s * index) for index in range(count))


def day_start(day: date, zone: ZoneInfo = MARKET_ZONE) -> datetime:
    """Local midnight of `day`, in UTC."""
    return datetime.combine(day, time(), tzinfo=zone).astimezone(UTC)


def day_end(day: date, zone: ZoneInfo = MARKET_ZONE) -> datetime:
    """The local midnight that ends `day`, in UTC: 23, 24 or 25 hours after it began."""
    return day_start(day + timedelta(days=1), zone)


def local_day(at: datetime, zone: ZoneInfo = MARKET_ZONE) -> date:
    """The local calendar day that contains `at`."""
    return at.astimezone(zone).date()


def slots_of_day(day: date, zone: ZoneInfo = MARKET_ZONE, slot_s: int = SLOT_S) -> tuple[datetime, ...]:
    """The 92, 96 or 100 slots of a local day."""
    return slot_starts(day_start(day, zone), day_end(day, zone), slot_s)
