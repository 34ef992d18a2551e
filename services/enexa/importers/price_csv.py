"""Day-ahead prices from CSV: our own columns, SMARD's and ENTSO-E's exports."""

import csv
import io
import re
from datetime import UTC, datetime
from itertools import pairwise

from services.enexa.importers.checks import LocalTimes, PriceRow, instant, number
from shared.energy.slots import MARKET_ZONE
from shared.errors import BadInput

ENTSOE_TIME = re.compile(r"(\d\d)[./](\d\d)[./](\d{4}) (\d\d):(\d\d)(?::\d\d)?(?: \((CE[S]?T)\))?")


def columns_csv(text: str, name: str) -> list[PriceRow]:
    """timestamp_utc,interval_s,price_eur_per_mwh."""
    reader = csv.DictReader(io.StringIO(text))
    needed = {"timestamp_utc", "interval_s", "price_eur_per_mwh"}
    if missing := needed - set(reader.fieldnames or ()):
        raise BadInput("A column is missing; call them timestamp_utc,interval_s,price_eur_per_mwh", file=name,
                       missing=", ".join(sorted(missing)))  # fmt: skip
    rows = []
    for line, row in enumerate(reader, start=2):
        length = number(row["interval_s"] or "", name, line)
        price = number(row["price_eur_per_mwh"] or "", name, line)
        rows.append(PriceRow(instant(row["timestamp_utc"] or "", name, line), int(length), price))
    return rows


def smard_csv(text: str, name: str) -> list[PriceRow]:
    """SMARD's export: 'Datum von;Datum bis;Deutschland/Luxemburg [EUR/MWh] ...', local times, decimal comma."""
    lines = list(csv.reader(io.StringIO(text.lstrip("\ufeff")), delimiter=";"))
    head = [cell.lower() for cell in lines[0]]
    zone_columns = [i for i, cell in enumerate(head) if "deutschland/lux" in cell or "germany/lux" in cell]
    if not zone_columns:
        raise BadInput("No column 'Deutschland/Luxemburg'; export the day-ahead price of DE-LU from SMARD", file=name)
    column = zone_columns[0]
    if "mwh" not in head[column]:
        raise BadInput("The column is not in EUR/MWh; export prices, not volumes", file=name, column=lines[0][column])
    english = "start" in head[0]
    has_end = len(head) > 1 and ("bis" in head[1] or "end" in head[1])
    starts, ends = LocalTimes(MARKET_ZONE, name), LocalTimes(MARKET_ZONE, name)
    rows: list[tuple[datetime, datetime | None, float]] = []
    for line, cells in enumerate(lines[1:], start=2):
        if not any(cells):
            continue
        start = starts.utc(_smard_time(cells[0], name, line, english=english))
        end = ends.utc(_smard_time(cells[1], name, line, english=english)) if has_end else None
        rows.append((start, end, number(cells[column], name, line, decimal_comma=not english)))
    return _with_lengths([(start, price) for start, _, price in rows], [end for _, end, _ in rows], name)


def _smard_time(text: str, name: str, line: int, *, english: bool) -> datetime:
    formats = ("%b %d, %Y %I:%M %p", "%d.%m.%Y %H:%M") if english else ("%d.%m.%Y %H:%M", "%Y-%m-%d %H:%M")
    for form in formats:
        try:
            return datetime.strptime(text.strip(), form)  # noqa: DTZ007  a local wall clock; LocalTimes gives the zone
        except ValueError:
            continue
    raise BadInput("Not a time as SMARD writes it", file=name, line=line, text=text[:40])


def entsoe_csv(text: str, name: str) -> list[PriceRow]:
    """ENTSO-E's export: '"MTU (CET/CEST)","...Day-ahead Price (EUR/MWh)"', intervals as 'start - end'."""
    lines = list(csv.reader(io.StringIO(text.lstrip("\ufeff"))))
    head = lines[0]
    column = next((i for i, cell in enumerate(head) if "price" in cell.lower()), None)
    if column is None:
        raise BadInput("No price column; export 'Day-ahead Prices' from ENTSO-E", file=name)
    zone_text = head[0].upper()
    if "UTC" not in zone_text and "CET" not in zone_text:
        raise BadInput("The time zone of the first column is neither UTC nor CET/CEST", file=name, column=head[0])
    is_utc = "UTC" in zone_text
    starts, ends = LocalTimes(MARKET_ZONE, name), LocalTimes(MARKET_ZONE, name)
    found: list[tuple[datetime, float]] = []
    until: list[datetime | None] = []
    for line, cells in enumerate(lines[1:], start=2):
        if not any(cells):
            continue
        times = [_entsoe_time(part, name, line) for part in cells[0].split(" - ")]
        if len(times) != 2:
            raise BadInput("An interval must read 'start - end'", file=name, line=line, text=cells[0][:60])
        moments = [_at(time, clock, is_utc=is_utc) for time, clock in zip(times, (starts, ends), strict=True)]
        found.append((moments[0], number(cells[column], name, line)))
        until.append(moments[1])
    return _with_lengths(found, until, name)


def _entsoe_time(text: str, name: str, line: int) -> datetime:
    match = ENTSOE_TIME.search(text)
    if match is None:
        raise BadInput("Not a time as ENTSO-E writes it", file=name, line=line, text=text[:40])
    day, month, year, hour, minute = (int(match.group(i)) for i in range(1, 6))
    return datetime(year, month, day, hour, minute)  # noqa: DTZ001  a wall clock; the column's head names its zone


def _at(wall: datetime, clock: LocalTimes, *, is_utc: bool) -> datetime:
    return wall.replace(tzinfo=UTC) if is_utc else clock.utc(wall)


def _with_lengths(found: list[tuple[datetime, float]], ends: list[datetime | None], name: str) -> list[PriceRow]:
    """Lengths from the ends a file gives, else from the distance to the next price."""
    if len(found) == 1 and ends[0] is None:
        raise BadInput("One price without an end says nothing about its length", file=name)
    distances = [int((after[0] - row[0]).total_seconds()) for row, after in pairwise(found)]
    distances.append(distances[-1] if distances else 3600)
    return [
        PriceRow(start, int((end - start).total_seconds()) if end else distance, price)
        for (start, price), end, distance in zip(found, ends, distances, strict=True)
    ]
