"""What a period came to: measured minutes become quarter hours, the settlement prices them, gaps are told.

Only what was measured counts. A minute without samples adds nothing and lowers the coverage; a quarter hour without a
price is left out and counted. Whether another controller would have done better is not answered here: that is a
simulation, and belongs to What-If.
"""

import math
from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from services.enexa.market.prices import PriceSeries
from services.enexa.market.settlement import Settlement, SlotEnergy, settle
from services.enexa.market.tariffs import Tariff
from shared.contract.reads import Point
from shared.energy.slots import slot_start

MINUTE_H = 1.0 / 60.0
MINUTES_PER_SLOT = 15


class ImpactView(Struct, frozen=True, kw_only=True):
    """A period, settled; energies in kWh over the minutes that were measured."""

    start: datetime
    until: datetime
    coverage_pct: float
    settlement: Settlement
    energies: tuple[SlotEnergy, ...]
    unpriced_count: int
    peak_15min_kw: float | None
    peak_at: datetime | None

    def total(self, name: str) -> float:
        """Sum of one kind of energy over the settled slots, for instance `import_kwh`."""
        return math.fsum(getattr(energy, name) for energy in self.energies)


def impact(
    points: Sequence[Point], prices: PriceSeries, tariff: Tariff, *, start: datetime, until: datetime
) -> ImpactView:
    """Settle the minutes in [start, until); `points` are minute means."""
    slots: dict[datetime, list[Point]] = {}
    for point in points:
        if start <= point.at < until:
            slots.setdefault(slot_start(point.at), []).append(point)
    energies = [(_energy(at, prices.price_at(at), minutes)) for at, minutes in sorted(slots.items())]
    priced = tuple(each for each in energies if each is not None)
    minutes_count = max(1.0, (until - start) / timedelta(minutes=1))
    measured_count = sum(1 for minutes in slots.values() for each in minutes if each.grid_kw is not None)
    whole = {at: minutes for at, minutes in slots.items() if len(minutes) == MINUTES_PER_SLOT}
    peak = max(((_import_kw(minutes), at) for at, minutes in whole.items()), default=None)
    return ImpactView(
        start=start,
        until=until,
        coverage_pct=min(100.0, 100.0 * measured_count / minutes_count),
        settlement=settle(priced, tariff, (tariff.flat_eur_per_mwh or 0.0) / 1000.0),
        energies=priced,
        unpriced_count=len(energies) - len(priced),
        peak_15min_kw=peak[0] if peak else None,
        peak_at=peak[1] if peak else None,
    )


def _import_kw(minutes: list[Point]) -> float:
    return math.fsum(max(each.grid_kw or 0.0, 0.0) for each in minutes) / len(minutes)


def _energy(at: datetime, price_eur_per_mwh: float | None, minutes: list[Point]) -> SlotEnergy | None:
    """One slot's energies; None where it has no price."""
    if price_eur_per_mwh is None:
        return None

    def total(name: str, sign: float = 1.0) -> float:
        values = (getattr(each, name) for each in minutes)
        return MINUTE_H * math.fsum(max(sign * value, 0.0) for value in values if value is not None)

    return SlotEnergy(
        start=at,
        price_eur_per_mwh=price_eur_per_mwh,
        import_kwh=total("grid_kw"),
        export_kwh=total("grid_kw", -1.0),
        pv_kwh=total("pv_kw"),
        ev_kwh=total("ev_kw"),
        own_kwh=total("aux_kw"),
        charged_kwh=total("battery_kw", -1.0),
        discharged_kwh=total("battery_kw"),
    )
