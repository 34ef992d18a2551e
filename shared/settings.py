"""Settings of a process: its environment, read once, with a sentence for every mistake.

Each program has a struct of its own below `ProcessSettings` and a prefix for its variables. Settings belong to a
process; what belongs to a site is its configuration.
"""

import ipaddress
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from shared.clock import SystemClock
from shared.errors import BadInput
from shared.logs import LogFormat

Port = Annotated[int, Meta(ge=0, le=65_535)]
Instant = Annotated[datetime, Meta(tz=True)]


class ProcessSettings(Struct, frozen=True, kw_only=True):
    """What every program is told: its clock, its log, where it listens and where it keeps its data."""

    speed: Annotated[float, Meta(gt=0.0, le=10_000.0)] = 1.0
    origin_real: Instant | None = None
    origin_sim: Instant | None = None
    leaps: Annotated[str, Meta(pattern=r"^(\d+(\.\d+)?:\d+(\.\d+)?( \d+(\.\d+)?:\d+(\.\d+)?)*)?$")] = ""
    """When the date leaps ahead and by how much, in clock seconds since the origin: `900:35100 2100:18900`."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: LogFormat = "auto"
    host: str = "127.0.0.1"

    def clock(self) -> SystemClock:
        words = (word.partition(":") for word in self.leaps.split())
        leaps = [(float(at_s), float(by_s)) for at_s, _, by_s in words]
        return SystemClock(speed=self.speed, origin_real=self.origin_real, origin_sim=self.origin_sim, leaps=leaps)


S = TypeVar("S", bound=Struct)


def read_settings(environment: Mapping[str, str], prefix: str, of: type[S]) -> S:
    """The variables with `prefix` as a struct, empty ones as absent; BadInput names the variable that is wrong."""
    given = {
        name.removeprefix(prefix).lower(): value
        for name, value in environment.items()
        if name.startswith(prefix) and value != ""
    }
    known = of.__struct_fields__
    unknown = sorted(prefix + name.upper() for name in given if name not in known)
    if unknown:
        names = ", ".join(sorted(prefix + name.upper() for name in known))
        raise BadInput(f"unknown setting {', '.join(unknown)}; known are {names}")
    try:
        return msgspec.convert(given, of, strict=False, dec_hook=_path)
    except msgspec.ValidationError as error:
        sentence, _, where = str(error).partition(" - at `$.")
        name = prefix + where.rstrip("`").upper() if where else "a setting"
        raise BadInput(f"{name} is wrong: {sentence}") from error


def networks(allowlist: str, variable: str) -> tuple[str, ...]:
    """The networks of a comma-separated list; BadInput where an entry is none."""
    entries = tuple(each.strip() for each in allowlist.split(",") if each.strip())
    for each in entries:
        try:
            ipaddress.ip_network(each, strict=False)
        except ValueError as error:
            raise BadInput(f"{variable}: {each!r} is no network such as 10.0.0.0/8") from error
    return entries


def read_secret(path: Path | None, variable: str) -> str:
    """A secret from its file; BadInput names the variable where there is none."""
    if path is None:
        raise BadInput(f"{variable} is not set; `make up` sets it to a file under .stack/secrets")
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise BadInput(f"{variable}: cannot read the secret file {path}: {error.strerror}") from error
    if not secret:
        raise BadInput(f"{variable}: the secret file {path} is empty; `make up` writes one")
    return secret


def _path(wanted: type, value: object) -> Path:
    assert wanted is Path, f"no way to read a {wanted}"
    return Path(str(value))
