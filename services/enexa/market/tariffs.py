"""What a site pays and earns for energy beside the day-ahead price."""

from msgspec import Struct


class Tariff(Struct, frozen=True, kw_only=True):
    """Prices of one site; the defaults are those of the reference day.

    Wear is paid per kWh moved through the battery's AC side, half of a full cycle's wear in each direction.
    """

    fees_eur_per_mwh: float = 80.0
    retail_eur_per_kwh: float = 0.59
    wear_cycle_eur_per_kwh: float = 0.0715
    demand_charge_eur_per_kw_year: float = 30.0
    export_discount_eur_per_mwh: float = 4.0
    export_floor_eur_per_mwh: float = 20.0
    unserved_eur_per_kwh: float = 2.0
    flat_eur_per_mwh: float | None = None

    @property
    def wear_eur_per_kwh(self) -> float:
        """Wear per kWh of one direction."""
        return self.wear_cycle_eur_per_kwh / 2

    def import_eur_per_kwh(self, price_eur_per_mwh: float) -> float:
        """All-in price of an imported kWh; negative when the market pays more than the fees take."""
        return (price_eur_per_mwh + self.fees_eur_per_mwh) / 1000

    def export_eur_per_kwh(self, price_eur_per_mwh: float) -> float | None:
        """Revenue of an exported kWh; None where exporting is worthless and therefore not done."""
        if price_eur_per_mwh < self.export_floor_eur_per_mwh:
            return None
        return (price_eur_per_mwh - self.export_discount_eur_per_mwh) / 1000

    def peak_eur_per_kw(self, days: float) -> float:
        """The demand charge of `days` days for one kW of the highest quarter-hour mean."""
        return self.demand_charge_eur_per_kw_year * days / 365
