"""Configuration of a site: Enexa owns it, it has a version, and it travels over the contract."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from shared.contract.wire import (
    Count,
    EnergyKwh,
    Eur,
    EurPerKwh,
    Id,
    Instant,
    Message,
    OneWayKw,
    Pct,
    Ratio,
    Seconds,
    Text,
    Version,
)


class GridConfig(Message, frozen=True, kw_only=True):
    """The connection point: what may flow through it."""

    import_limit_kw: OneWayKw = 83.5
    connection_kva: OneWayKw = 87.0
    export_allowed: bool = False
    export_limit_kw: OneWayKw = 0.0


class BatteryUnitConfig(Message, frozen=True, kw_only=True):
    id: Id
    capacity_kwh: Annotated[float, Meta(gt=0.0, le=100_000.0)] = 95.0
    charge_max_kw: OneWayKw = 110.0
    discharge_max_kw: OneWayKw = 110.0


class BatteryConfig(Message, frozen=True, kw_only=True):
    units: Annotated[tuple[BatteryUnitConfig, ...], Meta(min_length=1, max_length=8)]
    soc_min_pct: Pct = 10.0
    soc_reserve_pct: Pct = 20.0
    soc_max_pct: Pct = 90.0
    charge_efficiency: Ratio = 0.94
    discharge_efficiency: Ratio = 0.94
    derate_below_soc_pct: Pct = 30.0
    """Full discharge power above it, linear to 0 at `soc_min_pct`."""


class ChargerConfig(Message, frozen=True, kw_only=True):
    id: Id
    max_kw: OneWayKw = 150.0
    coupled_max_kw: OneWayKw = 300.0
    efficiency: Ratio = 0.95


class PvConfig(Message, frozen=True, kw_only=True):
    peak_kw: OneWayKw
    latitude_deg: Annotated[float, Meta(ge=-90.0, le=90.0)] = 48.78
    longitude_deg: Annotated[float, Meta(ge=-180.0, le=180.0)] = 9.18
    tilt_deg: Annotated[float, Meta(ge=0.0, le=90.0)] = 10.0
    azimuth_deg: Annotated[float, Meta(ge=0.0, lt=360.0)] = 180.0
    loss_ratio: Annotated[float, Meta(ge=0.0, lt=1.0)] = 0.14


class TariffConfig(Message, frozen=True, kw_only=True):
    """Money per energy; `fees_eur_per_kwh` (grid fees and taxes) comes on top of the day-ahead price."""

    fees_eur_per_kwh: EurPerKwh = 0.08
    retail_eur_per_kwh: EurPerKwh = 0.59
    flat_eur_per_kwh: EurPerKwh = 0.25
    """All-in price of the flat tariff that settlement compares with."""
    wear_eur_per_kwh: EurPerKwh = 0.0715
    """Per kWh of full cycle; half of it per direction."""
    demand_charge_eur_per_kw_year: Annotated[float, Meta(ge=0.0, le=1000.0)] = 30.0
    export_fee_eur_per_kwh: EurPerKwh = 0.004
    export_worthless_below_eur_per_kwh: EurPerKwh = 0.02
    unserved_eur_per_kwh: EurPerKwh = 5.0
    month_peak_so_far_kw: OneWayKw = 0.0
    capex_eur: Eur = 0.0


class PlannerConfig(Message, frozen=True, kw_only=True):
    """The planner's knobs of this site."""

    horizon_h: Annotated[float, Meta(ge=1.0, le=72.0)] = 36.0
    scenarios: Annotated[int, Meta(ge=1, le=200)] = 20
    soc_replan_pct: Pct = 3.0
    demand_replan_kw: OneWayKw = 5.0
    enabled: bool = True


class SafetyConfig(Message, frozen=True, kw_only=True):
    """What the middleware does to stay safe."""

    watchdog_s: Annotated[int, Meta(ge=2, le=60)] = 10
    fallback_after_s: Annotated[float, Meta(ge=20.0, le=60.0)] = 60.0
    fallback_import_kw: OneWayKw = 40.0
    fallback_reserve_pct: Pct = 30.0
    control_mode: Literal["automatic", "manual"] = "automatic"


