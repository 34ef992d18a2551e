"""The three programs: how each is started, with which settings, and where it answers for its health."""

import os
import sys
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from msgspec import Struct

from services.stack.options import Options, Ports
from services.stack.places import Places
from services.stack.record import Record
from shared.errors import BadInput
from shared.scenario.days import leaps
from shared.scenario.load import load_scenario


class Program(Struct, frozen=True, kw_only=True):
    """One program as the supervisor starts it; a variable that a person has set beside `settings` stays as it is."""

    name: str
    command: list[str]
    settings: dict[str, str] = {}

    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONUNBUFFERED": "1", **self.settings}


MODULES = {"emulator": "emulator", "amperio": "services.amperio", "enexa": "services.enexa"}
PREFIXES = {"emulator": "CHARGEPOST_", "amperio": "AMPERIO_", "enexa": "ENEXA_"}


def health_ports(ports: Ports) -> dict[str, int]:
    """The plain port on which each program tells how it is."""
    return {"emulator": ports.side_door, "amperio": ports.amperio, "enexa": ports.enexa}


def programs(record: Record, places: Places) -> list[Program]:
    """The three programs of one native stack, in the order in which they are started."""
    data = places.data(simulated=record.options.simulated)

    own = {"emulator": _emulator(record), "amperio": _amperio(record, places), "enexa": _enexa(record, places)}
    return [
        Program(
            name=name,
            command=[sys.executable, "-m", MODULES[name], "serve"],
            settings=prefixed(name, clock_settings(record) | {"DATA_DIR": str(data / name)} | settings),
        )
        for name, settings in own.items()
    ]


def prefixed(name: str, settings: dict[str, str]) -> dict[str, str]:
    """Settings as one program's environment spells them."""
    return {PREFIXES[name] + key: value for key, value in settings.items()}


def clock_settings(record: Record) -> dict[str, str]:
    """One clock for the whole stack, with the leaps of its story."""
    settings = {
        "SPEED": f"{record.options.speed:g}",
        "ORIGIN_REAL": record.origin_real.isoformat(),
        "ORIGIN_SIM": record.origin_sim.isoformat(),
    }
    found = leaps_of(record)
    return {**settings, "LEAPS": " ".join(f"{at_s:.3f}:{by_s:.3f}" for at_s, by_s in found)} if found else settings


def leaps_of(record: Record) -> tuple[tuple[float, float], ...]:
    """The leaps of the story's chapters after its beginning."""
    return tuple(each for each in _leaps(record.options, record.origin_sim) if each[0] > 0.0)


def begin_of(options: Options, origin_real: datetime) -> datetime:
    """What the stack's clock shows first: a story begins at the time of day of its first chapter."""
    start = options.origin_sim(origin_real)
    return start + timedelta(seconds=sum(by_s for at_s, by_s in _leaps(options, start) if at_s == 0.0))


def _leaps(options: Options, start: datetime) -> tuple[tuple[float, float], ...]:
    """None for a scenario that cannot be read: the programs refuse it, in their own words."""
    try:
        scenario = load_scenario(options.scenario)
    except BadInput:
        return ()
    return leaps(scenario.chapters, start, ZoneInfo(scenario.timezone))


def input_settings(record: Record, *, prices: str | None, sessions: str | None) -> dict[str, dict[str, str]]:
    """What the options say to each program, with the files at the places where that program sees them."""
    options = record.options
    enexa = {"SCENARIO": options.scenario, "STATION": options.station}
    emulator = {"SCENARIO": options.scenario, "STATION": options.station, "SEED": str(options.seed)}
    if prices:
        enexa["PRICES"] = prices
    if sessions:
        emulator["SESSIONS"] = sessions
    if options.database:
        enexa["DATABASE_URL"] = options.database
    return {"enexa": enexa, "emulator": emulator, "amperio": {}}


def _enexa(record: Record, places: Places) -> dict[str, str]:
    options = record.options
    return {
        "TLS_PORT": str(options.ports.enexa_tls),
        "PORT": str(options.ports.enexa),
        "TLS_CERT": str(places.pki / "enexa.pem"),
        "TLS_KEY": str(places.pki / "enexa.key"),
        "AMPERIO_URL": f"https://localhost:{options.ports.amperio_tls}",
        "AMPERIO_CA": str(places.pki / "ca.pem"),
        "AMPERIO_SECRET_FILE": str(places.secrets / "enexa_at_amperio"),
        "CREDENTIALS_FILE": str(places.secrets / "enexa_clients.json"),
        "EMULATOR_URL": f"http://127.0.0.1:{options.ports.side_door}",
        **input_settings(record, prices=options.prices, sessions=options.sessions)["enexa"],
    }


def _amperio(record: Record, places: Places) -> dict[str, str]:
    ports = record.options.ports
    data = places.data(simulated=record.options.simulated)
    return {
        "TLS_PORT": str(ports.amperio_tls),
        "PORT": str(ports.amperio),
        "TLS_CERT": str(places.pki / "amperio.pem"),
        "TLS_KEY": str(places.pki / "amperio.key"),
        "ENEXA_URL": f"https://localhost:{ports.enexa_tls}",
        "ENEXA_CA": str(places.pki / "ca.pem"),
        "SECRET_FILE": str(places.secrets / "amperio_at_enexa"),
        "CREDENTIALS_FILE": str(places.secrets / "amperio_clients.json"),
        "FIRMWARE_KEY_FILE": str(data / "enexa" / "firmware" / "public.pem"),
        "SITES": f"SITE001=127.0.0.1:{ports.modbus}",
    }


def _emulator(record: Record) -> dict[str, str]:
    options = record.options
    return {
        "PORT": str(options.ports.modbus),
        "API_PORT": str(options.ports.side_door),
        **input_settings(record, prices=options.prices, sessions=options.sessions)["emulator"],
    }
