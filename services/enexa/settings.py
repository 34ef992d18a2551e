"""ENEXA_* environment -> Settings, read once in `__main__`; an unknown variable is a mistake and is named."""

import ipaddress
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from shared.clock import SystemClock
from shared.errors import BadInput

PREFIX = "ENEXA_"
Port = Annotated[int, Meta(ge=0, le=65_535)]
Instant = Annotated[datetime, Meta(tz=True)]
LogLevel = Literal["debug", "info", "warning", "error"]


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What belongs to the process; what belongs to a site is its configuration."""

    speed: Annotated[float, Meta(gt=0.0, le=3600.0)] = 1.0
    origin_real: Instant | None = None
    origin_sim: Instant | None = None
    log_level: LogLevel = "info"
    log_format: Literal["auto", "json", "console"] = "auto"
    host: str = "127.0.0.1"
    data_dir: Path = Path(".stack/data/enexa")

    tls_port: Port = 8443
    port: Port = 8000
    tls_cert: Path | None = None
    tls_key: Path | None = None
    database_url: str = ""
    amperio_url: str = "https://localhost:8444"
    amperio_ca: Path | None = None
    amperio_client_id: str = "enexa"
    amperio_secret_file: Path | None = None
    credentials_file: Path | None = None
    prices: Path | None = None
    scenario: str = "reference_day"
    station: str = "chargepost"
    emulator_url: str = ""
    public_url: str = ""
    """How controllers reach this platform; default the TLS port of this machine."""
    allowlist: str = ""
    """Comma-separated networks that may call at all; empty = everybody."""
    alert_webhook: str = ""
    raw_days: Annotated[float, Meta(ge=1.0, le=3660.0)] = 31.0
    """How long single samples are kept; means per minute stay twelve times, quarter hours for ever."""

    def reached_at(self) -> str:
        return self.public_url or f"https://localhost:{self.tls_port}"

    def clock(self) -> SystemClock:
        return SystemClock(speed=self.speed, origin_real=self.origin_real, origin_sim=self.origin_sim)

    def networks(self) -> tuple[str, ...]:
        """The allowlist; BadInput where an entry is no network."""
        entries = tuple(each.strip() for each in self.allowlist.split(",") if each.strip())
        for each in entries:
            try:
                ipaddress.ip_network(each, strict=False)
            except ValueError as error:
                raise BadInput(f"ENEXA_ALLOWLIST: {each!r} is no network such as 10.0.0.0/8") from error
        return entries


def read_settings(environment: Mapping[str, str]) -> Settings:
    """The settings of an environment; BadInput names the variable that is wrong."""
    given = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in environment.items()
        if name.startswith(PREFIX) and value != ""
    }
    known = set(Settings.__struct_fields__)
    unknown = sorted(PREFIX + name.upper() for name in given if name not in known)
    if unknown:
        raise BadInput(f"unknown setting {', '.join(unknown)}; see docs/reference/settings.md")
    try:
        return msgspec.convert(given, Settings, strict=False, dec_hook=_path)
    except msgspec.ValidationError as error:
        sentence, _, where = str(error).partition(" - at `$.")
        raise BadInput(f"{PREFIX}{where.rstrip('`').upper()}: {sentence}") from error


def _path(wanted: type, value: object) -> object:
    if wanted is Path:
        return Path(str(value))
    raise NotImplementedError


def read_secret(path: Path | None, name: str) -> str:
    """A secret from its file; BadInput names the setting."""
    if path is None:
        raise BadInput(f"{name} is not set; `make up` sets it to a file under .stack/secrets")
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise BadInput(f"{name}: cannot read {path}: {error.strerror}") from error
