"""Hardware ∩ configuration ∩ commands ∩ grid operator ∩ mode: the limits in force in this cycle."""

from datetime import datetime

import msgspec
from msgspec import Struct

from services.amperio.site.autonomy import CONSERVATIVE
from shared.contract.config import SiteConfig
from shared.contract.dispatch import GridOperatorLimit
from shared.contract.telemetry import Mode


class Nameplate(Struct, frozen=True, kw_only=True):
    """What the machine can do at most, whatever anybody configures (chargepost.md section 1)."""

    import_max_kw: float = 87.0
    unit_kva: float = 87.0
    unit_battery_kw: float = 110.0
    units: int = 2
    outlet_kw: float = 150.0
    coupled_kw: float = 300.0
    soc_floor_pct: float = 10.0
    soc_ceiling_pct: float = 95.0


CHARGEPOST = Nameplate()
FALLBACK_IMPORT_KW = 40.0
FALLBACK_RESERVE_PCT = 30.0
WATCHDOG_S = 10


class Held(Struct, frozen=True, kw_only=True):
    """Limits and modes that commands left behind; they stay until replaced, also over a restart."""

    grid_limit_kw: float | None = None
    reserve_pct: float | None = None
    soc_max_pct: float | None = None
    charger_limits_kw: tuple[float | None, float | None] = (None, None)
    charging_modes: tuple[str | None, str | None] = (None, None)
    external: bool = True
    operator: GridOperatorLimit | None = None
    throttled: bool = False
    """The outlets' ceilings are ours for now, because the battery is below its reserve."""


class LimitsInForce(Struct, frozen=True, kw_only=True):
    """One cycle's limits; every number is finite: "unlimited" is not a state."""

    import_max_kw: float
    export_max_kw: float
    reserve_pct: float
    soc_max_pct: float
    charge_max_kw: float
    """Of each unit."""
    discharge_max_kw: float
    watchdog_s: int
    operator_limited: bool = False


def limits_in_force(
    at: datetime, mode: Mode, config: SiteConfig | None, held: Held, *, fallback_clearance_kw: float | None
) -> LimitsInForce:
    """`fallback_clearance_kw` is the station's own ceiling without control (register 520), where known."""
    grid = config.grid if config else None
    battery = config.battery if config else None
    safety = config.safety if config else None
    imports = [CHARGEPOST.import_max_kw]
    if grid is not None:
        imports += [grid.import_limit_kw, grid.connection_kva]
    if held.grid_limit_kw is not None:
        imports.append(held.grid_limit_kw)
    operator_kw = operator_cap_kw(at, held.operator)
    if operator_kw is not None:
        imports.append(operator_kw)
    reserve_pct = held.reserve_pct if held.reserve_pct is not None else (battery.soc_reserve_pct if battery else None)
    reserve_pct = CHARGEPOST.soc_floor_pct if reserve_pct is None else reserve_pct
    soc_max_pct = held.soc_max_pct if held.soc_max_pct is not None else (battery.soc_max_pct if battery else 90.0)
    if mode in CONSERVATIVE or config is None:
        imports.append(safety.fallback_import_kw if safety else FALLBACK_IMPORT_KW)
        if fallback_clearance_kw is not None:
            imports.append(fallback_clearance_kw)
        reserve_pct = max(reserve_pct, safety.fallback_reserve_pct if safety else FALLBACK_RESERVE_PCT)
    soc_max_pct = min(soc_max_pct, CHARGEPOST.soc_ceiling_pct)
    return LimitsInForce(
        import_max_kw=max(min(imports), 0.0),
        export_max_kw=grid.export_limit_kw if grid and grid.export_allowed else 0.0,
        reserve_pct=min(reserve_pct, soc_max_pct - 1.0),
        soc_max_pct=soc_max_pct,
        charge_max_kw=_unit_kw(config, charging=True),
        discharge_max_kw=_unit_kw(config, charging=False),
        watchdog_s=safety.watchdog_s if safety else WATCHDOG_S,
        operator_limited=operator_kw is not None and operator_kw <= min(imports),
    )


def operator_cap_kw(at: datetime, cap: GridOperatorLimit | None) -> float | None:
    """The grid operator's cap where it is in force; without an end it holds until it is withdrawn."""
    if cap is None or at < cap.from_ or (cap.until is not None and at >= cap.until):
        return None
    return cap.import_kw


def _unit_kw(config: SiteConfig | None, *, charging: bool) -> float:
    if config is None:
        return CHARGEPOST.unit_battery_kw
    units = config.battery.units
    return min(
        CHARGEPOST.unit_battery_kw, *(unit.charge_max_kw if charging else unit.discharge_max_kw for unit in units)
    )


class ConfigRefused(Struct, frozen=True, kw_only=True):
    """Why a configuration cannot be applied to this machine."""

    reason: str


def check_config(config: SiteConfig, site_id: str) -> ConfigRefused | None:
    """None where this machine can live with the version; else the reason, for Enexa and its people."""
    reasons = (
        (config.site_id != site_id, f"the version is for {config.site_id}"),
        (len(config.battery.units) != CHARGEPOST.units, f"a ChargePost has {CHARGEPOST.units} battery units"),
        (len(config.chargers) != CHARGEPOST.units, f"a ChargePost has {CHARGEPOST.units} outlets"),
        (
            config.grid.import_limit_kw > CHARGEPOST.import_max_kw,
            f"grid.import_limit_kw is above the connection's {CHARGEPOST.import_max_kw:g} kW",
        ),
        (
            config.battery.soc_reserve_pct >= config.battery.soc_max_pct,
            "battery.soc_reserve_pct must be below battery.soc_max_pct",
        ),
        (
            config.battery.soc_min_pct > config.battery.soc_reserve_pct,
            "battery.soc_min_pct must not be above battery.soc_reserve_pct",
        ),
        (
            config.battery.soc_max_pct > CHARGEPOST.soc_ceiling_pct,
            f"battery.soc_max_pct is above the hardware's {CHARGEPOST.soc_ceiling_pct:g} %",
        ),
        (
            config.safety.fallback_import_kw > config.grid.import_limit_kw,
            "safety.fallback_import_kw must not be above grid.import_limit_kw",
        ),
    )
    for broken, reason in reasons:
        if broken:
            return ConfigRefused(reason=reason)
    return None


def without_operator(held: Held) -> Held:
    return msgspec.structs.replace(held, operator=None)
