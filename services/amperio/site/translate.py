"""Commands and limits into register writes, or a refusal.

Order is safety: what limits is written before what gives control, and a setpoint only while the station is under
external control. Only differences are written: the holding registers are read every cycle, so whoever else changes
them is seen and corrected.
"""

from datetime import timedelta

from msgspec import Struct

from services.amperio.site.image import SiteImage
from services.amperio.site.limits import CHARGEPOST, LimitsInForce
from shared.chargepost.layout import RegisterWrite
from shared.chargepost.registers import CONFIG, CONTROLS, MANAGEMENT, Management
from shared.chargepost.states import ChargingMode, GridMode, OperationMode
from shared.contract.config import SiteConfig
from shared.contract.dispatch import (
    ApplySchedule,
    DispatchCommand,
    SetBatteryPower,
    SetChargerLimit,
    SetChargingMode,
    SetGridLimit,
    SetGridRequest,
    SetSocWindow,
)
from shared.energy.slots import SLOT_S, slot_start
from shared.errors import LimitExceeded, OutOfBounds

STEP_KW = 0.1
"""A target follows the car in steps of this size; smaller changes are not worth a write."""

CHARGING_MODES = {
    "off": ChargingMode.OFF,
    "single": ChargingMode.SINGLE,
    "dual": ChargingMode.DUAL,
    "disabled": ChargingMode.DISABLED,
}


class Wanted(Struct, frozen=True, kw_only=True):
    """The registers as they should stand after this cycle; None = leave it as it is."""

    external: bool
    manual: bool
    clearance_kw: float
    request_kw: float | None
    unit_targets_kw: tuple[float, float] | None
    reserve_pct: float | None
    soc_max_pct: float | None
    watchdog_s: int
    beat: bool
    charger_limits_kw: tuple[float | None, float | None] = (None, None)
    charging_modes: tuple[str | None, str | None] = (None, None)
    exact: bool = False
    """Write the setpoint to the watt, however small the change: a command waits to be applied."""
    leave: frozenset[str] = frozenset()
    """Registers that are left to another master in this cycle."""


def writes_for(wanted: Wanted, image: SiteImage) -> tuple[RegisterWrite, ...]:
    """The requests of this cycle, limits first."""
    management = image.management
    if management is None:
        return ()
    writes = [*_window(wanted, image), *_outlets(wanted, image)]
    if not image.controlled and wanted.external:
        # Not ours yet: mode, limit and watchdog first; the setpoint waits until an image shows that it counts.
        return (*writes, *_assertion(wanted, management))
    if wanted.beat:
        writes.append(MANAGEMENT.write(watchdog_interval_s=wanted.watchdog_s))
    if not wanted.external:
        if management.operation_mode is not OperationMode.OFF:
            writes.append(MANAGEMENT.write(operation_mode=OperationMode.OFF))
        return tuple(writes)
    return (*writes, *_setpoint(wanted, image, management))


def _assertion(wanted: Wanted, management: Management) -> list[RegisterWrite]:
    writes = []
    if management.grid_mode is not GridMode.AUTOMATIC:
        writes.append(MANAGEMENT.write(grid_mode=GridMode.AUTOMATIC))
    if _differs(management.clearance_kw, wanted.clearance_kw, 0.0) or management.request_kw is not None:
        writes.append(MANAGEMENT.write(clearance_kw=wanted.clearance_kw, request_kw=None))
    if wanted.beat:
        writes.append(MANAGEMENT.write(watchdog_interval_s=wanted.watchdog_s, operation_mode=OperationMode.ON))
    return writes


def _setpoint(wanted: Wanted, image: SiteImage, management: Management) -> list[RegisterWrite]:
    manual = wanted.manual and wanted.unit_targets_kw is not None
    step = 0.0 if wanted.exact else STEP_KW
    request_kw = None if manual else wanted.request_kw
    clearance_moves = _differs(management.clearance_kw, wanted.clearance_kw, 0.0)
    clearance_moves = clearance_moves and "management.clearance_kw" not in wanted.leave
    request_moves = _differs(management.request_kw, request_kw, step)
    request_moves = request_moves and "management.request_kw" not in wanted.leave
    writes = []
    if clearance_moves and request_moves:
        writes.append(MANAGEMENT.write(clearance_kw=wanted.clearance_kw, request_kw=request_kw))
    elif clearance_moves:
        writes.append(MANAGEMENT.write(clearance_kw=wanted.clearance_kw))
    elif request_moves:
        writes.append(MANAGEMENT.write(request_kw=request_kw))
    if manual:
        assert wanted.unit_targets_kw is not None
        for index, target_kw in enumerate(wanted.unit_targets_kw):
            control = image.controls[index]
            if control is None or _differs(control.grid_target_kw, target_kw, step):
                writes.append(CONTROLS[index].write(grid_target_kw=target_kw))
    mode = GridMode.MANUAL if manual else GridMode.AUTOMATIC
    if management.grid_mode is not mode and "management.grid_mode" not in wanted.leave:
        # Targets stand before manual mode is entered, and a request before automatic mode is.
        writes.append(MANAGEMENT.write(grid_mode=mode))
    return writes


