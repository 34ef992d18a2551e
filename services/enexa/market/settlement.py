"""Settlement per quarter hour: flat tariff against dynamic, what shifting was worth, closing to the cent.

Amounts are whole cents, rounded on the running sum: so every slot is at most a cent off, and the slots add up to the
totals exactly, with no line for rounding differences.

    procurement saving = flat cost of the import - dynamic cost of the import
    net saving         = procurement saving - battery wear
    timing value       = dynamic cost of the same demand without battery - dynamic cost of the import + export revenue
"""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from services.enexa.market.tariffs import Tariff
from shared.errors import BadInput

BALANCE_KWH = 1e-3


class SlotEnergy(Struct, frozen=True, kw_only=True):
    """What flowed in one slot; all one-way energies, kWh."""

    start: datetime
    price_eur_per_mwh: float
    import_kwh: float
    export_kwh: float
    pv_kwh: float
    ev_kwh: float
    own_kwh: float
    charged_kwh: float
    discharged_kwh: float

    def imbalance_kwh(self) -> float:
        """import - export + pv - (EV + own consumption + charged - discharged); 0 where the books close."""
        into = self.import_kwh - self.export_kwh + self.pv_kwh
        return into - (self.ev_kwh + self.own_kwh + self.charged_kwh - self.discharged_kwh)


class SlotMoney(Struct, frozen=True, kw_only=True):
    """One settled slot, in whole cents."""

    start: datetime
    flat_cents: int
    dynamic_cents: int
    export_cents: int
    wear_cents: int
    unshifted_cents: int

    @property
    def net_saving_cents(self) -> int:
        return self.flat_cents - self.dynamic_cents - self.wear_cents

    @property
    def timing_value_cents(self) -> int:
        return self.unshifted_cents - self.dynamic_cents + self.export_cents


class Settlement(Struct, frozen=True, kw_only=True):
    """Settled slots with their totals, EUR; the totals are sums of the slots, to the cent."""

    slots: tuple[SlotMoney, ...]
    flat_eur: float
    dynamic_eur: float
    export_eur: float
    wear_eur: float
    procurement_saving_eur: float
    net_saving_eur: float
    timing_value_eur: float
    worst_imbalance_kwh: float
    unbalanced_count: int


def settle(energies: Sequence[SlotEnergy], tariff: Tariff, flat_eur_per_kwh: float) -> Settlement:
    """Settle slots in order of time; slots whose books do not close are counted, never dropped."""
    if flat_eur_per_kwh < 0:
        raise BadInput("The flat tariff must not be negative", flat_eur_per_kwh=flat_eur_per_kwh)
    flat, dynamic, export, wear, unshifted = (_Cents() for _ in range(5))
    slots = []
    for energy in energies:
        buy = tariff.import_eur_per_kwh(energy.price_eur_per_mwh)
        sell = tariff.export_eur_per_kwh(energy.price_eur_per_mwh) or 0.0
        demand_kwh = energy.ev_kwh + energy.own_kwh - energy.pv_kwh
        alone_eur = buy * max(demand_kwh, 0.0) - sell * max(-demand_kwh, 0.0)
        slots.append(
            SlotMoney(
                start=energy.start,
                flat_cents=flat.add(flat_eur_per_kwh * energy.import_kwh),
                dynamic_cents=dynamic.add(buy * energy.import_kwh),
                export_cents=export.add(sell * energy.export_kwh),
                wear_cents=wear.add(tariff.wear_eur_per_kwh * (energy.charged_kwh + energy.discharged_kwh)),
                unshifted_cents=unshifted.add(alone_eur),
            )
        )
    gaps = [abs(energy.imbalance_kwh()) for energy in energies]
    return Settlement(
        slots=tuple(slots),
        flat_eur=flat.total_eur,
        dynamic_eur=dynamic.total_eur,
        export_eur=export.total_eur,
        wear_eur=wear.total_eur,
        procurement_saving_eur=(flat.cents - dynamic.cents) / 100,
        net_saving_eur=sum(slot.net_saving_cents for slot in slots) / 100,
        timing_value_eur=sum(slot.timing_value_cents for slot in slots) / 100,
        worst_imbalance_kwh=max(gaps, default=0.0),
        unbalanced_count=sum(gap > BALANCE_KWH for gap in gaps),
    )


class _Cents:
    """A running sum that hands out whole cents."""

    def __init__(self) -> None:
        self._eur = 0.0
        self.cents = 0

    def add(self, eur: float) -> int:
        """The cents that this amount adds to the rounded running sum."""
        self._eur += eur
        now = round(self._eur * 100)
        step, self.cents = now - self.cents, now
        return step

    @property
    def total_eur(self) -> float:
        return self.cents / 100
