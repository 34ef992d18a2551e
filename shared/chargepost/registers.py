"""The ChargePost's Modbus map v2.6, whole: what the emulator serves, the middleware asks for and the docs print.

How to use it:

    image = GRID.decode(words)                             # words of FC 04 at GRID.address, GRID.count of them
    image.grid_kw                                          # kW, + is import; None when the device has no value
    order = MANAGEMENT.write(clearance_kw=60.0, request_kw=None)      # one FC 16 over 2506-2509
    beat = MANAGEMENT.write(watchdog_interval_s=30)                   # one FC 06
    order.confirmed_by(words)                              # read-back, word by word
    READ_BLOCKS                                                 # what one request may cover at a stretch

Spans of charger 2 are the same structs 10000 addresses higher. Factors carry the sign: what flows into the site's AC
bus is positive (import, discharge), whatever the register's own counting; nobody else flips a sign.
`source` says whether an address or a type is published, measured in the field, or our assumption.
"""

from collections.abc import Iterator
from typing import Annotated, Any

from msgspec import Struct

from shared.chargepost.layout import CHARGER_2_OFFSET, F32, I32, TEXT, U16, U32, Block, Field, Reg, Span, Table
from shared.chargepost.states import (
    ChargingMode,
    ChargingState,
    ContactorState,
    EnergySaving,
    Errors,
    GradientMode,
    GridMode,
    OperationMode,
    OperationState,
    PlugState,
    ProcessState,
    Warnings,
)

STATION_UNIT, PV_UNIT = 1, 2
NO_REQUEST = -2147483648


class GridMeter(Struct, frozen=True, kw_only=True):
    """The connection point: MID meter, phases, and the station's own consumption."""

    grid_kw: Annotated[
        float | None,
        Reg(
            0,
            F32,
            -0.001,
            "W",
            "grid.P_grid",
            "active power at the connection point; producer counting: negative = import",
        ),
    ]
    reactive_kvar: Annotated[
        float | None, Reg(2, F32, -0.001, "var", "grid.Q_grid", "reactive power at the connection point")
    ]
    power_factor_ratio: Annotated[
        float | None, Reg(6, F32, 1, "1", "grid.cos_phi", "power factor at the connection point")
    ]
    frequency_hz: Annotated[float | None, Reg(8, F32, 1, "Hz", "grid.f_grid", "grid frequency")]
    voltage_l1_v: Annotated[float | None, Reg(10, F32, 1, "V", "grid.U_L1", "phase voltage L1-N")]
    voltage_l2_v: Annotated[float | None, Reg(12, F32, 1, "V", "grid.U_L2", "phase voltage L2-N")]
    voltage_l3_v: Annotated[float | None, Reg(14, F32, 1, "V", "grid.U_L3", "phase voltage L3-N")]
    current_l1_a: Annotated[float | None, Reg(16, F32, 1, "A", "grid.I_L1", "phase current L1")]
    current_l2_a: Annotated[float | None, Reg(18, F32, 1, "A", "grid.I_L2", "phase current L2")]
    current_l3_a: Annotated[float | None, Reg(20, F32, 1, "A", "grid.I_L3", "phase current L3")]
    energy_imported_kwh: Annotated[
        float | None, Reg(22, F32, 1, "kWh", "grid.E_grid_imp", "imported energy counter (MID meter); never falls")
    ]
    energy_exported_kwh: Annotated[
        float | None, Reg(24, F32, 1, "kWh", "grid.E_grid_exp", "exported energy counter (MID meter); never falls")
    ]
    own_consumption_kw: Annotated[
        float | None, Reg(26, F32, 0.001, "W", "grid.P_aux", "own consumption: HVAC; displays; electronics")
    ]


