"""AMPERIO_* environment -> Settings, read once in `__main__`; an unknown variable is a mistake and is named."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from shared.errors import BadInput
from shared.rest.settings import ServiceSettings
from shared.settings import Port, networks, read_secret, read_settings

PREFIX = "AMPERIO_"
SITE = re.compile(r"^[A-Za-z0-9_-]{1,64}$")
STATION = re.compile(r"^([A-Za-z0-9_.:\[\]-]+):(\d{1,5})$")


class Settings(ServiceSettings, frozen=True, kw_only=True):
    """What belongs to the process; what belongs to a site is its configuration, which Enexa owns."""

    data_dir: Path = Path(".stack/data/amperio")

    tls_port: Port = 8444
    port: Port = 8100
    tls_cert: Path | None = None
    tls_key: Path | None = None
    enexa_url: str = "https://localhost:8443"
    enexa_ca: Path | None = None
    client_id: str = "CTRL001"
    """Who we are at Enexa for the sites of AMPERIO_SITES; an enrolled site has its own controller."""
    secret_file: Path | None = None
    firmware_key_file: Path | None = None
    """The public key (PEM) that firmware must be signed with; without it no release is taken."""
    credentials_file: Path | None = None
    sites: str = ""
    """Comma-separated `SITE=HOST:PORT`, one for each station; those that were enrolled come on top."""
    modbus_timeout_s: Annotated[float, Meta(gt=0.0, le=60.0)] = 1.0
    """Real seconds; sockets know no scaled time."""
    store_max_mb: Annotated[int, Meta(ge=16, le=1_000_000)] = 4096
    allowlist: str = ""
    """Comma-separated networks that may call at all; empty = everybody."""

    def stations(self) -> tuple[tuple[str, str, int], ...]:
        """Site, host and port of each station; BadInput where an entry is none or a site stands twice."""
        found: list[tuple[str, str, int]] = []
        for entry in (each.strip() for each in self.sites.split(",") if each.strip()):
            site_id, equals, address = entry.partition("=")
            if not equals or not SITE.match(site_id):
                raise BadInput(f"AMPERIO_SITES: {entry!r} is not of the form SITE001=127.0.0.1:5020")
            found.append((site_id, *station_address(address)))
        if len({site for site, _, _ in found}) != len(found):
            raise BadInput("AMPERIO_SITES names a site twice")
        return tuple(found)

    def networks(self) -> tuple[str, ...]:
        return networks(self.allowlist, "AMPERIO_ALLOWLIST")

    def secret(self) -> str:
        """The client secret at Enexa."""
        return read_secret(self.secret_file, "AMPERIO_SECRET_FILE")


def station_address(text: str) -> tuple[str, int]:
    """Host and port of a station; BadInput where it is none."""
    match = STATION.match(text)
    if match is None or not 0 < int(match.group(2)) < 65_536:
        raise BadInput(f"{text!r} is no station's address such as 127.0.0.1:5020")
    return match.group(1).strip("[]"), int(match.group(2))


def settings_from(environment: Mapping[str, str]) -> Settings:
    """The settings of an environment; BadInput names the variable that is wrong."""
    return read_settings(environment, PREFIX, Settings)
