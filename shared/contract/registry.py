"""Asset registry, firmware and onboarding: Enexa's master data as the customer's page shows it."""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta

from shared.contract.config import SiteConfig
from shared.contract.wire import EnergyKwh, Id, Instant, Message, OneWayKw, Text


class SiteSummary(Message, frozen=True, kw_only=True):
    id: Id
    name: Text
    online: bool | None = None
    timezone: Text = "Europe/Berlin"


class SitePage(Message, frozen=True, kw_only=True):
    sites: tuple[SiteSummary, ...]
    cursor: Text | None = None


class Asset(Message, frozen=True, kw_only=True):
    """One entry of the registry; its specifications are read under its type and id."""

    id: Id
    type: Text
    name: Text = ""
    controller_id: Id | None = None


class SiteAssets(Message, frozen=True, kw_only=True):
    battery: Asset | None
    chargers: tuple[Asset, ...]
    meters: tuple[Asset, ...]
    pv: Asset | None = None


class OnboardingState(StrEnum):
    REGISTERED = "registered"
    BOOTSTRAPPED = "bootstrapped"
    ACTIVE = "active"
    SUSPENDED = "suspended"


class Controller(Message, frozen=True, kw_only=True):
    id: Id
    assets: tuple[Id, ...]
    site_id: Id
    serial: Text
    state: OnboardingState
    firmware: Text | None = None


class EquipmentSpecs(Message, frozen=True, kw_only=True):
    """Nameplate of one piece of equipment; which fields are filled depends on its type."""

    id: Id
    type: Text
    capacity_kwh: EnergyKwh | None = None
    max_power_kw: OneWayKw | None = None
    charge_max_kw: OneWayKw | None = None
    discharge_max_kw: OneWayKw | None = None
    connection_kva: OneWayKw | None = None
    manufacturer: Text = ""
    model: Text = ""


class Firmware(Message, frozen=True, kw_only=True):
    version: Text
    url: Text
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    signature: Text | None = None
    size_bytes: Annotated[int, Meta(ge=0)] = 0


class FirmwareStatus(Message, frozen=True, kw_only=True):
    current_version: Annotated[str, Meta(pattern=r"^[0-9]{1,6}\.[0-9]{1,6}\.[0-9]{1,6}$")]
    status: Text


class FirmwareStatusAck(Message, frozen=True, kw_only=True):
    latest_version: Text | None = None


class RegisterController(Message, frozen=True, kw_only=True):
    serial: Annotated[str, Meta(pattern="^[A-Za-z0-9_.-]{1,64}$")]
    site_id: Id


class Registered(Message, frozen=True, kw_only=True):
    """The API key is shown once; only its hash is kept."""

    api_key: str
    config_url: str
    controller_id: Id


class RenewedKey(Message, frozen=True, kw_only=True):
    """A new API key, shown once; the ones before it hold until `previous_until`."""

    api_key: str
    previous_until: Instant


class Bootstrap(Message, frozen=True, kw_only=True):
    config: SiteConfig
    assets: tuple[Asset, ...]


class Activate(Message, frozen=True, kw_only=True):
    status: Text
    tests_passed: bool


class Activated(Message, frozen=True, kw_only=True):
    activated: bool
    activated_at: Instant | None = None
