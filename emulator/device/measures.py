"""What each input register shows: the physics in the order of the map's addresses, None where there is no value."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from emulator.physics.charger import AUTHORIZATION, CHARGING, ERROR, SETUP, TEARDOWN
from shared.chargepost.layout import Value
from shared.chargepost.states import ChargingState, ContactorState, OperationState, PlugState, ProcessState

if TYPE_CHECKING:
    from emulator.device.chargepost import ChargePost

Values = tuple[Value, ...]
BULK_PCT = 80.0
BATTERY_CLOSES_AFTER_S, GRID_CLOSES_AFTER_S = 1.0, 2.0


def measures_of(post: "ChargePost") -> dict[str, Callable[[], Values]]:
    """One function per span of input registers."""
    return {
        "grid": lambda: _grid(post),
        "status": lambda: _status(post),
        "warnings": lambda: (int(post.warnings()),),
        "errors": lambda: (int(post.errors()),),
        "charger_1": lambda: _charger(post, 0),
        "charger_2": lambda: _charger(post, 1),
        "charger_1.battery": lambda: _battery(post, 0),
        "charger_2.battery": lambda: _battery(post, 1),
        "pv": lambda: (post.flows.pv_kw, post.pv_kwh),
    }


def _grid(post: "ChargePost") -> Values:
    meter, s = post.meter, post.now.s
    return (
        meter.grid_kw,
        meter.reactive_kvar,
        meter.power_factor_ratio,
        meter.frequency_hz(s),
        *meter.voltages_v(s),
        *meter.currents_a(s),
        meter.imported_kwh,
        meter.exported_kwh,
        post.flows.own_kw,
    )


def _status(post: "ChargePost") -> Values:
    levers, profile = post.levers, post.profile
    return (
        operation_state(post),
        post.environment.ambient_c,
        post.watchdog.left_s(post.now.s),
        min(levers.clearance_kw, post.connection_kw),
        profile.grid.export_limit_kw,
    )


def operation_state(post: "ChargePost") -> OperationState:
    """Register 2000."""
    if post.errors() and post.standing:
        return OperationState.OFF
    if post.now.s < post.started_s + post.profile.startup_s:
        return OperationState.STARTUP
    left, right = post.outlets
    charging = (left.process is CHARGING, right.process is CHARGING)
    if any(charging):
        return CHARGING_STATES[charging]
    if left.vehicle is not None:
        return OperationState.LEFT_CON_CHARGE
    return OperationState.READY if right.vehicle is None else OperationState.RIGHT_CON_CHARGE


CHARGING_STATES = {
    (True, True): OperationState.BOTH_CHARGE,
    (True, False): OperationState.LEFT_CHARGE,
    (False, True): OperationState.RIGHT_CHARGE,
}


def _charger(post: "ChargePost", index: int) -> Values:
    outlet, vehicle = post.outlets[index], post.outlets[index].vehicle
    grid = post.profile.grid
    off = outlet.unavailable or outlet.failed
    process: ProcessState = outlet.process
    if vehicle is None and off:
        process = ProcessState.OFFLINE
    if process in {AUTHORIZATION, SETUP, CHARGING, TEARDOWN}:
        state = ChargingState.IN_PROGRESS
    else:
        state = ChargingState.NOT_AVAILABLE if off or process is ERROR else ChargingState.AVAILABLE
    power = outlet.power_kw
    charging = vehicle is not None and process is CHARGING
    return (
        state,
        process,
        PlugState.UNPLUGGED if vehicle is None else PlugState.PLUGGED,
        0.0 if off else post.outlet_max_kw(index),
        power,
        vehicle.accepts_kw() if vehicle is not None and charging else 0.0 if vehicle is None else vehicle.handshake_kw,
        None if vehicle is None else vehicle.soc_pct,
        outlet.lifetime_kwh,
        vehicle.seconds_to(BULK_PCT, power) if vehicle is not None and charging else None,
        vehicle.seconds_to(vehicle.wish.soc_target_pct, power) if vehicle is not None and charging else None,
        outlet.session_kwh,
        ContactorState.CLOSED if outlet.coupled else ContactorState.OPEN,
        min(grid.unit_kva, post.connection_kw),
        min(grid.unit_kva, grid.export_limit_kw),
        post.contactor(GRID_CLOSES_AFTER_S),
    )


def _battery(post: "ChargePost", index: int) -> Values:
    string = post.strings[index]
    return (
        string.power_kw,
        string.soc_pct,
        string.temperature_c - 1.0,
        string.temperature_c + 1.0,
        string.charge_max_kw,
        string.discharge_max_kw,
        max(0.0, string.energy_kwh - string.capacity_kwh * string.plate.floor_pct / 100.0),
        max(0.0, string.capacity_kwh * string.plate.ceiling_pct / 100.0 - string.energy_kwh),
        ContactorState.OPEN if string.offline else post.contactor(BATTERY_CLOSES_AFTER_S),
    )