def _window(wanted: Wanted, image: SiteImage) -> list[RegisterWrite]:
    """Raise the maximum before the reserve, lower the reserve before the maximum: reserve < max at every instant."""
    config = image.config
    if config is None or wanted.reserve_pct is None or wanted.soc_max_pct is None:
        return []
    reserve, most = round(wanted.reserve_pct), int(wanted.soc_max_pct)
    reserve_moves, most_moves = config.soc_reserve_pct != reserve, config.soc_max_pct != most
    writes = []
    if most_moves:
        writes.append(CONFIG.write(soc_max_pct=most))
    if reserve_moves:
        writes.append(CONFIG.write(soc_reserve_pct=reserve))
    lowering = config.soc_max_pct is not None and most < config.soc_max_pct
    return list(reversed(writes)) if lowering else writes


def _outlets(wanted: Wanted, image: SiteImage) -> list[RegisterWrite]:
    writes = []
    for index, control in enumerate(image.controls):
        mode, limit_kw = wanted.charging_modes[index], wanted.charger_limits_kw[index]
        if mode is not None and (control is None or control.charging_mode is not CHARGING_MODES[mode]):
            writes.append(CONTROLS[index].write(charging_mode=CHARGING_MODES[mode]))
        if limit_kw is not None and (control is None or _differs(control.ev_limit_kw, limit_kw, 0.0)):
            writes.append(CONTROLS[index].write(ev_limit_kw=limit_kw))
    return writes


def _differs(now_kw: float | None, wanted_kw: float | None, step_kw: float) -> bool:
    if now_kw is None or wanted_kw is None:
        return now_kw is not wanted_kw
    return abs(now_kw - wanted_kw) > max(step_kw, 0.00051)


def check_bounds(command: DispatchCommand, config: SiteConfig | None, limits: LimitsInForce) -> None:
    """Outside nameplate or configuration is `limit_exceeded`, and nothing is written."""
    if isinstance(command, SetBatteryPower):
        _battery_bounds(command.params.power_kw, limits, "params.power_kw")
    elif isinstance(command, SetGridRequest | SetGridLimit):
        limit_kw = min(CHARGEPOST.import_max_kw, config.grid.import_limit_kw if config else CHARGEPOST.import_max_kw)
        _at_most(command.params.import_kw, limit_kw, "params.import_kw")
    elif isinstance(command, SetSocWindow):
        _window_bounds(command, config)
    elif isinstance(command, SetChargerLimit):
        _at_most(command.params.power_kw, CHARGEPOST.coupled_kw, "params.power_kw")
    elif isinstance(command, SetChargingMode):
        _coupling_bounds(command)
    elif isinstance(command, ApplySchedule):
        _slot_bounds(command)
        for index, slot in enumerate(command.params.slots):
            _battery_bounds(slot.setpoint_kw, limits, f"params.slots[{index}].setpoint_kw")


def _slot_bounds(command: ApplySchedule) -> None:
    """Quarter hours one after the other: what overlaps says two things at once, and a hole says nothing."""
    params = command.params
    if params.valid_until <= params.valid_from:
        raise OutOfBounds("a schedule ends after it begins", field="params.valid_until")
    for index, slot in enumerate(params.slots):
        field = f"params.slots[{index}].start"
        if slot.start != slot_start(slot.start):
            raise OutOfBounds("a slot begins on a quarter hour", field=field)
        if index and slot.start - params.slots[index - 1].start != timedelta(seconds=SLOT_S):
            raise OutOfBounds("slots follow one another without a hole or an overlap", field=field)


def _battery_bounds(power_kw: float, limits: LimitsInForce, field: str) -> None:
    most = (limits.discharge_max_kw if power_kw >= 0.0 else limits.charge_max_kw) * CHARGEPOST.units
    _at_most(abs(power_kw), most, field)


def _at_most(value: float, limit: float, field: str) -> None:
    if value > limit + 1e-9:
        raise LimitExceeded(
            f"{value:g} is outside nameplate or configuration ({limit:g})", field=field, requested=value, limit=limit
        )


def _window_bounds(command: SetSocWindow, config: SiteConfig | None) -> None:
    reserve, most = command.params.reserve_pct, command.params.max_pct
    if round(reserve) >= int(most):
        raise LimitExceeded("reserve_pct must be below max_pct", field="params.reserve_pct", requested=reserve)
    _at_most(most, min(config.battery.soc_max_pct if config else 95.0, CHARGEPOST.soc_ceiling_pct), "params.max_pct")
    least = config.battery.soc_min_pct if config else CHARGEPOST.soc_floor_pct
    if reserve < least:
        raise LimitExceeded(
            f"{reserve:g} is below the configured minimum ({least:g})",
            field="params.reserve_pct",
            requested=reserve,
            limit=least,
        )


def _coupling_bounds(command: SetChargingMode) -> None:
    """Every mode of the contract exists on this machine; coupling takes the other outlet out of service."""
    assert command.params.mode in CHARGING_MODES
