"""ENEXA_* environment -> Settings, read once in `__main__`; an unknown variable is a mistake and is named."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from msgspec import Meta

from shared.rest.hosts import names_in
from shared.rest.settings import ServiceSettings
from shared.settings import Port, networks, read_settings

PREFIX = "ENEXA_"


class Settings(ServiceSettings, frozen=True, kw_only=True):
    """What belongs to the process; what belongs to a site is its configuration."""

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
    key_overlap_s: Annotated[float, Meta(ge=0.0, le=31 * 86_400.0)] = 86_400.0
    """How long an API key still holds after its controller was given another one."""
    allowlist: str = ""
    """Comma-separated networks that may call at all; empty = everybody."""
    alert_webhook: str = ""
    """Where alerts are posted as JSON; empty = nowhere."""
    alert_smtp: str = ""
    """The mail server for alerts: smtp://, smtp+starttls:// or smtps://HOST[:PORT]; empty = no mail."""
    alert_mail_from: str = "enexa@localhost"
    alert_mail_to: str = ""
    """Comma-separated addresses."""
    alert_smtp_user: str = ""
    alert_smtp_password_file: Path | None = None
    raw_days: Annotated[float, Meta(ge=1.0, le=3660.0)] = 31.0
    """How long single samples are kept; means per minute stay twelve times, quarter hours for ever."""

    def reached_at(self) -> str:
        return self.public_url or f"https://localhost:{self.tls_port}"

    def hosts(self) -> tuple[str, ...]:
        """The names that we answer to: those in the certificate, and the one in the public address."""
        return (*names_in(self.tls_cert), urlsplit(self.reached_at()).hostname or "")

    def networks(self) -> tuple[str, ...]:
        return networks(self.allowlist, "ENEXA_ALLOWLIST")


def settings_from(environment: Mapping[str, str]) -> Settings:
    """The settings of an environment; BadInput names the variable that is wrong."""
    return read_settings(environment, PREFIX, Settings)
