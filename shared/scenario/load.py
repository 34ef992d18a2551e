"""Scenario and session files from disk, with the line of a mistake in the sentence that refuses them."""

import csv
import gzip
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TextIO, TypeVar

import msgspec
from msgspec.structs import replace

from shared.errors import BadInput
from shared.scenario.schema import DailyProfile, Scenario, Session

LIBRARY = Path(__file__).parent / "library"
PROFILES = Path(__file__).parent / "profiles"
DC_OF_AC_RATIO = 0.95
MOST_SESSIONS = 1_000_000
T = TypeVar("T")


def scenario_names() -> tuple[str, ...]:
    """The scenarios that come with the product."""
    return tuple(sorted(path.stem for path in LIBRARY.glob("*.toml")))


def load_scenario(name: str | Path, *, check: Callable[[Scenario], str | None] | None = None) -> Scenario:
    """A scenario of the library by its name, or a file by its path, with its profiles read."""
    path = _found(name)
    scenario = load_toml(path, Scenario, check=check)
    return replace(
        scenario,
        price_eur_per_mwh=_profile(path, scenario.profiles.price) or scenario.price_eur_per_mwh,
        pv_ratio=_profile(path, scenario.profiles.pv) or scenario.pv_ratio,
    )


def load_toml(path: Path, of: type[T], *, check: Callable[[T], str | None] | None = None) -> T:
    """A TOML file as a struct; `BadInput` names file, line and reason.

    `check` may find more than the types say: it gives None, or a sentence that ends in its place as msgspec's do.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"cannot read {path}: {error}") from error
    try:
        loaded = msgspec.convert(tomllib.loads(text), of)
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{path} is no TOML: {error}") from error
    except msgspec.ValidationError as error:
        raise BadInput(f"{path}, line {line_of(text, str(error))}: {error}") from error
    mistake = check(loaded) if check else None
    if mistake:
        raise BadInput(f"{path}, line {line_of(text, mistake)}: {mistake}")
    return loaded


def line_of(text: str, complaint: str) -> int:
    """The line, from 1, that msgspec's complaint (`... - at `$.timeline[1].soc_pct``) speaks of."""
    place = re.search(r"at `\$\.?([^`]*)`", complaint)
    wanted = re.findall(r"[\w-]+|\[(?:\d+|\.\.\.)\]", place.group(1)) if place else []
    unknown = re.search(r"unknown field `([^`]+)`", complaint)
    if unknown:
        wanted.append(unknown.group(1))
    best, length = 1, 0
    for number, path in _lines(text):
        shared = 0
        for here, there in zip(path, wanted, strict=False):
            if there not in (here, "[...]"):
                break
            shared += 1
        if shared > length:
            best, length = number, shared
    return best


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """Each line that opens a table or sets a key, with the path it stands for."""
    table: list[str] = []
    counts: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*(\[\[?)\s*([\w.\-]+)\s*\]", line)
        key = re.match(r"\s*([\w.\-]+)\s*=", line)
        if header:
            table = header.group(2).split(".")
            if header.group(1) == "[[":
                counts[header.group(2)] = counts.get(header.group(2), -1) + 1
                table.append(f"[{counts[header.group(2)]}]")
            yield number, table
        elif key:
            yield number, table + key.group(1).split(".")


def _found(name: str | Path) -> Path:
    path = Path(name)
    if path.suffix == ".toml" or path.exists():
        return path
    path = LIBRARY / f"{name}.toml"
    if not path.exists():
        raise BadInput(f"there is no scenario '{name}'; the library has {', '.join(scenario_names())}")
    return path


def _profile(scenario: Path, name: str | None) -> DailyProfile | None:
    if name is None:
        return None
    for place in (scenario.parent / name, scenario.parent / "profiles" / name, PROFILES / name):
        if place.exists():
            return load_profile(place)
    raise BadInput(f"{scenario} names the profile '{name}', which lies neither beside it nor in the library")


def load_profile(path: Path) -> DailyProfile:
    """A day's curve: the first column is the local time of day, the last the value; equal steps from 00:00.

    A value column that ends in `_midstep` is joined by straight lines between the middles of its steps.
    """
    rows, values = list(_rows(path)), []
    if not rows:
        raise BadInput(f"{path} has no rows")
    column = list(rows[0])[-1]
    for line, row in enumerate(rows, 2):
        with _blamed(path, line):
            values.append(float(row[column]))
    return DailyProfile(step_s=86_400.0 / len(values), values=tuple(values), linear=column.endswith("_midstep"))


def load_sessions(path: str | Path) -> tuple[Session, ...]:
    """Sessions of a file (.csv or .csv.gz), in order of arrival.

    Takes EPFL's columns (start_utc, stay_min, energy_ac_kwh, p_requested_max_kw, soc_start_pct, soc_end_pct,
    capacity_est_kwh) and our own (start_at, stay_s, capacity_kwh, soc_start_pct, soc_target_pct, max_kw); where a file
    knows only energies, a car of 60 kWh or more is assumed that arrives at 20 %.
    """
    path = Path(path)
    sessions = []
    for line, row in enumerate(_rows(path), 2):
        with _blamed(path, line):
            session = _session(row)
            if session is not None:
                sessions.append(session)
    if not sessions:
        raise BadInput(f"{path} holds no session that charges anything")
    return tuple(sorted(sessions, key=lambda session: session.start_at))


def _session(row: Mapping[str, str]) -> Session | None:
    start = _instant(_first(row, "start_at", "start_utc", "start", "timestamp_utc"))
    stay_s = _stay_s(row, start)
    max_kw = _number(row, "max_kw", "p_requested_max_kw", "p_max_kw") or 50.0
    soc = _number(row, "soc_start_pct", "soc_arrival_pct", "arrival_pct")
    target = _number(row, "soc_target_pct", "soc_end_pct", "target_pct")
    capacity = _number(row, "capacity_kwh", "capacity_est_kwh", "battery_kwh")
    energy = _number(row, "energy_kwh")
    if energy is None:
        ac = _number(row, "energy_ac_kwh")
        energy = None if ac is None else ac * DC_OF_AC_RATIO
    implausible = row.get("flag_capacity_implausible", "").strip() in {"1", "True", "true"}
    if capacity is None or soc is None or target is None or implausible:
        if energy is None:
            raise ValueError("neither an energy nor a capacity with two states of charge")
        soc = 20.0
        capacity = max(60.0, energy / 0.75)
        target = soc + 100.0 * energy / capacity
    if target <= soc or stay_s <= 0:
        return None
    return msgspec.convert(
        {
            "start_at": start,
            "stay_s": stay_s,
            "capacity_kwh": capacity,
            "soc_start_pct": soc,
            "soc_target_pct": target,
            "max_kw": max_kw,
        },
        Session,
    )


def _stay_s(row: Mapping[str, str], start: datetime) -> float:
    seconds, minutes = _number(row, "stay_s"), _number(row, "stay_min", "duration_min")
    if seconds is not None:
        return seconds
    if minutes is not None:
        return 60.0 * minutes
    return (_instant(_first(row, "end_at", "end_utc", "end")) - start) / timedelta(seconds=1)


def _first(row: Mapping[str, str], *names: str) -> str:
    for name in names:
        if row.get(name, "").strip():
            return row[name].strip()
    raise ValueError(f"no value under any of the columns {', '.join(names)}")


def _number(row: Mapping[str, str], *names: str) -> float | None:
    for name in names:
        if row.get(name, "").strip():
            return float(row[name])
    return None


def _instant(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _rows(path: Path) -> Iterator[dict[str, str]]:
    opener: Callable[..., TextIO] = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, restval="")
            for number, row in enumerate(reader):
                if number >= MOST_SESSIONS:
                    raise BadInput(f"{path} has more than {MOST_SESSIONS} rows")
                yield {str(name): value for name, value in row.items() if isinstance(value, str)}
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"cannot read {path}: {error}") from error


@contextmanager
def _blamed(path: Path, line: int) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError) as error:
        raise BadInput(f"{path}, line {line}: {error}") from error
