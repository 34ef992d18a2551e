"""Charging sessions from files: the EPFL columns, a generic CSV with start, end, energy and power, OCPP-style JSON."""

import csv
import io
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

from services.enexa.importers.checks import instant, number
from services.enexa.importers.files import text_of
from services.enexa.importers.session_json import ocpp_sessions
from services.enexa.planning.problem import SessionRecord
from shared.energy.slots import MARKET_ZONE
from shared.errors import BadInput

MAX_KWH = 1000.0
MAX_KW = 1000.0

# What a column may be called, per thing we need; the first that is there counts.
COLUMNS = {
    "start": ("start_utc", "start"),
    "end": ("end_utc", "end"),
    "energy": ("energy_kwh", "energy_ac_kwh"),
    "power": ("max_power_kw", "p_max_ac_kw", "power_kw"),
}


def read_sessions(path: Path) -> tuple[SessionRecord, ...]:
    """The sessions of a file in order of start; raises BadInput naming the file, the line and the remedy."""
    return parse_sessions(text_of(path, "session"), path.name)


def parse_sessions(text: str, name: str) -> tuple[SessionRecord, ...]:
    """The same for text that is already here."""
    if text.lstrip().startswith(("{", "[")):
        sessions = [_plausible(session, name, place) for place, session in enumerate(ocpp_sessions(text, name), 1)]
        return _in_order(sessions, name)
    reader = csv.DictReader(io.StringIO(text))
    present = set(reader.fieldnames or ())
    chosen = {what: next((each for each in names if each in present), None) for what, names in COLUMNS.items()}
    missing = [f"{what} ({' or '.join(COLUMNS[what])})" for what, column in chosen.items() if column is None]
    if missing:
        raise BadInput("Columns are missing in the session file", file=name, missing=", ".join(missing))
    column = {what: each for what, each in chosen.items() if each is not None}
    sessions = [_session(row, column, name, line) for line, row in enumerate(reader, start=2)]
    return _in_order(sessions, name)


def _in_order(sessions: list[SessionRecord], name: str) -> tuple[SessionRecord, ...]:
    """By start; the same session twice is a mistake, two cars that come at once are not."""
    ordered = sorted(sessions, key=lambda each: (each.start, each.until, each.energy_kwh, each.max_power_kw))
    for one, following in pairwise(ordered):
        if one == following:
            raise BadInput("A session comes twice; remove one", file=name, at=one.start.isoformat())
    return tuple(ordered)


def _session(row: dict[str, str], column: dict[str, str], name: str, line: int) -> SessionRecord:
    start = instant(row[column["start"]] or "", name, line)
    until = instant(row[column["end"]] or "", name, line)
    energy_kwh = number(row[column["energy"]] or "", name, line)
    power_kw = number(row[column["power"]] or "", name, line)
    if until <= start:
        raise BadInput("A session ends before it begins", file=name, line=line)
    record = SessionRecord(start=start, until=until, energy_kwh=energy_kwh, max_power_kw=power_kw)
    return _plausible(record, name, line)


def _plausible(session: SessionRecord, name: str, line: int) -> SessionRecord:
    """The session, if its numbers can be those of a car; `line` is its place in the file."""
    energy_kwh, power_kw = session.energy_kwh, session.max_power_kw
    if not 0 <= energy_kwh <= MAX_KWH:
        raise BadInput("A session's energy is not plausible; is it kWh?", file=name, line=line, energy_kwh=energy_kwh)
    if not 0 < power_kw <= MAX_KW:
        raise BadInput("A session's power is not plausible; is it kW?", file=name, line=line, power_kw=power_kw)
    return session


def moved(sessions: tuple[SessionRecord, ...], days: int) -> tuple[SessionRecord, ...]:
    """The sessions some days later by the local clock, so that breakfast stays breakfast over a change of clocks."""
    return tuple(
        SessionRecord(
            start=_moved(session.start, days),
            until=_moved(session.start, days) + (session.until - session.start),
            energy_kwh=session.energy_kwh,
            max_power_kw=session.max_power_kw,
        )
        for session in sessions
    )


def _moved(at: datetime, days: int) -> datetime:
    local = at.astimezone(MARKET_ZONE).replace(tzinfo=None) + timedelta(days=days)
    return local.replace(tzinfo=MARKET_ZONE).astimezone(at.tzinfo)
