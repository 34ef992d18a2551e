"""Sites, their equipment and their controllers: Enexa's master data, and the views that the page shows of it (pure)."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
from msgspec import Struct

from shared.contract.registry import Asset, Controller, EquipmentSpecs, OnboardingState, SiteAssets
from shared.errors import NotFound

RETIRED_KEYS_MAX = 8


class SiteRecord(Struct, frozen=True, kw_only=True):
    """One connection point."""

    id: str
    name: str
    timezone: str = "Europe/Berlin"


class AssetRecord(Struct, frozen=True, kw_only=True):
    """One piece of equipment: type `battery`, `charger`, `meter` or `pv`, with its nameplate."""

    id: str
    site_id: str
    type: str
    name: str = ""
    controller_id: str | None = None
    manufacturer: str = ""
    model: str = ""
    capacity_kwh: float | None = None
    max_power_kw: float | None = None
    charge_max_kw: float | None = None
    discharge_max_kw: float | None = None
    connection_kva: float | None = None


class Key(Struct, frozen=True, kw_only=True):
    """The hash of an API key, and when it ends where it was replaced."""

    sha256: str
    until: datetime | None = None


class ControllerRecord(Struct, frozen=True, kw_only=True):
    """The box that speaks for a site; of its API keys only the hashes are kept."""

    id: str
    site_id: str
    serial: str
    state: OnboardingState
    registered_at: datetime
    firmware: str | None = None
    key_sha256: str | None = None
    retired_keys: tuple[Key, ...] = ()


def asset_view(record: AssetRecord) -> Asset:
    return Asset(id=record.id, type=record.type, name=record.name, controller_id=record.controller_id)


def site_assets(records: Sequence[AssetRecord]) -> SiteAssets:
    """All equipment of a site as the page groups it."""

    def of(kind: str) -> tuple[Asset, ...]:
        return tuple(asset_view(each) for each in records if each.type == kind)

    battery, pv = of("battery"), of("pv")
    return SiteAssets(
        battery=battery[0] if battery else None,
        chargers=of("charger"),
        meters=of("meter"),
        pv=pv[0] if pv else None,
    )


def controller_view(record: ControllerRecord, records: Sequence[AssetRecord]) -> Controller:
    return Controller(
        id=record.id,
        assets=tuple(each.id for each in records if each.controller_id == record.id),
        site_id=record.site_id,
        serial=record.serial,
        state=record.state,
        firmware=record.firmware,
    )


def specs(records: Sequence[AssetRecord], kind: str, asset_id: str) -> EquipmentSpecs:
    """Nameplate of one piece of equipment; NotFound where there is none of this type and id."""
    found = next((each for each in records if each.type == kind and each.id == asset_id), None)
    if found is None:
        raise NotFound("no such equipment")
    return EquipmentSpecs(
        **{name: getattr(found, name) for name in EquipmentSpecs.__struct_fields__ if hasattr(found, name)}
    )


def with_key(record: ControllerRecord, key_sha256: str, now: datetime, overlap: timedelta) -> ControllerRecord:
    """The record with a new key; every older one that still holds does so for the overlap at most.

    Every older one, because a reply that was lost leaves its controller with the key before it.
    """
    end = now + overlap
    older = [Key(sha256=record.key_sha256, until=end)] if record.key_sha256 is not None else []
    older += [each for each in record.retired_keys if each.until is not None and now < each.until]
    return msgspec.structs.replace(record, key_sha256=key_sha256, retired_keys=tuple(older[:RETIRED_KEYS_MAX]))


def with_state(record: ControllerRecord, state: OnboardingState) -> ControllerRecord:
    return msgspec.structs.replace(record, state=state)