class TelemetryConfig(Message, frozen=True, kw_only=True):
    period_s: Annotated[float, Meta(ge=0.5, le=60.0)] = 1.0
    buffer_hours: Annotated[float, Meta(ge=24.0, le=744.0)] = 24.0
    batch_samples: Annotated[int, Meta(ge=1, le=600)] = 60


class ConfigDocument(Message, frozen=True, kw_only=True):
    """The eight sections; a PUT sends them, a GET answers them with version and author."""

    battery: BatteryConfig
    grid: GridConfig = GridConfig()
    chargers: Annotated[tuple[ChargerConfig, ...], Meta(min_length=1, max_length=16)]
    pv: PvConfig | None = None
    tariff: TariffConfig = TariffConfig()
    planner: PlannerConfig = PlannerConfig()
    safety: SafetyConfig = SafetyConfig()
    telemetry: TelemetryConfig = TelemetryConfig()


class SiteConfig(ConfigDocument, frozen=True, kw_only=True):
    """A version of a site's configuration."""

    site_id: Id
    version: Version
    updated_at: Instant
    author: Text


class ConfigVersions(Message, frozen=True, kw_only=True):
    site_id: Id
    versions: tuple[SiteConfig, ...]
    cursor: Text | None = None


class ConfigAck(Message, frozen=True, kw_only=True):
    """The middleware's word on a version; `read_back` are values read from the device."""

    site_id: Id
    version: Version
    status: Literal["applied", "rejected"]
    timestamp: Instant
    reason: Text | None = None
    read_back: Annotated[dict[str, float], Meta(max_length=64)] = msgspec.field(default_factory=dict)


class ConfigAckReply(Message, frozen=True, kw_only=True):
    wanted_version: Version
    applied_version: Version | None = None


class ConfigAcks(Message, frozen=True, kw_only=True):
    """What is wanted, what is applied as far as is known, and the newest word on each version, newest first."""

    site_id: Id
    wanted_version: Version
    applied_version: Version | None
    acks: tuple[ConfigAck, ...]


class DiffQuery(Message, frozen=True, kw_only=True):
    """Two versions of the same site; `to` is the one in force where it is left out, `from` the one before that."""

    from_: Version | None = msgspec.field(name="from", default=None)
    to: Version | None = None


class ConfigChange(Message, frozen=True, kw_only=True):
    """One field as a path such as `battery.soc_max_pct`; whole objects and lists are shown as JSON text."""

    field: Text
    before: str | int | float | bool | None
    after: str | int | float | bool | None


class ConfigDiff(Message, frozen=True, kw_only=True):
    site_id: Id
    from_version: Version
    to_version: Version
    changes: tuple[ConfigChange, ...]


class RollBack(Message, frozen=True, kw_only=True):
    """The old version that is to be in force again."""

    version: Version


class ControllerLimits(Message, frozen=True, kw_only=True):
    import_limit_kw: OneWayKw
    charge_max_kw: OneWayKw
    discharge_max_kw: OneWayKw
    soc_min_pct: Pct
    soc_max_pct: Pct


class ControllerConfig(Message, frozen=True, kw_only=True):
    """A controller's view of its sites' configuration: `settings` and `limits` by site, under one version."""

    version: Version
    settings: dict[str, SiteConfig]
    limits: dict[str, ControllerLimits]


class ConfigVersion(Message, frozen=True, kw_only=True):
    version: Version
    updated_at: Instant


class Buffering(Message, frozen=True, kw_only=True):
    """Depth of an outbox, for status and health."""

    samples: Count = 0
    events: Count = 0
    oldest_age_s: Seconds | None = None
    capacity_used_pct: Pct = 0.0


class EnergyBook(Message, frozen=True, kw_only=True):
    """Energies over a period; the identity of `shared.energy.balance` closes on them."""

    import_kwh: EnergyKwh = 0.0
    export_kwh: EnergyKwh = 0.0
    ev_kwh: EnergyKwh = 0.0
    pv_kwh: EnergyKwh = 0.0
    aux_kwh: EnergyKwh = 0.0
    charged_kwh: EnergyKwh = 0.0
    discharged_kwh: EnergyKwh = 0.0
