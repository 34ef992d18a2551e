"""One cycle's decoded spans, frozen: what a decision may see, and the telemetry made from it."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from services.amperio.site.reads import SPAN_BY_NAME, Reading
from shared.chargepost.registers import (
    BatteryStatus,
    ChargerControl,
    ChargerStatus,
    ErrorBits,
    GridMeter,
    Management,
    PvMeter,
    StationConfig,
    StationStatus,
    WarningBits,
)
from shared.chargepost.states import Errors, OperationMode, PlugState, ProcessState, Warnings
from shared.moment import Moment

NOT_OURS = Warnings.WATCHDOG_TRIGGERED | Warnings.NO_MODBUS_CONTROL
"""While one of these bits stands, setpoints are accepted on the wire and ignored."""
# Flags are tested as plain numbers: an enum's own `&` looks its members up, a dozen times a second and site.
_NOT_OURS, _TRIPPED, _STOPPED = int(NOT_OURS), int(Warnings.WATCHDOG_TRIGGERED), int(Errors.EMERGENCY_STOP)


class SiteImage(Struct, frozen=True, kw_only=True):
    """All spans of one cycle; a span is None where the station did not give it."""

    at: Moment
    grid: GridMeter | None = None
    status: StationStatus | None = None
    warnings: WarningBits | None = None
    errors: ErrorBits | None = None
    management: Management | None = None
    config: StationConfig | None = None
    chargers: tuple[ChargerStatus | None, ...] = (None, None)
    batteries: tuple[BatteryStatus | None, ...] = (None, None)
    controls: tuple[ChargerControl | None, ...] = (None, None)
    pv: PvMeter | None = None
    digest: int = 0
    """Changes whenever any input register changed; proof that the station is alive."""

    @property
    def valid(self) -> bool:
        """Whether the station said enough to be controlled: its mode, its warnings and its watchdog."""
        return (
            self.management is not None
            and self.management.operation_mode is not None
            and self.warnings is not None
            and self.warnings.warnings is not None
            and self.status is not None
            and self.status.watchdog_left_s is not None
        )

    @property
    def controlled(self) -> bool:
        """Whether setpoints count now: external mode is on and no warning says otherwise."""
        return self.valid and in_control(self.management, self.warnings)

    @property
    def tripped(self) -> bool:
        return self.warnings is not None and bool(int(self.warnings.warnings or 0) & _TRIPPED)

    @property
    def error_bits(self) -> Errors:
        bits = self.errors.errors if self.errors is not None else None
        return bits if bits is not None else Errors(0)

    @property
    def emergency_stop(self) -> bool:
        return bool(int(self.error_bits) & _STOPPED)

    def charging(self, charger: int) -> bool:
        """Whether a car is being charged at outlet 0 or 1, as far as the station says."""
        status = self.chargers[charger]
        return status is not None and status.process_state is ProcessState.CHARGING

    def plugged(self, charger: int) -> bool:
        status = self.chargers[charger]
        return status is not None and status.plug_state is PlugState.PLUGGED


def in_control(management: Management | None, warnings: WarningBits | None) -> bool:
    """2501 = 1 and bits 0 and 1 of 2100 clear, in one look."""
    if management is None or warnings is None or warnings.warnings is None:
        return False
    return management.operation_mode is OperationMode.ON and not int(warnings.warnings) & _NOT_OURS


_PLAUSIBLE: Mapping[str, tuple[tuple[str, float, float], ...]] = {
    "grid": (
        ("grid_kw", -200.0, 200.0),
        ("power_factor_ratio", -1.0, 1.0),
        ("frequency_hz", 40.0, 70.0),
        ("energy_imported_kwh", 0.0, 1e9),
        ("energy_exported_kwh", 0.0, 1e9),
        ("own_consumption_kw", 0.0, 80.0),
    ),
    "status": (("ambient_c", -50.0, 90.0), ("watchdog_left_s", 0.0, 60.0)),
    "charger": (
        ("ev_kw", 0.0, 400.0),
        ("ev_max_kw", 0.0, 1000.0),
        ("ev_soc_pct", 0.0, 100.0),
        ("outlet_max_kw", 0.0, 400.0),
        ("ev_energy_kwh", 0.0, 1e9),
        ("session_energy_kwh", 0.0, 1e9),
    ),
    "battery": (
        ("battery_kw", -180.0, 180.0),
        ("soc_pct", 0.0, 100.0),
        ("temperature_min_c", -50.0, 120.0),
        ("temperature_max_c", -50.0, 120.0),
        ("charge_max_kw", 0.0, 180.0),
        ("discharge_max_kw", 0.0, 180.0),
        ("energy_to_empty_kwh", 0.0, 1000.0),
        ("energy_to_full_kwh", 0.0, 1000.0),
    ),
    "pv": (("pv_kw", 0.0, 1000.0), ("pv_energy_kwh", 0.0, 1e9)),
}
"""What a healthy station can say at all; a value outside is as unknown as a sentinel."""

_PLACES: Mapping[str, tuple[str, int | None, str | None]] = {
    "grid": ("grid", None, "grid"),
    "status": ("status", None, "status"),
    "warnings": ("warnings", None, None),
    "errors": ("errors", None, None),
    "management": ("management", None, None),
    "config": ("config", None, None),
    "charger_1": ("chargers", 0, "charger"),
    "charger_2": ("chargers", 1, "charger"),
    "charger_1.battery": ("batteries", 0, "battery"),
    "charger_2.battery": ("batteries", 1, "battery"),
    "charger_1.control": ("controls", 0, None),
    "charger_2.control": ("controls", 1, None),
    "pv": ("pv", None, "pv"),
}


def image_of(now: Moment, readings: Iterable[Reading], before: SiteImage | None, *, keep: bool = False) -> SiteImage:
    """The readings of one cycle, decoded; `before` fills in what is read only in turn (`keep`: all the rest)."""
    found: dict[str, Any] = {"chargers": [None, None], "batteries": [None, None], "controls": [None, None]}
    if before is not None and keep:
        found |= {name: getattr(before, name) for name in ("grid", "status", "warnings", "errors", "management")}
        found |= {"chargers": list(before.chargers), "batteries": list(before.batteries)}
    if before is not None:
        found |= {"config": before.config, "controls": list(before.controls), "pv": before.pv}
    digest = 0
    for reading in readings:
        if reading.data is None:
            continue
        if reading.request.table.value == 4:
            digest ^= hash(reading.data) ^ reading.request.address
        for name in reading.request.spans:
            _place(found, name, reading)
    found |= {name: tuple(found[name]) for name in ("chargers", "batteries", "controls")}
    return SiteImage(at=now, digest=digest, **found)


def _place(found: dict[str, Any], name: str, reading: Reading) -> None:
    assert reading.data is not None
    span = SPAN_BY_NAME[name]
    attribute, index, bounds = _PLACES[name]
    decoded = span.decode_bytes(reading.data, 2 * (span.address - reading.request.address))
    if bounds is not None:
        decoded = _plausible(decoded, _PLAUSIBLE[bounds])
    if index is None:
        found[attribute] = decoded
    else:
        found[attribute][index] = decoded


def _plausible(decoded: Struct, bounds: tuple[tuple[str, float, float], ...]) -> Struct:
    doubtful = {
        name: None
        for name, low, high in bounds
        if (value := getattr(decoded, name)) is not None and not low <= value <= high
    }
    return msgspec.structs.replace(decoded, **doubtful) if doubtful else decoded
