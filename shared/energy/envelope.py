"""What a battery wish becomes in one second: cars first, limits always, and the reason told.

    need  = cars + own consumption - PV                 what the battery and the grid must bring together
    gap   = need - highest import                       the battery must discharge this much (or may charge -gap)
    spare = what cars still draw after PV (+ export)    the battery may discharge at most this much
    b     = clip(wish, max(gap, -charge), min(spare, discharge))      import = need - b

A car can turn a wish to charge into discharge, and without a car a wish to discharge becomes rest; both are clamps
and are told as such. Where the gap is larger than the battery can give, the cars are curtailed to what remains.
"""

from math import isfinite

from msgspec import Struct

from shared.contract.telemetry import LimitedBy

TOLERANCE_KW = 0.05
"""Below this difference a wish counts as fulfilled."""


class Load(Struct, frozen=True, kw_only=True):
    """What the site draws in this second, at the AC bus; own consumption includes conversion losses."""

    ev_kw: float = 0.0
    own_kw: float = 0.0
    pv_kw: float = 0.0


class Envelope(Struct, frozen=True, kw_only=True):
    """Hardware ∩ configuration ∩ grid operator ∩ state of charge, in this second; nothing here is negative.

    `charge_limit` and `discharge_limit` say what set the two battery powers.
    """

    import_max_kw: float
    charge_max_kw: float
    discharge_max_kw: float
    export_max_kw: float = 0.0
    charge_limit: LimitedBy = LimitedBy.RATING
    discharge_limit: LimitedBy = LimitedBy.RATING


class Aim(Struct, frozen=True, kw_only=True):
    """The battery power to aim at, the import that follows from it, and why it differs from the wish."""

    battery_kw: float
    import_kw: float
    limited_by: tuple[LimitedBy, ...] = ()
    curtailed: bool = False
    """Cars get less than they ask for: neither the grid limit nor the battery can give more."""


def aim(wish_kw: float, load: Load, envelope: Envelope) -> Aim:
    """The battery power nearest to the wish that the envelope and the cars allow."""
    assert isfinite(wish_kw)
    assert min(envelope.import_max_kw, envelope.charge_max_kw, envelope.discharge_max_kw) >= 0.0
    need_kw = load.ev_kw + load.own_kw - load.pv_kw
    gap_kw = need_kw - envelope.import_max_kw
    spare_kw = spare_for_discharge_kw(load) + envelope.export_max_kw
    low_kw = max(gap_kw, -envelope.charge_max_kw)
    high_kw = min(spare_kw, envelope.discharge_max_kw)
    battery_kw = _between(wish_kw, low_kw, high_kw, gap_kw, envelope.charge_max_kw)
    return Aim(
        battery_kw=battery_kw + 0.0,
        import_kw=min(max(need_kw - battery_kw, -envelope.export_max_kw), envelope.import_max_kw) + 0.0,
        limited_by=_reasons(wish_kw, battery_kw, gap_kw, spare_kw, envelope),
        curtailed=gap_kw > high_kw + TOLERANCE_KW and load.ev_kw > 0.0,
    )


def spare_for_discharge_kw(load: Load) -> float:
    """What the battery may cover without export: the cars' draw that PV leaves; never own consumption."""
    return load.ev_kw - max(load.pv_kw - load.own_kw, 0.0)


def _between(wish_kw: float, low_kw: float, high_kw: float, gap_kw: float, charge_max_kw: float) -> float:
    if gap_kw > high_kw:
        return high_kw
    if low_kw > high_kw:  # more PV than the battery can take
        return -charge_max_kw
    return min(max(wish_kw, low_kw), high_kw)


def _reasons(
    wish_kw: float, battery_kw: float, gap_kw: float, spare_kw: float, envelope: Envelope
) -> tuple[LimitedBy, ...]:
    if battery_kw < wish_kw - TOLERANCE_KW:
        return (LimitedBy.NO_EXPORT if spare_kw <= envelope.discharge_max_kw else envelope.discharge_limit,)
    if battery_kw > wish_kw + TOLERANCE_KW:
        if gap_kw > 0.0:
            return (LimitedBy.EV_MUST_SERVE,)
        return (LimitedBy.GRID_LIMIT if gap_kw > -envelope.charge_max_kw else envelope.charge_limit,)
    return ()