class StationStatus(Struct, frozen=True, kw_only=True):
    """What the station says of itself."""

    operation_state: Annotated[
        OperationState | None,
        Reg(
            0,
            U16,
            1,
            "enum",
            "station.status.operation_state",
            "0 off 1 startup 2 ready 3 left_charge 4 left_con_charge 5 right_charge 6 right_con_charge 7 "
            "both_charge 8 shutdown",
        ),
    ]
    ambient_c: Annotated[
        float | None, Reg(6, F32, 1, "degC", "station.status.T_ambient", "ambient temperature near the heat exchanger")
    ]
    watchdog_left_s: Annotated[
        float | None, Reg(9, U16, 1, "s", "station.status.watchdog_timeout", "seconds left until the watchdog expires")
    ]
    import_limit_kw: Annotated[
        float | None,
        Reg(
            10,
            U32,
            0.001,
            "W",
            "station.status.P_grid_consumption_limit",
            "highest import that keeps the clearance (field units merely echo the commanded clearance)",
        ),
    ]
    export_limit_kw: Annotated[
        float | None,
        Reg(12, U32, 0.001, "W", "station.status.P_grid_generation_limit", "highest feed-in that keeps the clearance"),
    ]


class WarningBits(Struct, frozen=True, kw_only=True):
    """The warnings alone: they lie in a block of their own."""

    warnings: Annotated[
        Warnings | None,
        Reg(
            0,
            U16,
            1,
            "bits",
            "station.status.warnings",
            "bit0 watchdog_triggered bit1 no_modbus_ctrl bit2 manual_ctrl bit3 P_clearance_violation bit4 "
            "I_clearance_violation",
        ),
    ]


class ErrorBits(Struct, frozen=True, kw_only=True):
    """The errors alone: they lie in a block of their own."""

    errors: Annotated[
        Errors | None,
        Reg(
            0,
            U16,
            1,
            "bits",
            "station.status.errors",
            "bit0 error_flags_corrupted bit1 crash_sensor_triggered bit2 usv_grid_supply_failure; assumed: "
            "bit3 estop bit4 thermal bit5 contactor bit6 string_offline bit7 grid_outage bit8 phase_loss",
        ),
    ]


class Management(Struct, frozen=True, kw_only=True):
    """The external EMS's levers on the whole station."""

    watchdog_interval_s: Annotated[
        float | None,
        Reg(
            0,
            U16,
            1,
            "s",
            "station.mgmt.watchdog_interval",
            "2 to 60; each write within the interval keeps external control; any other value is illegal",
            writable=True,
            low=2,
            high=60,
            default=60,
        ),
    ]
    operation_mode: Annotated[
        OperationMode | None,
        Reg(
            1,
            U16,
            1,
            "enum",
            "station.mgmt.operation_mode",
            "0 off/standby 1 on (external control); setpoints are ignored silently unless 1",
            writable=True,
            low=0,
            high=1,
            default=0,
        ),
    ]
    grid_mode: Annotated[
        GridMode | None,
        Reg(
            2,
            U16,
            1,
            "enum",
            "station.mgmt.grid_mgmt_mode",
            "0 automatic (clearance) 1 manual (per-unit P_grid)",
            writable=True,
            low=0,
            high=1,
            default=0,
        ),
    ]
    energy_saving: Annotated[
        EnergySaving | None,
        Reg(
            4,
            U16,
            1,
            "enum",
            "station.mgmt.energy_saving_mode_reaction_speed",
            "0 fast (always awake) 1 slow (sleeps after 60 s idle)",
            writable=True,
            low=0,
            high=1,
            default=0,
        ),
    ]
    clearance_kw: Annotated[
        float | None,
        Reg(
            6,
            U32,
            0.001,
            "W",
            "station.mgmt.P_grid_clearance",
            "import ceiling of the whole station; at most the connection's 87 kVA",
            writable=True,
            low=0,
            high=87_000,
            default="P_grid_clearance_cfg",
        ),
    ]
    request_kw: Annotated[
        float | None,
        Reg(
            8,
            I32,
            -0.001,
            "W",
            "station.mgmt.P_grid_request",
            "requested grid power in automatic mode; negative = import; -2147483648 = no request (power-on "
            "and post-trip value); published at 2505 where one word cannot hold it",
            writable=True,
            low=-87_000,
            high=87_000,
            default=NO_REQUEST,
            source="assumed",
        ),
    ]
    gradient_mode: Annotated[
        GradientMode | None,
        Reg(
            12,
            U16,
            1,
            "enum",
            "station.mgmt.power_gradient_mode",
            "0 none 1 VDE-AR-N 4105 third-party gradient",
            writable=True,
            low=0,
            high=1,
            default=0,
        ),
    ]
    controller_name: Annotated[
        str | None,
        Reg(
            14,
            TEXT,
            1,
            "text",
            "station.mgmt.external_control_id",
            "name of the controlling EMS; at most 32 ASCII characters",
            writable=True,
            default="",
        ),
    ]


