"""AMPERIO_* environment -> Settings, read once in `__main__`; an unknown variable is a mistake and is named."""

import ipaddress
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from shared.clock import SystemClock
from shared.errors import BadInput
from shared.logs import LogFormat

PREFIX = "AMPERIO_"
Port = Annotated[int, Meta(ge=0, le=65_535)]
Instant = Annotated[datetime, Meta(tz=True)]
SITE = re.compile(r"^([A-Za-z0-9_-]{1,64})=([A-Za-z0-9_.:\[\]-]+):(\d{1,5})$")


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What belongs to the process; what belongs to a site is its configuration, which Enexa owns."""

    speed: Annotated[float, Meta(gt=0.0, le=3600.0)] = 1.0
    origin_real: Instant | None = None
    origin_sim: Instant | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: LogFormat = "auto"
    host: str = "127.0.0.1"
    data_dir: Path = Path(".stack/data/amperio")

    tls_port: Port = 8444
    port: Port = 8100
    tls_cert: Path | None = None
    tls_key: Path | None = None
    enexa_url: str = "https://localhost:8443"
    enexa_ca: Path | None = None
    client_id: str = "CTRL001"
    secret_file: Path | None = None
    credentials_file: Path | None = None
    sites: str = "SITE001=127.0.0.1:5020"
    """Comma-separated `SITE=HOST:PORT`, one for each station."""
    modbus_timeout_s: Annotated[float, Meta(gt=0.0, le=60.0)] = 1.0
    """Real seconds; sockets know no scaled time."""
    store_max_mb: Annotated[int, Meta(ge=16, le=1_000_000)] = 4096
    allowlist: str = ""
    """Comma-separated networks that may call at all; empty = everybody."""

    def clock(self) -> SystemClock:
        return SystemClock(speed=self.speed, origin_real=self.origin_real, origin_sim=self.origin_sim)

    def stations(self) -> tuple[tuple[str, str, int], ...]:
        """Site, host and port of each station; BadInput where an entry is none or a site stands twice."""
        found: list[tuple[str, str, int]] = []
        for entry in (each.strip() for each in self.sites.split(",") if each.strip()):
            match = SITE.match(entry)
            if match is None or not 0 < int(match.group(3)) < 65_536:
                raise BadInput(f"AMPERIO_SITES: {entry!r} is not of the form SITE001=127.0.0.1:5020")
            found.append((match.group(1), match.group(2).strip("[]"), int(match.group(3))))
        if not found:
            raise BadInput("AMPERIO_SITES names no station; give for instance SITE001=127.0.0.1:5020")
        if len({site for site, _, _ in found}) != len(found):
            raise BadInput("AMPERIO_SITES names a site twice")
        return tuple(found)

    def networks(self) -> tuple[str, ...]:
        """The allowlist; BadInput where an entry is no network."""
        entries = tuple(each.strip() for each in self.allowlist.split(",") if each.strip())
        for each in entries:
            try:
                ipaddress.ip_network(each, strict=False)
            except ValueError as error:
                raise BadInput(f"AMPERIO_ALLOWLIST: {each!r} is no network such as 10.0.0.0/8") from error
        return entries

    def secret(self) -> str:
        """The client secret at Enexa; BadInput where its file cannot be read or is empty."""
        if self.secret_file is None:
            raise BadInput("AMPERIO_SECRET_FILE is missing: the file with the client secret at Enexa")
        try:
            secret = self.secret_file.read_text().strip()
        except OSError as error:
            raise BadInput(f"cannot read the secret file {self.secret_file}: {error.strerror}") from error
        if not secret:
            raise BadInput(f"the secret file {self.secret_file} is empty; `make up` writes one")
        return secret


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
        known_names = ", ".join(sorted(PREFIX + name.upper() for name in known))
        raise BadInput(f"unknown setting {', '.join(unknown)}; known are {known_names}")
    try:
        return msgspec.convert(given, Settings, strict=False, dec_hook=_path)
    except msgspec.ValidationError as error:
        sentence, _, where = str(error).partition(" - at `$.")
        name = PREFIX + where.rstrip("`").upper() if where else "a setting"
        raise BadInput(f"{name} is wrong: {sentence}") from error


def _path(kind: type, value: Any) -> Any:
    if kind is Path:
        return Path(value)
    raise NotImplementedError
