"""What a person may say to `make up`: words like SPEED=60, read once and refused with a sentence if wrong."""

import os
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Literal, TypeAlias, cast, get_args
from zoneinfo import ZoneInfo

from msgspec import Struct

from shared.errors import BadInput

Engine: TypeAlias = Literal["auto", "native", "containers"]

LOCAL = ZoneInfo("Europe/Berlin")
FASTEST = 3600.0


class Ports(Struct, frozen=True, kw_only=True):
    """The six ports of a stack; each may be moved with the variable of the program that listens there."""

    enexa_tls: int = 8443
    enexa: int = 8000
    amperio_tls: int = 8444
    amperio: int = 8100
    modbus: int = 5020
    side_door: int = 8200


PORT_VARIABLES = {
    "enexa_tls": "ENEXA_TLS_PORT",
    "enexa": "ENEXA_PORT",
    "amperio_tls": "AMPERIO_TLS_PORT",
    "amperio": "AMPERIO_PORT",
    "modbus": "CHARGEPOST_PORT",
    "side_door": "CHARGEPOST_API_PORT",
}


class Options(Struct, frozen=True, kw_only=True):
    """One stack, as asked for. Its clock begins at the local midnight of `day` or at `instant`, or is the real one."""

    prices: str | None = None
    sessions: str | None = None
    day: date | None = None
    instant: datetime | None = None
    station: str = "chargepost"
    scenario: str = "reference_day"
    speed: float = 1.0
    seed: int = 1
    database: str | None = None
    engine: Engine = "auto"
    ports: Ports = Ports()

    @property
    def simulated(self) -> bool:
        """Whether this stack's clock is another than the wall clock."""
        return self.day is not None or self.instant is not None or self.speed != 1.0

    def origin_sim(self, origin_real: datetime) -> datetime:
        """The date on the stack's clock when the wall clock shows `origin_real`."""
        if self.instant is not None:
            return self.instant
        if self.day is None:
            return origin_real
        return datetime.combine(self.day, time.min, tzinfo=LOCAL).astimezone(UTC)


def read_options(words: Iterable[str], environ: Mapping[str, str] = os.environ) -> Options:
    """Options from words like `SPEED=60`; raises BadInput with one sentence for the first word that is wrong."""
    said = dict(_split(word) for word in words)
    date_said = said.get("DATE", "")
    return Options(
        prices=_file(said.get("PRICES"), "PRICES", "price"),
        sessions=_file(said.get("SESSIONS"), "SESSIONS", "session"),
        day=_day(date_said) if "T" not in date_said else None,
        instant=_instant(date_said) if "T" in date_said else None,
        station=said.get("STATION", "chargepost"),
        scenario=said.get("SCENARIO", "reference_day"),
        speed=_speed(said.get("SPEED", "1")),
        seed=_whole(said.get("SEED", "1"), "SEED"),
        database=_database(said.get("DATABASE")),
        engine=_engine(said.get("ENGINE", "auto")),
        ports=Ports(**{field: _port(environ, name) for field, name in PORT_VARIABLES.items() if environ.get(name)}),
    )


WORDS = ("PRICES", "SESSIONS", "DATE", "STATION", "SCENARIO", "SPEED", "SEED", "DATABASE", "ENGINE")


def _split(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals or name not in WORDS:
        raise BadInput(f"{word!r} is not an option: use NAME=VALUE with one of {', '.join(WORDS)}")
    return name, value


def _file(value: str | None, name: str, kind: str) -> str | None:
    """An existing file that can be read; what is in it is judged by the program that reads it."""
    if not value:
        return None
    path = Path(value).expanduser().resolve()
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        reason = (error.strerror or "it cannot be opened").lower()
        raise BadInput(f"the {kind} file {value} cannot be read ({reason}): give {name} a readable CSV file") from error
    if empty:
        raise BadInput(f"the {kind} file {value} is empty: give {name} a CSV file with a header and rows")
    return str(path)


def _instant(value: str) -> datetime:
    try:
        instant = datetime.fromisoformat(value)
    except ValueError as error:
        raise BadInput(f"DATE={value} is no instant: write it like 2024-01-15T10:00:01Z") from error
    if instant.tzinfo is None:
        raise BadInput(f"DATE={value} does not say its offset: write it like 2024-01-15T10:00:01Z")
    return instant.astimezone(UTC)


def _day(value: str) -> date | None:
    if not value:
        return None
    try:
        return date.fromisoformat(value)
    except ValueError as error:
        raise BadInput(f"DATE={value} is not a calendar day: write it as YYYY-MM-DD, for example 2024-05-01") from error


def _speed(value: str) -> float:
    try:
        speed = float(value)
    except ValueError:
        speed = 0.0
    if not 0.0 < speed <= FASTEST:
        raise BadInput(
            f"SPEED={value} is not a speed: give clock seconds per real second, above 0 and at most {FASTEST:g}"
        )
    return speed


def _whole(value: str, name: str) -> int:
    if not value.isdecimal():
        raise BadInput(f"{name}={value} is not a whole number: give one like 1")
    return int(value)


def _port(environ: Mapping[str, str], name: str) -> int:
    port = _whole(environ[name], name)
    if not 0 < port < 65536:
        raise BadInput(f"{name}={port} is not a port: give a number from 1 to 65535")
    return port


def _database(value: str | None) -> str | None:
    if value and not value.startswith(("postgresql://", "postgresql+asyncpg://", "sqlite")):
        raise BadInput(f"DATABASE={value} is not a database address: write postgresql://USER@HOST:PORT/NAME")
    return value or None


def _engine(value: str) -> Engine:
    if value not in get_args(Engine):
        raise BadInput(f"ENGINE={value} is not known: use {', '.join(get_args(Engine))}")
    return cast("Engine", value)