class StationConfig(Struct, frozen=True, kw_only=True):
    """The battery window, and what holds when external control is lost."""

    soc_max_pct: Annotated[
        float | None,
        Reg(
            0,
            U16,
            1,
            "%",
            "station.config.soc_cp_max",
            "state of charge up to which the batteries are charged; must not exceed the hardware ceiling",
            writable=True,
            low=0,
            high=95,
            default=90,
        ),
    ]
    soc_reserve_pct: Annotated[
        float | None,
        Reg(
            2,
            U16,
            1,
            "%",
            "station.config.soc_reserve",
            "state of charge kept back: at or below it the battery no longer assists an EV",
            writable=True,
            low=0,
            high=95,
            default=20,
        ),
    ]
    fallback_clearance_kw: Annotated[
        float | None,
        Reg(
            5,
            U32,
            0.001,
            "W",
            "station.config.P_grid_clearance_cfg",
            "import ceiling that applies when external control is lost",
            default=40_000,
            source="assumed",
        ),
    ]


class ChargerStatus(Struct, frozen=True, kw_only=True):
    """One outlet and its power unit."""

    charging_state: Annotated[
        ChargingState | None,
        Reg(0, U16, 1, "enum", "charger.status.charging_state", "0 not_available 1 available 2 in_progress"),
    ]
    process_state: Annotated[
        ProcessState | None,
        Reg(
            1,
            U16,
            1,
            "enum",
            "charger.status.charging_process_state",
            "0 offline 1 ready_to_charge 2 authorization 3 charging_setup 4 charging 5 charging_teardown 6 "
            "charging_finished 7 charging_error",
        ),
    ]
    plug_state: Annotated[
        PlugState | None, Reg(2, U16, 1, "enum", "charger.status.plug_state", "0 unplugged 1 plugged")
    ]
    outlet_max_kw: Annotated[
        float | None,
        Reg(
            4,
            U32,
            0.001,
            "W",
            "charger.status.P_cp_max",
            "power that this charge point's hardware can deliver now",
            source="published (type assumed)",
        ),
    ]
    ev_kw: Annotated[float | None, Reg(8, I32, 0.001, "W", "charger.status.P_EV", "power delivered to the EV")]
    ev_max_kw: Annotated[
        float | None,
        Reg(
            10,
            I32,
            0.001,
            "W",
            "charger.status.P_EV_max",
            "power that the EV said it accepts (a handshake value on field units)",
        ),
    ]
    ev_soc_pct: Annotated[
        float | None, Reg(20, U16, 1, "%", "charger.status.soc_EV", "EV state of charge; 65535 = not available")
    ]
    ev_energy_kwh: Annotated[
        float | None, Reg(21, F32, 1, "kWh", "charger.status.E_EV_chg", "charged energy; internal counter")
    ]
    time_to_bulk_s: Annotated[
        float | None,
        Reg(
            24,
            U32,
            1,
            "s",
            "charger.status.t_bulk",
            "time to bulk state of charge as the EV reports it; 4294967295 = not available",
        ),
    ]
    time_to_full_s: Annotated[
        float | None,
        Reg(26, U32, 1, "s", "charger.status.t_full", "time to full as the EV reports it; 4294967295 = not available"),
    ]
    session_energy_kwh: Annotated[
        float | None,
        Reg(28, F32, 1, "kWh", "charger.status.E_EVse", "session energy of the MID DC meter (billing grade)"),
    ]
    boost_contactor: Annotated[
        ContactorState | None,
        Reg(31, U16, 1, "enum", "charger.status.boost_contactor_state", "0 undefined 1 open 2 closed"),
    ]
    import_max_kw: Annotated[
        float | None, Reg(36, F32, 0.001, "W", "charger.status.P_grid_chg_max", "highest grid import at this unit now")
    ]
    export_max_kw: Annotated[
        float | None,
        Reg(38, F32, 0.001, "W", "charger.status.P_grid_dischg_max", "highest grid export at this unit now"),
    ]
    grid_contactor: Annotated[
        ContactorState | None,
        Reg(44, U16, 1, "enum", "charger.status.grid_contactor_state", "0 undefined 1 open 2 closed"),
    ]


