"""The emulator's environment: every `CHARGEPOST_*` variable, read once."""

import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from shared.errors import BadInput
from shared.logs import LogFormat

Port = Annotated[int, Meta(ge=0, le=65_535)]
PREFIX = "CHARGEPOST_"


class Settings(Struct, frozen=True, kw_only=True, rename=lambda name: PREFIX + name.upper()):
    """What a process of the emulator is told; a station or scenario is a shipped name or the path of a TOML file."""

    station: str | None = None
    scenario: str = "reference_day"
    sessions: Path | None = None
    host: str = "127.0.0.1"
    port: Port = 5020
    api_host: str = "127.0.0.1"
    api_port: Port = 8200
    stations: Annotated[int, Meta(ge=1, le=5_000)] = 1
    speed: Annotated[float, Meta(gt=0.0, le=10_000.0)] = 1.0
    origin_real: datetime | None = None
    origin_sim: datetime | None = None
    seed: int | None = None
    data_dir: Path | None = None
    most_connections: Annotated[int, Meta(ge=1, le=100_000)] = 8
    idle_s: Annotated[float, Meta(gt=0.0, le=86_400.0)] = 30.0
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    log_level: str = "info"
    log_format: LogFormat = "auto"


def settings_from(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings of this environment; empty variables count as absent, unknown ones are a mistake."""
    ours = {name: value for name, value in environment.items() if name.startswith(PREFIX) and value != ""}
    known = {PREFIX + name.upper() for name in Settings.__struct_fields__}
    unknown = sorted(set(ours) - known)
    if unknown:
        raise BadInput(f"unknown setting {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    try:
        return msgspec.convert(ours, Settings, strict=False, dec_hook=_path)
    except msgspec.ValidationError as error:
        raise BadInput(f"a setting is wrong: {error}") from error


def _path(of: type, value: object) -> Path:
    assert of is Path
    return Path(str(value))
