"""The loop that turns "battery power" into a grid target which follows the car, every second.

This machine has no battery setpoint register. In automatic mode the station is asked for an import; in manual mode
each unit gets a grid target. Either way the target is re-written as cars ramp, so that the battery delivers the wish
inside the envelope. A curtailed car's power is not its demand: with a car charging and nothing left to discharge, the
whole clearance is written.
"""

from math import isfinite
from typing import Literal, TypeAlias

from msgspec import Struct

from services.amperio.site.image import SiteImage
from services.amperio.site.limits import CHARGEPOST, LimitsInForce
from services.amperio.site.trust import Trusted
from shared.contract.telemetry import LimitedBy
from shared.energy.envelope import TOLERANCE_KW, Aim, Envelope, Load, aim
from shared.units import clamp

WARM_C, COLD_C = 45.0, 0.0
LEAST_DISCHARGE_KW = 2.0
FULL_ASSIST_ABOVE_PCT = 30.0
ONE_SIDED_GAP_PCT = 20.0
DEFAULT_CHARGER_EFFICIENCY = 0.95

Quantity: TypeAlias = Literal["battery", "import"]


class Wish(Struct, frozen=True, kw_only=True):
    """What is asked of the site now, by a command or a slot: battery power, or import at the meter."""

    quantity: Quantity
    kw: float
    command_id: str | None = None
    source: str = "command"


class Setpoint(Struct, frozen=True, kw_only=True):
    """What the loop makes of a wish in one second; `request_kw` None = no request, the reactive rule."""

    request_kw: float | None = None
    unit_targets_kw: tuple[float, float] | None = None
    wish_kw: float | None = None
    aim: Aim | None = None


REACTIVE = Setpoint()


def envelope_of(image: SiteImage, trusted: Trusted, limits: LimitsInForce) -> Envelope:
    """The limits of this second: each string gives what it may, and none is drained for the other's sake."""
    charge_kw = discharge_kw = 0.0
    charge_limit = discharge_limit = LimitedBy.RATING
    for battery, soc_pct, authority in zip(image.batteries, trusted.soc_pct, trusted.soc_authority, strict=True):
        if battery is None or soc_pct is None:
            charge_limit = discharge_limit = LimitedBy.SOC_RESERVE
            continue
        charge_max = min(battery.charge_max_kw or 0.0, limits.charge_max_kw) * authority
        discharge_max = min(battery.discharge_max_kw or 0.0, limits.discharge_max_kw) * authority
        hot_or_cold = (battery.temperature_max_c or 0.0) >= WARM_C or (battery.temperature_min_c or 1.0) <= COLD_C
        if soc_pct >= limits.soc_max_pct:
            charge_max = 0.0
        if soc_pct <= limits.reserve_pct:
            discharge_max = 0.0
        if charge_max < limits.charge_max_kw - TOLERANCE_KW:
            charge_limit = LimitedBy.THERMAL if hot_or_cold else LimitedBy.SOC_MAX
        if discharge_max < limits.discharge_max_kw - TOLERANCE_KW:
            low = soc_pct <= max(limits.reserve_pct, FULL_ASSIST_ABOVE_PCT)
            discharge_limit = LimitedBy.THERMAL if hot_or_cold and not low else LimitedBy.SOC_RESERVE
        charge_kw += charge_max
        discharge_kw += discharge_max
    return Envelope(
        import_max_kw=limits.import_max_kw,
        export_max_kw=limits.export_max_kw,
        charge_max_kw=charge_kw,
        discharge_max_kw=discharge_kw,
        charge_limit=charge_limit,
        discharge_limit=discharge_limit,
    )


