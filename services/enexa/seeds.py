"""Read a site's first master data from the TOML files that ship with Enexa."""

import tomllib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from services.enexa.registry.assets import AssetRecord, ControllerRecord, SiteRecord
from services.enexa.registry.configs import first_version
from services.enexa.store.store import Store
from shared.contract.config import ConfigDocument
from shared.contract.registry import OnboardingState
from shared.errors import BadInput, SiteError

SEEDS = Path(__file__).parent / "registry" / "seeds"
FIRST_SITE, FIRST_CONTROLLER = "SITE001", "CTRL001"
WATCHDOG_MAX_S = 60


class Equipment(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One asset of a seed file."""

    id: str
    type: str
    name: str = ""
    manufacturer: str = ""
    model: str = ""
    capacity_kwh: float | None = None
    max_power_kw: float | None = None
    charge_max_kw: float | None = None
    discharge_max_kw: float | None = None
    connection_kva: float | None = None


class Seed(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A kind of station: its name, its first configuration, its equipment."""

    name: str
    config: ConfigDocument
    assets: tuple[Equipment, ...]


def load_seed(station: str) -> Seed:
    """The seed named `station`; BadInput where there is none or it cannot be used."""
    path = SEEDS / f"{station}.toml"
    known = ", ".join(sorted(each.stem for each in SEEDS.glob("*.toml")))
    if "/" in station or not path.is_file():
        raise BadInput(f"no station {station!r} is known; choose one of {known}", field="STATION")
    return read_seed(path)


def read_seed(path: Path) -> Seed:
    """A seed from its file; BadInput with the field that is wrong."""
    try:
        return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), Seed)
    except (OSError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise BadInput(f"the seed {path.name} cannot be used: {error}") from error


def at_speed(config: ConfigDocument, speed: float) -> ConfigDocument:
    """The configuration for a clock that runs fast: a watchdog of at least one real second, as far as the device goes.

    At speed 60 a pause of 0.2 s of a busy machine is 12 s of the clock; a watchdog of 10 s would trip for nothing.
    """
    watchdog_s = min(WATCHDOG_MAX_S, max(config.safety.watchdog_s, round(speed)))
    return msgspec.structs.replace(config, safety=msgspec.structs.replace(config.safety, watchdog_s=watchdog_s))


async def plant_seed(store: Store, station: str, now: datetime, *, speed: float = 1.0) -> bool:
    """Give an empty store its first site and controller; False where it has one already."""
    if await store.master.sites():
        return False
    seed = load_seed(station)
    seed = msgspec.structs.replace(seed, config=at_speed(seed.config, speed))
    await add_site(store, FIRST_SITE, seed, now, controller_id=FIRST_CONTROLLER)
    return True


async def take_sites(store: Store, files: Mapping[str, Path], now: datetime) -> list[str]:
    """Make sites of seed files that are not sites yet; answers their ids."""
    known = {each.id for each in await store.master.sites()}
    taken = []
    for site_id, path in files.items():
        if site_id not in known:
            await add_site(store, site_id, read_seed(path), now, controller_id=None)
            taken.append(site_id)
    return taken


async def add_site(store: Store, site_id: str, seed: Seed, now: datetime, *, controller_id: str | None) -> None:
    """A site like the seed; with a controller that is active from the start where one is named."""
    try:
        config = first_version(site_id, seed.config, at=now, author="seed")
    except SiteError as error:
        raise BadInput(f"the seed {seed.name!r} contradicts itself: {error}") from error
    equipment = [
        AssetRecord(site_id=site_id, controller_id=controller_id, **msgspec.structs.asdict(each))
        for each in seed.assets
    ]
    controller = (
        ControllerRecord(
            id=controller_id,
            site_id=site_id,
            serial=f"SEED-{controller_id}",
            state=OnboardingState.ACTIVE,
            registered_at=now,
        )
        if controller_id is not None
        else None
    )
    await store.master.add_site(SiteRecord(id=site_id, name=seed.name), equipment, config, controller)
