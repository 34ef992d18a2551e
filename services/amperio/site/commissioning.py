"""Self-tests of a station before its site goes live: is it there, whole, believable, and safe without us?"""

from collections.abc import Sequence

from msgspec import Struct

from services.amperio.site.image import SiteImage
from services.amperio.site.limits import check_config
from services.amperio.site.orders import Outcome
from services.amperio.site.reads import Reading
from services.amperio.site.telemetry import names
from shared.chargepost.layout import RegisterWrite
from shared.chargepost.registers import MANAGEMENT
from shared.contract.config import SiteConfig
from shared.energy.balance import Flows, imbalance_kw

BALANCE_WITHIN_KW = 5.0
"""Three meters read one after another differ by what the station does meanwhile; a wrong sign or scale is more."""


class SelfTest(Struct, frozen=True, kw_only=True):
    """One question, and why it failed."""

    name: str
    passed: bool
    detail: str = ""


def trial_write(image: SiteImage) -> RegisterWrite | None:
    """The watchdog's interval as it stands, written once more: it proves that writes arrive and takes no control."""
    interval_s = image.management.watchdog_interval_s if image.management else None
    return None if interval_s is None else MANAGEMENT.write(watchdog_interval_s=interval_s)


def self_tests(
    site_id: str, config: SiteConfig, readings: Sequence[Reading], image: SiteImage, trial: Outcome | None
) -> tuple[SelfTest, ...]:
    """All of them, so that one visit to the station mends everything."""
    silent = [f"{reading.request.address}: {reading.error_code}" for reading in readings if reading.data is None]
    socs = [battery.soc_pct if battery else None for battery in image.batteries]
    refusal = check_config(config, site_id)
    questions = (
        ("registers", not silent, "not answered: " + ", ".join(silent)),
        ("state", image.valid, "mode, warnings or watchdog cannot be read"),
        ("outlets", None not in image.chargers, "an outlet gives no status"),
        ("batteries", None not in socs, "a string tells no state of charge"),
        ("balance", *_balance(image)),
        ("faults", not image.error_bits, "the station reports " + ", ".join(names(image.error_bits))),
        ("writes", trial is not None and trial.confirmed, "a write was not taken: " + _why(trial)),
        ("fallback", *_fallback(image, config)),
        ("configuration", refusal is None, refusal.reason if refusal else ""),
    )
    return tuple(SelfTest(name=name, passed=bool(good), detail="" if good else why) for name, good, why in questions)


def unsafe_fallback_kw(image: SiteImage, config: SiteConfig | None) -> float | None:
    """What the station would import on its own without us, where that is more than the site's fallback allows."""
    own_kw = image.config.fallback_clearance_kw if image.config else None
    if own_kw is None or config is None or own_kw <= config.safety.fallback_import_kw:
        return None
    return own_kw


def _balance(image: SiteImage) -> tuple[bool, str]:
    """A swapped word order, a flipped sign or another scale shows in the one identity of the bus."""
    grid_kw = image.grid.grid_kw if image.grid else None
    own_kw = image.grid.own_consumption_kw if image.grid else None
    powers = [battery.battery_kw if battery else None for battery in image.batteries]
    cars = [charger.ev_kw if charger else None for charger in image.chargers]
    battery_kw = sum(power for power in powers if power is not None)
    ev_kw = sum(power for power in cars if power is not None)
    if grid_kw is None or own_kw is None or None in powers or None in cars:
        return False, "a meter tells nothing"
    pv_kw = (image.pv.pv_kw if image.pv else None) or 0.0
    missed_kw = imbalance_kw(
        Flows(grid_kw=grid_kw, battery_kw=battery_kw, charger_kw=ev_kw, load_kw=own_kw, pv_kw=pv_kw)
    )
    return abs(missed_kw) <= BALANCE_WITHIN_KW, f"the meters miss each other by {missed_kw:.1f} kW"


def _fallback(image: SiteImage, config: SiteConfig) -> tuple[bool, str]:
    if image.config is None or image.config.fallback_clearance_kw is None:
        return False, "its ceiling without control (register 520) cannot be read"
    unsafe_kw = unsafe_fallback_kw(image, config)
    allowed_kw = config.safety.fallback_import_kw
    return unsafe_kw is None, f"without control it would import up to {unsafe_kw or 0.0:g} kW, allowed {allowed_kw:g}"


def _why(trial: Outcome | None) -> str:
    if trial is None:
        return "the watchdog's interval is unknown"
    return trial.error_code or "another value was read back"
