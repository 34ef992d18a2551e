"""Telemetry: one sample each second, as the customer's page shows it, and batches of them after an outage."""

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from shared.contract.wire import (
    Celsius,
    Count,
    EnergyKwh,
    Id,
    Instant,
    Message,
    OneWayKw,
    Pct,
    PowerKw,
    Quality,
    Seconds,
    Sequence,
    Text,
)

SAMPLES_PER_BATCH = 60
SAMPLES_PER_BATCH_MAX = 600


class Mode(StrEnum):
    """Who decides at this site, by the words of `station.mode`; the transitions are a table in Amperio's autonomy."""

    ONLINE = "online"
    SUSPECT = "suspect"
    AUTONOMOUS = "autonomous"
    RESYNC = "resync"
    SAFE = "safe"
    DEVICE_LOST = "device_lost"
    LOCKED = "locked"


class LimitedBy(StrEnum):
    """Why an applied power differs from the wish."""

    NO_EXPORT = "no_export"
    EV_MUST_SERVE = "ev_must_serve"
    GRID_LIMIT = "grid_limit"
    SOC_RESERVE = "soc_reserve"
    SOC_MAX = "soc_max"
    THERMAL = "thermal"
    RATING = "rating"


class BatteryUnit(Message, frozen=True, kw_only=True):
    """One battery string behind its power unit."""

    soc_pct: Pct | None = None
    power_kw: PowerKw | None = None
    temp_min_c: Celsius | None = None
    temp_max_c: Celsius | None = None
    charge_max_kw: OneWayKw | None = None
    discharge_max_kw: OneWayKw | None = None
    energy_to_full_kwh: EnergyKwh | None = None
    energy_to_empty_kwh: EnergyKwh | None = None


class Battery(Message, frozen=True, kw_only=True):
    """Both strings together; `power_kw` is positive while discharging."""

    soc_pct: Pct | None = None
    power_kw: PowerKw | None = None
    temp_c: Celsius | None = None
    units: Annotated[tuple[BatteryUnit, ...], Meta(max_length=8)] = ()


class Grid(Message, frozen=True, kw_only=True):
    """The connection point's meter; import and export are both never negative."""

    import_kw: OneWayKw | None = None
    export_kw: OneWayKw | None = None
    frequency_hz: Annotated[float, Meta(ge=0.0, le=100.0)] | None = None
    power_factor: Annotated[float, Meta(ge=-1.0, le=1.0)] | None = None
    import_kwh: EnergyKwh | None = None
    export_kwh: EnergyKwh | None = None
    clearance_kw: OneWayKw | None = None
    request_kw: PowerKw | None = None
    """The import asked of the station in automatic mode; null = no request."""


class Charger(Message, frozen=True, kw_only=True):
    """One outlet; `power_kw` is DC power into the car."""

    state: Text | None = None
    plugged: bool | None = None
    power_kw: OneWayKw | None = None
    ev_soc_pct: Pct | None = None
    session_id: Id | None = None
    session_kwh: EnergyKwh | None = None
    limit_kw: OneWayKw | None = None
    ev_max_kw: OneWayKw | None = None


class Station(Message, frozen=True, kw_only=True):
    """What the station and the middleware say of themselves."""

    state: Text | None = None
    mode: Mode | None = None
    warnings: Annotated[tuple[Text, ...], Meta(max_length=32)] = ()
    errors: Annotated[tuple[Text, ...], Meta(max_length=32)] = ()
    watchdog_s: Seconds | None = None
    external_control: bool | None = None
    buffered_count: Count | None = None


class Control(Message, frozen=True, kw_only=True):
    """What the control loop aimed at in this second: the wish, and the battery power that it made of it."""

    wish_kw: PowerKw | None = None
    applied_kw: PowerKw | None = None
    limited_by: Annotated[tuple[LimitedBy, ...], Meta(max_length=8)] = ()


class Telemetry(Message, frozen=True, kw_only=True):
    """One second of one site. Only `site_id` and `timestamp` are demanded: the page's example has little more."""

    site_id: Id
    timestamp: Instant
    battery: Battery = Battery()
    grid: Grid = Grid()
    chargers: Annotated[tuple[Charger, ...], Meta(max_length=16)] = ()
    aux_kw: OneWayKw | None = None
    pv_kw: OneWayKw | None = None
    station: Station = Station()
    control: Control = Control()
    stream_epoch: Id | None = None
    sequence: Sequence | None = None
    active_command_id: Id | None = None
    quality: Annotated[dict[str, Quality], Meta(max_length=64)] = msgspec.field(default_factory=dict)


class TelemetryAck(Message, frozen=True, kw_only=True):
    """`stored_through`: up to it *every* number is stored, rejected by name or declared a gap."""

    accepted: Count
    duplicates: Count = 0
    stored_through: Sequence | None = None


class Gap(Message, frozen=True, kw_only=True):
    """Sequences that will never come, or seconds in which no sampler ran (`from_at`, `until_at`)."""

    from_sequence: Sequence
    to_sequence: Sequence
    reason: Text
    from_at: Instant | None = None
    until_at: Instant | None = None


class TelemetryBatch(Message, frozen=True, kw_only=True):
    """Samples of one site and one stream epoch, oldest first; the receiver answers per record."""

    site_id: Id
    stream_epoch: Id
    samples: Annotated[tuple[Telemetry, ...], Meta(max_length=SAMPLES_PER_BATCH_MAX)] = ()
    gaps: Annotated[tuple[Gap, ...], Meta(max_length=1000)] = ()


class Rejected(Message, frozen=True, kw_only=True):
    sequence: Sequence
    code: Text


class TelemetryBatchAck(Message, frozen=True, kw_only=True):
    accepted: Count
    duplicates: Count = 0
    stored_through: Sequence | None = None
    rejected: tuple[Rejected, ...] = ()
