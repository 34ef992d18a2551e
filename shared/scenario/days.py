"""Local days of a scenario: which sessions fall on a date, and where a file of another year lands on the clock."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from msgspec.structs import asdict, replace

from shared.scenario.schema import Chapter, DailySession, Session

DAY = timedelta(days=1)


def day_of(at: datetime, zone: ZoneInfo) -> date:
    """The local date of an instant."""
    return at.astimezone(zone).date()


def second_of_day(at: datetime, zone: ZoneInfo) -> float:
    """What a local clock on the wall shows, in seconds since its 00:00."""
    local = at.astimezone(zone)
    return local.hour * 3600.0 + local.minute * 60.0 + local.second + local.microsecond / 1e6


def local_instant(day: date, wall: time, zone: ZoneInfo) -> datetime:
    """The instant, in UTC, at which that day's local clock shows `wall`."""
    return datetime.combine(day, wall, zone).astimezone(UTC)


def sessions_on(day: date, daily: Iterable[DailySession], zone: ZoneInfo) -> Iterator[Session]:
    """The daily sessions as they fall on one local date."""
    for session in daily:
        wish = asdict(session)
        wall = time.fromisoformat(wish.pop("local_time"))
        yield Session(start_at=local_instant(day, wall, zone), **wish)


def leaps(chapters: Iterable[Chapter], start: datetime, zone: ZoneInfo) -> tuple[tuple[float, float], ...]:
    """When the clocks of a story leap, in seconds since `start`, and by how many seconds each time."""
    found: list[tuple[float, float]] = []
    for chapter in chapters:
        if chapter.local_time is None:
            continue
        at = start + timedelta(seconds=chapter.at_s + sum(by_s for _, by_s in found))
        wall = time.fromisoformat(chapter.local_time)
        to = local_instant(day_of(at, zone), wall, zone)
        if to < at:
            to = local_instant(day_of(at, zone) + DAY, wall, zone)
        found.append((chapter.at_s, (to - at).total_seconds()))
    return tuple(found)


def moved_to_clock(sessions: Sequence[Session], now: datetime, zone: ZoneInfo) -> tuple[Session, ...]:
    """The sessions of a file, moved by whole weeks if the clock's date lies outside the file's dates.

    Weekdays and local times of day are kept. The clock's date meets the file's date of the same season where the file
    has one (a whole number of weeks near a whole number of years away), and otherwise the file's first week; and among
    these the nearest date on which somebody came, because a logger that was off is no day without demand.
    """
    if not sessions:
        return ()
    days = [day_of(session.start_at, zone) for session in sessions]
    first, last, today = min(days), max(days), day_of(now, zone)
    if first <= today <= last:
        return tuple(sessions)
    weeks = _nearest_lively(_weeks_to_move(first, last, today), first, last, today, set(days))
    return tuple(
        replace(
            session,
            start_at=local_instant(day + timedelta(weeks=weeks), session.start_at.astimezone(zone).time(), zone),
        )
        for session, day in zip(sessions, days, strict=True)
    )


def _weeks_to_move(first: date, last: date, today: date) -> int:
    for years in range(today.year - last.year - 1, today.year - first.year + 2):
        weeks = round(years * 365.25 / 7)
        if first <= today - timedelta(weeks=weeks) <= last:
            return weeks
    return (today - first).days // 7


def _nearest_lively(weeks: int, first: date, last: date, today: date, lively: set[date]) -> int:
    farthest = (last - first).days // 7 + 1
    for distance in range(farthest + 1):
        for moved in (weeks + distance, weeks - distance):
            if today - timedelta(weeks=moved) in lively:
                return moved
    return weeks