class BatteryStatus(Struct, frozen=True, kw_only=True):
    """One of the two battery strings, 110 kW each."""

    battery_kw: Annotated[
        float | None,
        Reg(
            0,
            F32,
            0.001,
            "W",
            "charger.status.battery.P_bat",
            "battery power; producer counting: positive = discharge (field behaviour; the paper says the opposite)",
        ),
    ]
    soc_pct: Annotated[
        float | None, Reg(6, U16, 1, "%", "charger.status.battery.soc_cp", "battery state of charge; whole percent")
    ]
    temperature_min_c: Annotated[
        float | None, Reg(8, F32, 1, "degC", "charger.status.battery.T_bat_min", "coldest cell")
    ]
    temperature_max_c: Annotated[
        float | None, Reg(10, F32, 1, "degC", "charger.status.battery.T_bat_max", "warmest cell")
    ]
    charge_max_kw: Annotated[
        float | None,
        Reg(
            12,
            F32,
            0.001,
            "W",
            "charger.status.battery.P_bat_chg_max",
            "charge power possible now (derated by temperature and state of charge)",
        ),
    ]
    discharge_max_kw: Annotated[
        float | None,
        Reg(14, F32, 0.001, "W", "charger.status.battery.P_bat_dischg_max", "discharge power possible now"),
    ]
    energy_to_empty_kwh: Annotated[
        float | None, Reg(16, F32, 1, "kWh", "charger.status.battery.E_empty", "energy until empty")
    ]
    energy_to_full_kwh: Annotated[
        float | None, Reg(18, F32, 1, "kWh", "charger.status.battery.E_full", "energy until full")
    ]
    battery_contactor: Annotated[
        ContactorState | None,
        Reg(24, U16, 1, "enum", "charger.status.battery.battery_contactor_state", "0 undefined 1 open 2 closed"),
    ]


class ChargerControl(Struct, frozen=True, kw_only=True):
    """The external EMS's levers on one outlet and its unit."""

    charging_mode: Annotated[
        ChargingMode | None,
        Reg(
            0,
            U16,
            1,
            "enum",
            "charger.mgmt.charging_mode",
            "0 off 1 single (150 kW) 2 dual coupled (300 kW) 3 disabled (battery and grid only)",
            writable=True,
            low=0,
            high=3,
            default=1,
        ),
    ]
    ev_limit_kw: Annotated[
        float | None,
        Reg(
            1,
            U32,
            0.001,
            "W",
            "charger.mgmt.P_cp_lim",
            "ceiling of EV power; 0 = no charging; above 300000 counts as 300000",
            writable=True,
            low=0,
            high=300_000,
            default=150_000,
            clamps=True,
        ),
    ]
    ev_limit_a: Annotated[
        float | None,
        Reg(
            3,
            U32,
            1,
            "A",
            "charger.mgmt.I_cp_lim",
            "ceiling of EV current; 0 = no charging; above 500 counts as 500",
            writable=True,
            low=0,
            high=500,
            default=500,
            clamps=True,
        ),
    ]
    grid_target_kw: Annotated[
        float | None,
        Reg(
            5,
            I32,
            -0.001,
            "W",
            "charger.mgmt.P_grid",
            "grid power target of this unit in manual mode; producer counting: negative = import",
            writable=True,
            low=-87_000,
            high=87_000,
            default=0,
        ),
    ]
    soc_max_pct: Annotated[
        float | None,
        Reg(
            9,
            U16,
            1,
            "%",
            "charger.mgmt.soc_cp_max",
            "charge ceiling of this unit; at most station.config.soc_cp_max",
            writable=True,
            low=0,
            high=95,
            default=90,
        ),
    ]


