"""Dispatch: the ten commands of the customer's page and of the contract, and the record of what became of each."""

from enum import StrEnum
from hashlib import sha256
from typing import Annotated, Literal, Union

import msgspec
from msgspec import Meta

from shared.contract.schedule import SLOTS_MAX, ScheduleSlot
from shared.contract.telemetry import LimitedBy
from shared.contract.wire import Id, Instant, Message, Nothing, OneWayKw, Pct, PowerKw, Sequence, Text, Version

VALIDITY_DEFAULT_S = 90.0
VALIDITY_MAX_S = 900.0
STALE_AFTER_S = 60.0
CLOCK_SKEW_MAX_S = 30.0

ChargerNumber = Literal[1, 2]


class CommandBase(Message, frozen=True, kw_only=True):
    """What every command carries; `command_id` defaults to the SHA-256 of the canonical body."""

    site_id: Id
    timestamp: Instant
    command_id: Id | None = None
    valid_until: Instant | None = None
    reason: Text | None = None
    epoch: Sequence | None = None
    seq: Sequence | None = None


class BatteryPower(Message, frozen=True, kw_only=True):
    power_kw: PowerKw


class ImportKw(Message, frozen=True, kw_only=True):
    import_kw: OneWayKw


class SocWindow(Message, frozen=True, kw_only=True):
    reserve_pct: Pct
    max_pct: Pct


class ChargerLimit(Message, frozen=True, kw_only=True):
    charger: ChargerNumber
    power_kw: OneWayKw


class ChargingModeParams(Message, frozen=True, kw_only=True):
    charger: ChargerNumber
    mode: Literal["off", "single", "dual", "disabled"]


class OperationModeParams(Message, frozen=True, kw_only=True):
    mode: Literal["off", "external"]


class ScheduleParams(Message, frozen=True, kw_only=True):
    version: Version
    valid_from: Instant
    valid_until: Instant
    slots: Annotated[tuple[ScheduleSlot, ...], Meta(min_length=1, max_length=SLOTS_MAX)]


class SetBatteryPower(CommandBase, frozen=True, kw_only=True, tag_field="command", tag="set_battery_power"):
    """Battery power in kW: discharging +, charging -; a wish that the control loop serves every second."""

    params: BatteryPower


class SetGridRequest(CommandBase, frozen=True, kw_only=True, tag_field="command", tag="set_grid_request"):
    """Import to ask for at the meter, own consumption included; 0 is battery-first."""

    params: ImportKw


class SetGridLimit(CommandBase, frozen=True, kw_only=True, tag_field="command", tag="set_grid_limit"):
    """Import ceiling of the whole station."""

    params: ImportKw


class SetSocWindow(CommandBase, frozen=True, kw_only=True, tag_field="command", tag="set_soc_window"):
    """State of charge kept back for cars, and the ceiling of charging."""

    params: SocWindow


class SetChargerLimit(CommandBase, frozen=True, kw_only=True, tag_field="command", tag="set_charger_limit"):
    """Ceiling of one outlet's power; for safety and the grid operator only."""

    params: ChargerLimit


class SetChargingMode(CommandBase, frozen=True, kw_only=True, tag_field="command", tag="set_charging_mode"):
    """Single outlet, both units coupled, or neither."""

    params: ChargingModeParams


class SetOperationMode(CommandBase, frozen=True, kw_only=True, tag_field="command", tag="set_operation_mode"):
    """Give control to the external EMS, or take it back."""

    params: OperationModeParams


class ApplySchedule(CommandBase, frozen=True, kw_only=True, tag_field="command", tag="apply_schedule"):
    """A whole schedule; the middleware follows its slots while it is valid."""

    params: ScheduleParams


class Stop(CommandBase, frozen=True, kw_only=True, tag_field="command", tag="stop"):
    """Battery target 0 kW until the next command; cars go on being served."""

    params: Nothing = Nothing()


class Test(CommandBase, frozen=True, kw_only=True, tag_field="command", tag="test"):
    """Checked and acknowledged, never actuated."""

    params: Nothing = Nothing()


DispatchCommand = Union[  # noqa: UP007 -- a tagged union is read by msgspec at run time
    SetBatteryPower,
    SetGridRequest,
    SetGridLimit,
    SetSocWindow,
    SetChargerLimit,
    SetChargingMode,
    SetOperationMode,
    ApplySchedule,
    Stop,
    Test,
]


def command_name(command: CommandBase) -> str:
    """The word on the wire, for instance `set_battery_power`."""
    tag = command.__struct_config__.tag
    assert isinstance(tag, str)
    return tag


def command_digest(command: CommandBase) -> str:
    """SHA-256 over the canonical body; two bodies that say the same have the same digest."""
    return sha256(msgspec.json.encode(command, order="sorted")).hexdigest()


def command_id_of(command: CommandBase) -> str:
    return command.command_id or command_digest(command)


class CommandStatus(StrEnum):
    """Life of a command, over both ledgers; each twin's table says which of them it may reach and which are final."""

    PLANNED = "planned"
    SENT = "sent"
    UNKNOWN = "unknown"
    ACCEPTED = "accepted"
    ACKNOWLEDGED = "acknowledged"
    APPLIED = "applied"
    VERIFIED = "verified"
    REJECTED = "rejected"
    FAILED = "failed"
    SUPERSEDED = "superseded"
    EXPIRED = "expired"


class DispatchAck(Message, frozen=True, kw_only=True):
    """The first answer to a command; the same command id gets the same answer again."""

    command_id: Id
    site_id: Id
    status: CommandStatus
    applied_kw: PowerKw | None = None
    limited_by: tuple[LimitedBy, ...] = ()
    code: Text | None = None
    detail: Text | None = None


class DispatchRecord(Message, frozen=True, kw_only=True):
    """What Amperio knows of one command."""

    command_id: Id
    site_id: Id
    command: Text
    status: CommandStatus
    received_at: Instant
    valid_until: Instant
    applied_at: Instant | None = None
    final_at: Instant | None = None
    applied_kw: PowerKw | None = None
    limited_by: tuple[LimitedBy, ...] = ()
    code: Text | None = None
    detail: Text | None = None
    reason: Text | None = None


class GridOperatorLimit(Message, frozen=True, kw_only=True):
    """The grid operator's cap (section 14a); above everything remote. `until` null = until it is withdrawn."""

    import_kw: OneWayKw
    from_: Instant = msgspec.field(name="from")
    until: Instant | None = None
    source: Text = "grid_operator"
