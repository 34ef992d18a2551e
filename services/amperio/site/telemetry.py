"""One image and what was decided on it, as the telemetry message of that second."""

from collections.abc import Sequence

from msgspec import Struct

from services.amperio.site.control import Setpoint
from services.amperio.site.image import SiteImage
from services.amperio.site.trust import Trusted
from shared.chargepost.registers import BatteryStatus
from shared.chargepost.states import Errors, PlugState, Warnings
from shared.contract.telemetry import (
    Battery,
    BatteryUnit,
    Charger,
    Control,
    Grid,
    Mode,
    Station,
    Telemetry,
)
from shared.contract.wire import Quality
from shared.moment import Moment

WHOLE = ("battery", "grid", "chargers", "aux_kw")


class Told(Struct, frozen=True, kw_only=True):
    """What the middleware adds of itself to a sample."""

    mode: Mode
    active_command_id: str | None = None
    buffered_count: int = 0
    session_ids: tuple[str | None, ...] = (None, None)
    session_kwh: tuple[float | None, ...] = (None, None)


def telemetry_of(site_id: str, image: SiteImage, trusted: Trusted, setpoint: Setpoint, told: Told) -> Telemetry:
    """The sample of `image`; what is doubtful is null or estimated, and flagged."""
    stale = not trusted.fresh
    return Telemetry(
        site_id=site_id,
        timestamp=image.at.at,
        battery=Battery() if stale else _battery(image, trusted),
        grid=Grid() if stale else _grid(image, trusted),
        chargers=() if stale else tuple(_charger(image, trusted, told, index) for index in range(2)),
        aux_kw=None if stale else _kw(trusted.own_kw),
        pv_kw=_kw(image.pv.pv_kw) if image.pv and not stale else None,
        station=_station(image, told),
        control=_control(setpoint),
        active_command_id=told.active_command_id,
        quality=trusted.quality,
    )


def blind_telemetry(site_id: str, now: Moment, told: Told) -> Telemetry:
    """A second without an image: everything unknown, and said so."""
    return Telemetry(
        site_id=site_id,
        timestamp=now.at,
        station=Station(mode=told.mode, buffered_count=told.buffered_count, external_control=None),
        active_command_id=told.active_command_id,
        quality=dict.fromkeys(WHOLE, Quality.STALE),
    )


def _battery(image: SiteImage, trusted: Trusted) -> Battery:
    hottest = [unit.temperature_max_c for unit in image.batteries if unit and unit.temperature_max_c is not None]
    return Battery(
        soc_pct=_round(trusted.soc_mean_pct, 2),
        power_kw=_kw(trusted.battery_kw),
        temp_c=_round(max(hottest), 2) if hottest else None,
        units=tuple(_unit(unit, soc) for unit, soc in zip(image.batteries, trusted.soc_pct, strict=True)),
    )


def _unit(battery: BatteryStatus | None, soc_pct: float | None) -> BatteryUnit:
    if battery is None:
        return BatteryUnit()
    return BatteryUnit(
        soc_pct=soc_pct,
        power_kw=_kw(battery.battery_kw),
        temp_min_c=_round(battery.temperature_min_c, 2),
        temp_max_c=_round(battery.temperature_max_c, 2),
        charge_max_kw=_kw(battery.charge_max_kw),
        discharge_max_kw=_kw(battery.discharge_max_kw),
        energy_to_full_kwh=_round(battery.energy_to_full_kwh, 3),
        energy_to_empty_kwh=_round(battery.energy_to_empty_kwh, 3),
    )


def _grid(image: SiteImage, trusted: Trusted) -> Grid:
    meter, management = image.grid, image.management
    power_kw = meter.grid_kw if meter else None
    return Grid(
        import_kw=None if power_kw is None else _kw(max(power_kw, 0.0)),
        export_kw=None if power_kw is None else _kw(max(-power_kw, 0.0)),
        frequency_hz=_round(meter.frequency_hz, 3) if meter else None,
        power_factor=_round(meter.power_factor_ratio, 3) if meter else None,
        import_kwh=_round(trusted.import_kwh, 4),
        export_kwh=_round(trusted.export_kwh, 4),
        clearance_kw=_kw(management.clearance_kw) if management else None,
        request_kw=_kw(management.request_kw) if management else None,
    )


def _charger(image: SiteImage, trusted: Trusted, told: Told, index: int) -> Charger:
    status, control = image.chargers[index], image.controls[index]
    if status is None:
        return Charger()
    return Charger(
        state=status.process_state.name.lower() if status.process_state is not None else None,
        plugged=None if status.plug_state is None else status.plug_state is PlugState.PLUGGED,
        power_kw=_kw(trusted.ev_kw[index]),
        ev_soc_pct=status.ev_soc_pct,
        session_id=told.session_ids[index],
        session_kwh=_round(told.session_kwh[index], 4),
        limit_kw=_kw(control.ev_limit_kw) if control else None,
        ev_max_kw=_kw(status.ev_max_kw),
    )


def _station(image: SiteImage, told: Told) -> Station:
    state = image.status.operation_state if image.status else None
    warnings = image.warnings.warnings if image.warnings else None
    return Station(
        state=state.name.lower() if state is not None else None,
        mode=told.mode,
        warnings=names(warnings),
        errors=names(image.error_bits),
        watchdog_s=image.status.watchdog_left_s if image.status else None,
        external_control=image.controlled if image.valid else None,
        buffered_count=told.buffered_count,
    )


def _control(setpoint: Setpoint) -> Control:
    if setpoint.aim is None:
        return Control(wish_kw=_kw(setpoint.wish_kw))
    return Control(
        wish_kw=_kw(setpoint.wish_kw), applied_kw=_kw(setpoint.aim.battery_kw), limited_by=setpoint.aim.limited_by
    )


def names(bits: Warnings | Errors | None) -> tuple[str, ...]:
    """The names of the bits that are set, undefined ones by their number."""
    if not bits:
        return ()
    known: Sequence[Warnings | Errors] = [bit for bit in type(bits) if bit & bits]
    rest = int(bits) & ~sum(int(bit) for bit in known)
    unknown = tuple(f"bit_{index}" for index in range(16) if rest >> index & 1)
    return tuple(bit.name.lower() for bit in known if bit.name) + unknown


def _kw(value: float | None) -> float | None:
    return None if value is None else round(value, 3) + 0.0


def _round(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
