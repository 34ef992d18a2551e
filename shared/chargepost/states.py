"""Every enumeration and bit field of the ChargePost's Modbus map v2.6, with the numbers of the wire."""

from enum import IntEnum, IntFlag


class OperationState(IntEnum):
    """Register 2000; `left` is charger 1, `con` is connected but not yet charging."""

    OFF = 0
    STARTUP = 1
    READY = 2
    LEFT_CHARGE = 3
    LEFT_CON_CHARGE = 4
    RIGHT_CHARGE = 5
    RIGHT_CON_CHARGE = 6
    BOTH_CHARGE = 7
    SHUTDOWN = 8


class ChargingState(IntEnum):
    """Register 3000: may this outlet be used."""

    NOT_AVAILABLE = 0
    AVAILABLE = 1
    IN_PROGRESS = 2


class ProcessState(IntEnum):
    """Register 3001: how far the charging session has come."""

    OFFLINE = 0
    READY_TO_CHARGE = 1
    AUTHORIZATION = 2
    CHARGING_SETUP = 3
    CHARGING = 4
    CHARGING_TEARDOWN = 5
    CHARGING_FINISHED = 6
    CHARGING_ERROR = 7


class PlugState(IntEnum):
    """Register 3002."""

    UNPLUGGED = 0
    PLUGGED = 1


class ContactorState(IntEnum):
    """Registers 3031, 3044 and 7024."""

    UNDEFINED = 0
    OPEN = 1
    CLOSED = 2


class OperationMode(IntEnum):
    """Register 2501: setpoints of an external EMS count only while it is ON."""

    OFF = 0
    ON = 1


class GridMode(IntEnum):
    """Register 2502: keep the meter under a clearance, or let each unit follow its own target."""

    AUTOMATIC = 0
    MANUAL = 1


class EnergySaving(IntEnum):
    """Register 2504: always awake, or asleep after 60 s idle."""

    FAST = 0
    SLOW = 1


class GradientMode(IntEnum):
    """Register 2512: none, or the 10 %/min of VDE-AR-N 4105 on rising import."""

    NONE = 0
    VDE_4105 = 1


class ChargingMode(IntEnum):
    """Register 12000: one unit behind its outlet, both behind one, or battery and grid alone."""

    OFF = 0
    SINGLE = 1
    DUAL = 2
    DISABLED = 3


class Warnings(IntFlag):
    """Register 2100."""

    WATCHDOG_TRIGGERED = 1 << 0
    NO_MODBUS_CONTROL = 1 << 1
    MANUAL_CONTROL = 1 << 2
    POWER_CLEARANCE_VIOLATION = 1 << 3
    CURRENT_CLEARANCE_VIOLATION = 1 << 4


class Errors(IntFlag):
    """Register 2110; bits 0 to 2 are published, the rest is assumed."""

    ERROR_FLAGS_CORRUPTED = 1 << 0
    CRASH_SENSOR = 1 << 1
    UPS_GRID_SUPPLY_FAILURE = 1 << 2
    EMERGENCY_STOP = 1 << 3
    THERMAL = 1 << 4
    CONTACTOR = 1 << 5
    STRING_OFFLINE = 1 << 6
    GRID_OUTAGE = 1 << 7
    PHASE_LOSS = 1 << 8
