"""A site in a few words, for tests of dispatching."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from shared.contract.config import BatteryConfig, BatteryUnitConfig, ChargerConfig, PlannerConfig, SiteConfig
from shared.contract.dispatch import CommandBase, CommandStatus, DispatchAck
from shared.contract.schedule import ScheduleSlot, SiteSchedule, Zone
from shared.contract.telemetry import Battery, Charger, Control, Grid, Mode, Station, Telemetry
from shared.moment import Moment

START = datetime(2024, 1, 15, 10, 0, tzinfo=UTC)
NOW = Moment(1000.0, START)

CONFIG = SiteConfig(
    site_id="SITE001",
    version=1,
    updated_at=START,
    author="test",
    battery=BatteryConfig(units=(BatteryUnitConfig(id="BAT1"), BatteryUnitConfig(id="BAT2"))),
    chargers=(ChargerConfig(id="CHG1"), ChargerConfig(id="CHG2")),
)


def config(*, enabled: bool = True, version: int = 1, **changes: Any) -> SiteConfig:
    return msgspec.structs.replace(CONFIG, version=version, planner=PlannerConfig(enabled=enabled), **changes)


def slot(start: datetime = START, **changes: Any) -> ScheduleSlot:
    usual: dict[str, Any] = {
        "setpoint_kw": 0.0,
        "soc_target_pct": 50.0,
        "reserve_pct": 20.0,
        "import_gate_kw": 80.0,
        "price_eur_per_mwh": 60.0,
        "zone": Zone.NORMAL,
        "reason": "reserve_protect",
        "marginal_eur_per_kwh": 0.1,
    }
    return ScheduleSlot(start=start, **{**usual, **changes})


def schedule(*, version: int = 1, slots: int = 96, **changes: Any) -> SiteSchedule:
    made = tuple(slot(START + timedelta(minutes=15 * index), **changes) for index in range(slots))
    return SiteSchedule(
        site_id="SITE001",
        version=version,
        valid_from=START,
        valid_until=START + timedelta(minutes=15 * slots),
        slots=made,
    )


def sample(
    at: datetime = START,
    *,
    soc_pct: float | None = 60.0,
    battery_kw: float = 0.0,
    ev_kw: float = 0.0,
    aux_kw: float = 0.4,
    pv_kw: float = 0.0,
    clearance_kw: float | None = None,
    mode: Mode = Mode.ONLINE,
    active: str | None = None,
    applied_kw: float | None = None,
    sequence: int | None = None,
) -> Telemetry:
    return Telemetry(
        site_id="SITE001",
        timestamp=at,
        battery=Battery(soc_pct=soc_pct, power_kw=battery_kw),
        grid=Grid(import_kw=max(ev_kw + aux_kw - battery_kw - pv_kw, 0.0), export_kw=0.0, clearance_kw=clearance_kw),
        chargers=(Charger(plugged=ev_kw > 0.0, power_kw=ev_kw), Charger(plugged=False, power_kw=0.0)),
        aux_kw=aux_kw,
        pv_kw=pv_kw,
        station=Station(mode=mode),
        control=Control(applied_kw=applied_kw),
        active_command_id=active,
        stream_epoch="e1" if sequence is not None else None,
        sequence=sequence,
    )


def ack(command: CommandBase, status: CommandStatus = CommandStatus.APPLIED, **changes: Any) -> DispatchAck:
    assert command.command_id is not None
    return DispatchAck(command_id=command.command_id, site_id=command.site_id, status=status, **changes)
