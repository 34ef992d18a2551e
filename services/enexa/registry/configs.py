"""Rules for a site's configuration: what a document must satisfy, how versions follow, what changed (pure)."""

import re
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from shared.contract.config import ConfigChange, ConfigDiff, ConfigDocument, ControllerLimits, SiteConfig
from shared.errors import InvalidMessage, LostUpdate, OutOfBounds

EXPORTS_NOTHING_KW = 0.05
ETAG = re.compile(r'(?:W/)?"([0-9]{1,9})"')
ENTITY_TAG = re.compile(r'^(W/)?"[!#-~]{1,60}"$')


class Change(Struct, frozen=True, kw_only=True):
    """One field that differs between two versions, as a path such as `battery.soc_max_pct`."""

    field: str
    before: Any
    after: Any


def check(document: ConfigDocument) -> None:
    """OutOfBounds with the field where the document contradicts itself."""
    battery, grid, safety = document.battery, document.grid, document.safety
    rules = (
        (battery.soc_min_pct < battery.soc_max_pct, "battery.soc_min_pct", "the SOC window is upside down"),
        (
            battery.soc_min_pct <= battery.soc_reserve_pct < battery.soc_max_pct,
            "battery.soc_reserve_pct",
            "the reserve lies outside the SOC window",
        ),
        (
            battery.derate_below_soc_pct >= battery.soc_min_pct,
            "battery.derate_below_soc_pct",
            "derating must begin above the floor",
        ),
        (
            grid.import_limit_kw <= grid.connection_kva,
            "grid.import_limit_kw",
            "the import limit is above what the connection can carry",
        ),
        (
            grid.export_allowed or grid.export_limit_kw <= EXPORTS_NOTHING_KW,
            "grid.export_limit_kw",
            "an export limit is given where export is not allowed",
        ),
        (
            safety.fallback_import_kw <= grid.import_limit_kw,
            "safety.fallback_import_kw",
            "the fallback must not import more than the limit",
        ),
        (
            safety.fallback_reserve_pct < battery.soc_max_pct,
            "safety.fallback_reserve_pct",
            "the fallback's reserve lies above the SOC window",
        ),
        (
            len({each.id for each in battery.units}) == len(battery.units),
            "battery.units",
            "two battery units have the same id",
        ),
        (
            len({each.id for each in document.chargers}) == len(document.chargers),
            "chargers",
            "two chargers have the same id",
        ),
        (
            all(each.max_kw <= each.coupled_max_kw for each in document.chargers),
            "chargers.coupled_max_kw",
            "coupled outlets give at least what one gives",
        ),
    )
    for holds, field, sentence in rules:
        if not holds:
            raise OutOfBounds(sentence, field=field)


def first_version(site_id: str, document: ConfigDocument, *, at: datetime, author: str) -> SiteConfig:
    check(document)
    return _versioned(site_id, document, version=1, at=at, author=author)


def next_version(
    current: SiteConfig, document: ConfigDocument, *, if_match: str | None, at: datetime, author: str
) -> SiteConfig:
    """The version that replaces `current`; LostUpdate where `if_match` names another one."""
    if if_match is None:
        raise InvalidMessage("If-Match must name the version that this one replaces", field="If-Match")
    if not ENTITY_TAG.fullmatch(if_match.strip()):
        raise InvalidMessage("If-Match is an ETag in quotes", field="If-Match")
    if if_match.startswith("W/") or parse_etag(if_match) != current.version:
        raise LostUpdate("the configuration has changed meanwhile", current_version=current.version)
    check(document)
    return _versioned(current.site_id, document, version=current.version + 1, at=at, author=author)


def document_of(config: SiteConfig) -> ConfigDocument:
    """The eight sections of a version, for example to roll back to it under a new number."""
    return msgspec.convert(
        {name: getattr(config, name) for name in ConfigDocument.__struct_fields__}, ConfigDocument, from_attributes=True
    )


def etag(version: int) -> str:
    return f'"{version}"'


def parse_etag(value: str) -> int | None:
    """The version an ETag names; None where it is none of ours."""
    found = ETAG.fullmatch(value.strip())
    return int(found[1]) if found is not None else None


def changes(before: ConfigDocument, after: ConfigDocument) -> tuple[Change, ...]:
    """Every field that differs, deepest path first named."""
    old, new = (msgspec.to_builtins(document_fields(each)) for each in (before, after))
    return tuple(_differences("", old, new))


def diff(before: SiteConfig, after: SiteConfig) -> ConfigDiff:
    """The changes between two versions of one site, as they travel."""
    return ConfigDiff(
        site_id=after.site_id,
        from_version=before.version,
        to_version=after.version,
        changes=tuple(
            ConfigChange(field=each.field, before=_scalar(each.before), after=_scalar(each.after))
            for each in changes(before, after)
        ),
    )


def document_fields(document: ConfigDocument) -> dict[str, Any]:
    return {name: getattr(document, name) for name in ConfigDocument.__struct_fields__}


def limits_of(config: SiteConfig) -> ControllerLimits:
    """The hard limits of a site, as a controller's configuration shows them."""
    return ControllerLimits(
        import_limit_kw=config.grid.import_limit_kw,
        charge_max_kw=sum(each.charge_max_kw for each in config.battery.units),
        discharge_max_kw=sum(each.discharge_max_kw for each in config.battery.units),
        soc_min_pct=config.battery.soc_min_pct,
        soc_max_pct=config.battery.soc_max_pct,
    )


def _versioned(site_id: str, document: ConfigDocument, *, version: int, at: datetime, author: str) -> SiteConfig:
    return SiteConfig(site_id=site_id, version=version, updated_at=at, author=author, **document_fields(document))


def _scalar(value: Any) -> str | int | float | bool | None:
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return msgspec.json.encode(value).decode()


def _differences(path: str, before: Any, after: Any) -> list[Change]:
    if isinstance(before, dict) and isinstance(after, dict):
        return [
            change
            for name in sorted({*before, *after})
            for change in _differences(f"{path}.{name}".lstrip("."), before.get(name), after.get(name))
        ]
    if isinstance(before, tuple) and isinstance(after, tuple) and len(before) == len(after):
        pairs = enumerate(zip(before, after, strict=True))
        return [change for index, (old, new) in pairs for change in _differences(f"{path}[{index}]", old, new)]
    return [] if before == after else [Change(field=path, before=before, after=after)]
