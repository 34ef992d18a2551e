"""What a period came to: measured minutes become quarter hours, the settlement prices them, gaps are told.

Only what was measured counts. A minute without samples adds nothing and lowers the coverage; a quarter hour without a
price is left out and counted. What the reactive rule or perfect foresight would have paid for the same demand is not
answered here: that takes the engine, see `bounds.py`.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta

from msgspec import Struct

from services.enexa.market.emissions import CO2_KG_PER_KWH
from services.enexa.market.prices import PriceSeries
from services.enexa.market.settlement import Settlement, SlotEnergy, settle
from services.enexa.market.tariffs import Tariff
from shared.contract.reads import Point
from shared.energy.slots import slot_start

MINUTE_H = 1.0 / 60.0
MINUTES_PER_SLOT = 15
NO_PLAN = "no plan"


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

    @property
    def co2_kg(self) -> float:
        """Of the imported energy."""
        return CO2_KG_PER_KWH * self.total("import_kwh")


class Cause(Struct, frozen=True, kw_only=True):
    """What the plan's slots of one reason brought; the cents of all causes add up to the value of timing."""

    reason: str
    slots_count: int
    charged_kwh: float
    discharged_kwh: float
    timing_value_cents: int


class DayLine(Struct, frozen=True, kw_only=True):
    """One local day of a period; money in whole cents, which add up over the period."""

    day: date
    coverage_pct: float
    net_saving_cents: int
    timing_value_cents: int
    wear_cents: int
    import_kwh: float
    pv_kwh: float
    ev_kwh: float
    co2_kg: float
    peak_15min_kw: float | None
    sessions_count: int


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


def by_cause(view: ImpactView, reasons: Mapping[datetime, str]) -> tuple[Cause, ...]:
    """The settled slots by the reason of the plan's slot in force, the most valuable first."""
    groups: dict[str, list[int]] = {}
    for index, energy in enumerate(view.energies):
        groups.setdefault(reasons.get(energy.start, NO_PLAN), []).append(index)
    causes = (
        Cause(
            reason=reason,
            slots_count=len(indices),
            charged_kwh=math.fsum(view.energies[index].charged_kwh for index in indices),
            discharged_kwh=math.fsum(view.energies[index].discharged_kwh for index in indices),
            timing_value_cents=sum(view.settlement.slots[index].timing_value_cents for index in indices),
        )
        for reason, indices in groups.items()
    )
    return tuple(sorted(causes, key=lambda each: -each.timing_value_cents))


def day_line(view: ImpactView, day: date, sessions_count: int) -> DayLine:
    """A day's view as one line of a period."""
    slots = view.settlement.slots
    return DayLine(
        day=day,
        coverage_pct=view.coverage_pct,
        net_saving_cents=sum(slot.net_saving_cents for slot in slots),
        timing_value_cents=sum(slot.timing_value_cents for slot in slots),
        wear_cents=sum(slot.wear_cents for slot in slots),
        import_kwh=view.total("import_kwh"),
        pv_kwh=view.total("pv_kwh"),
        ev_kwh=view.total("ev_kwh"),
        co2_kg=view.co2_kg,
        peak_15min_kw=view.peak_15min_kw,
        sessions_count=sessions_count,
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
