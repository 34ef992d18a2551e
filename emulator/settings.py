"""The emulator's environment: every `CHARGEPOST_*` variable, read once."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from shared.settings import Port, ProcessSettings, read_settings

PREFIX = "CHARGEPOST_"


class Settings(ProcessSettings, frozen=True, kw_only=True):
    """What a process of the emulator is told; a station or scenario is a shipped name or the path of a TOML file.

    With a `data_dir` stations survive a restart and the truth is kept on disk: `truth_seconds`, shared by all stations.
    """

    station: str | None = None
    scenario: str = "reference_day"
    sessions: Path | None = None
    port: Port = 5020
    api_host: str = "127.0.0.1"
    api_port: Port = 8200
    stations: Annotated[int, Meta(ge=1, le=5_000)] = 1
    seed: int | None = None
    data_dir: Path | None = None
    truth_seconds: Annotated[int, Meta(ge=3_600, le=1_000_000_000)] = 604_800
    most_connections: Annotated[int, Meta(ge=1, le=100_000)] = 8
    idle_s: Annotated[float, Meta(gt=0.0, le=86_400.0)] = 30.0
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None


def settings_from(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings of this environment; BadInput names the variable that is wrong."""
    return read_settings(environment, PREFIX, Settings)