class PvMeter(Struct, frozen=True, kw_only=True):
    """The PV inverter, where a station has one."""

    pv_kw: Annotated[float | None, Reg(0, F32, 0.001, "W", "pv.P_ac", "AC power of the PV inverter", source="assumed")]
    pv_energy_kwh: Annotated[
        float | None, Reg(2, F32, 1, "kWh", "pv.E_ac", "AC energy counter; never falls", source="assumed")
    ]


class PvControl(Struct, frozen=True, kw_only=True):
    """Curtailment of the PV inverter."""

    pv_limit_kw: Annotated[
        float | None,
        Reg(
            0,
            U32,
            0.001,
            "W",
            "pv.P_limit",
            "curtailment: highest AC power allowed",
            writable=True,
            low=0,
            high=150_000,
            default=150_000,
            source="assumed",
        ),
    ]


GRID = Span("grid", Table.INPUT, 1000, GridMeter)
STATUS = Span("status", Table.INPUT, 2000, StationStatus)
WARNINGS = Span("warnings", Table.INPUT, 2100, WarningBits)
ERRORS = Span("errors", Table.INPUT, 2110, ErrorBits)
MANAGEMENT = Span("management", Table.HOLDING, 2500, Management)
CONFIG = Span("config", Table.HOLDING, 515, StationConfig)
CHARGER_1 = Span("charger_1", Table.INPUT, 3000, ChargerStatus)
CHARGER_2 = Span("charger_2", Table.INPUT, 3000 + CHARGER_2_OFFSET, ChargerStatus)
BATTERY_1 = Span("charger_1.battery", Table.INPUT, 7000, BatteryStatus)
BATTERY_2 = Span("charger_2.battery", Table.INPUT, 7000 + CHARGER_2_OFFSET, BatteryStatus)
CONTROL_1 = Span("charger_1.control", Table.HOLDING, 12000, ChargerControl)
CONTROL_2 = Span("charger_2.control", Table.HOLDING, 12000 + CHARGER_2_OFFSET, ChargerControl)
PV_METER = Span("pv", Table.INPUT, 100, PvMeter, unit_id=PV_UNIT)
PV_CONTROL = Span("pv.control", Table.HOLDING, 200, PvControl, unit_id=PV_UNIT)

CHARGERS = (CHARGER_1, CHARGER_2)
BATTERIES = (BATTERY_1, BATTERY_2)
CONTROLS = (CONTROL_1, CONTROL_2)

SPANS: tuple[Span[Any], ...] = (
    GRID,
    STATUS,
    WARNINGS,
    ERRORS,
    MANAGEMENT,
    CONFIG,
    *CHARGERS,
    *BATTERIES,
    *CONTROLS,
    PV_METER,
    PV_CONTROL,
)
"""Every span of the map; `Any` because each has its own struct."""

READ_BLOCKS: tuple[Block, ...] = tuple(
    Block(unit_id=unit_id, table=table, address=first, count=last - first + 1)
    for unit_id, table, first, last in (
        (STATION_UNIT, Table.HOLDING, 515, 521),
        (STATION_UNIT, Table.INPUT, 1000, 1027),
        (STATION_UNIT, Table.INPUT, 2000, 2013),
        (STATION_UNIT, Table.INPUT, 2100, 2100),
        (STATION_UNIT, Table.INPUT, 2110, 2110),
        (STATION_UNIT, Table.HOLDING, 2500, 2529),
        (STATION_UNIT, Table.INPUT, 3000, 3044),
        (STATION_UNIT, Table.INPUT, 7000, 7024),
        (STATION_UNIT, Table.HOLDING, 12000, 12010),
        (STATION_UNIT, Table.INPUT, 13000, 13044),
        (STATION_UNIT, Table.INPUT, 17000, 17024),
        (STATION_UNIT, Table.HOLDING, 22000, 22010),
        (PV_UNIT, Table.INPUT, 100, 103),
        (PV_UNIT, Table.HOLDING, 200, 201),
    )
)
"""What a station answers at all: a request inside one block succeeds, anything else is exception 02."""


def all_fields() -> Iterator[Field]:
    """Every register of both units and both chargers, span by span, in the order of addresses."""
    for span in SPANS:
        yield from sorted(span.fields.values(), key=lambda field: field.address)
