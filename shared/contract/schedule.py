"""The schedule: planned setpoints per slot, which the middleware keeps as the last known one."""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta

from shared.contract.wire import EurPerKwh, EurPerMwh, Id, Instant, Message, OneWayKw, Pct, PowerKw, Text, Version

SLOTS_MAX = 400


class Zone(StrEnum):
    """Where a slot's price stands among its neighbours."""

    NEGATIVE = "negative"
    CHEAP = "cheap"
    NORMAL = "normal"
    EXPENSIVE = "expensive"


class ScheduleSlot(Message, frozen=True, kw_only=True):
    """One slot: the battery's setpoint (discharging +), where the state of charge should end, and why."""

    start: Instant
    setpoint_kw: PowerKw
    soc_target_pct: Pct
    reserve_pct: Pct
    import_gate_kw: OneWayKw
    price_eur_per_mwh: EurPerMwh
    zone: Zone
    reason: Text
    marginal_eur_per_kwh: EurPerKwh
    ev_kw: OneWayKw = 0.0
    """Mean power that the plan expects cars to draw."""
    import_kw: OneWayKw = 0.0
    """Mean import that the plan expects."""


class SiteSchedule(Message, frozen=True, kw_only=True):
    """Slots are contiguous quarter hours from `valid_from`; after `valid_until` the schedule says nothing."""

    site_id: Id
    version: Version
    valid_from: Instant
    valid_until: Instant
    slots: Annotated[tuple[ScheduleSlot, ...], Meta(max_length=SLOTS_MAX)]
    made_at: Instant | None = None