def settle(
    wish: Wish | None,
    image: SiteImage,
    trusted: Trusted,
    limits: LimitsInForce,
    *,
    manual: bool,
    charger_efficiency: float = DEFAULT_CHARGER_EFFICIENCY,
) -> Setpoint:
    """One second of control. Without a wish the station's own reactive rule acts under the clearance."""
    if wish is None:
        return REACTIVE
    assert isfinite(wish.kw)
    envelope = envelope_of(image, trusted, limits)
    ev_kw = trusted.ev_total_kw
    charging = any(image.charging(index) for index in range(len(image.chargers)))
    if ev_kw is None or trusted.own_kw is None:
        # Without a reading of the car or of own consumption there is no target that serves; the station does.
        return Setpoint(request_kw=limits.import_max_kw if charging else None, wish_kw=_battery_wish(wish, None))
    load = Load(ev_kw=ev_kw, own_kw=trusted.own_kw, pv_kw=trusted.pv_kw)
    wish_kw = _battery_wish(wish, load)
    assert wish_kw is not None
    aimed = aim(wish_kw, load, envelope)
    import_kw = aimed.import_kw
    if charging and envelope.discharge_max_kw < LEAST_DISCHARGE_KW:
        import_kw = limits.import_max_kw
    if manual:
        targets = unit_targets_kw(aimed, image, trusted, limits, charger_efficiency)
        return Setpoint(unit_targets_kw=targets, wish_kw=wish_kw, aim=aimed)
    return Setpoint(request_kw=clamp(import_kw, 0.0, limits.import_max_kw), wish_kw=wish_kw, aim=aimed)


def _battery_wish(wish: Wish, load: Load | None) -> float | None:
    """A wish for import is a wish for the battery power that leaves this import at the meter."""
    if wish.quantity == "battery":
        return wish.kw
    return None if load is None else load.ev_kw + load.own_kw - load.pv_kw - wish.kw


def unit_targets_kw(
    aimed: Aim, image: SiteImage, trusted: Trusted, limits: LimitsInForce, charger_efficiency: float
) -> tuple[float, float]:
    """Manual mode: the units' grid targets, own consumption not included, shared out by state of charge."""
    loads = [(power or 0.0) / charger_efficiency for power in trusted.ev_kw]
    ceiling_kw = max(limits.import_max_kw - (trusted.own_kw or 0.0), 0.0)
    total_kw = min(max(sum(loads) - aimed.battery_kw, 0.0), ceiling_kw, 2.0 * CHARGEPOST.unit_kva)
    batteries = split_kw(sum(loads) - total_kw, image, trusted, limits)
    targets = [load - battery for load, battery in zip(loads, batteries, strict=True)]
    return _within_converters(targets[0], total_kw)


def split_kw(battery_kw: float, image: SiteImage, trusted: Trusted, limits: LimitsInForce) -> tuple[float, float]:
    """The lower string gets more charge, the higher more discharge, one-sided from a gap of 20 points on."""
    first, second = trusted.soc_pct[0], trusted.soc_pct[1]
    lead = 0.0 if first is None or second is None else (first - second) / (2.0 * ONE_SIDED_GAP_PCT)
    share = clamp(0.5 + (lead if battery_kw >= 0.0 else -lead), 0.0, 1.0)
    most = [_unit_max_kw(image, index, limits, discharge=battery_kw >= 0.0) for index in (0, 1)]
    magnitude = abs(battery_kw)
    one = min(magnitude * share, most[0])
    two = min(magnitude - one, most[1])
    one = min(magnitude - two, most[0])
    sign = 1.0 if battery_kw >= 0.0 else -1.0
    return sign * one, sign * two


def _unit_max_kw(image: SiteImage, index: int, limits: LimitsInForce, *, discharge: bool) -> float:
    battery = image.batteries[index]
    if battery is None:
        return 0.0
    if discharge:
        return min(battery.discharge_max_kw or 0.0, limits.discharge_max_kw)
    return min(battery.charge_max_kw or 0.0, limits.charge_max_kw)


def _within_converters(one_kw: float, total_kw: float) -> tuple[float, float]:
    """Each grid-side converter carries 87 kVA; what one cannot, the other does; the sum stays as it is."""
    most = CHARGEPOST.unit_kva
    one = min(max(one_kw, -most, total_kw - most), most, total_kw + most)
    return one, total_kw - one
