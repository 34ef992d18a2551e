"""What a measured stretch is judged against: what is asked of the engine and what it answers; light structs.

The reactive rule above and perfect foresight below, on the cars, the sun and the own consumption that were measured.
"""

from datetime import datetime

from msgspec import Struct

from services.enexa.market.prices import PriceSeries
from services.enexa.market.tariffs import Tariff
from services.enexa.planning.problem import Plant
from shared.contract.reads import Point


class Measured(Struct, frozen=True, kw_only=True):
    """A stretch as it was measured, in minutes from `start` (on a slot) to `until` (on a minute)."""

    start: datetime
    until: datetime
    points: tuple[Point, ...]
    prices: PriceSeries
    plant: Plant
    tariff: Tariff


class Bounds(Struct, frozen=True, kw_only=True):
    """Net costs, EUR: energy, fees and wear less export; energy left valued alike, what cars did not get charged.

    Minutes that were not measured hold nothing for anybody.
    """

    until: datetime
    actual_eur: float
    reactive_eur: float
    perfect_eur: float
    reactive_unserved_kwh: float
    perfect_unserved_kwh: float

    @property
    def saved_eur(self) -> float:
        return self.reactive_eur - self.actual_eur

    @property
    def possible_eur(self) -> float:
        return self.reactive_eur - self.perfect_eur

    @property
    def captured_pct(self) -> float | None:
        """Uplift captured; None where there was less than a cent to gain."""
        return 100.0 * self.saved_eur / self.possible_eur if self.possible_eur > 0.01 else None
