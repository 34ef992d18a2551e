"""What if: the same day under other prices, another battery, another grid, another tariff; one scenario or a sweep."""

from itertools import product

from msgspec import Struct
from msgspec.structs import replace

from services.enexa.market.prices import PriceSeries
from services.enexa.market.tariffs import Tariff
from services.enexa.planning.problem import Plant
from shared.errors import BadInput

MAX_VARIANTS = 10_000


class Knobs(Struct, frozen=True, kw_only=True):
    """What may be turned; 1 and 0 leave things as they are. `volatility_ratio` stretches prices around their mean."""

    price_level_ratio: float = 1.0
    price_shift_eur: float = 0.0
    volatility_ratio: float = 1.0
    battery_energy_ratio: float = 1.0
    battery_power_ratio: float = 1.0
    grid_limit_ratio: float = 1.0
    pv_ratio: float = 1.0
    fees_ratio: float = 1.0
    wear_ratio: float = 1.0


def sweep(axes: dict[str, tuple[float, ...]]) -> tuple[Knobs, ...]:
    """Every combination of the values of some knobs; raises BadInput for an unknown knob or too many variants."""
    for name in axes:
        if name not in Knobs.__struct_fields__:
            raise BadInput("No such knob", knob=name, known=", ".join(Knobs.__struct_fields__))
    count = 1
    for values in axes.values():
        count *= max(len(values), 1)
    if count > MAX_VARIANTS:
        raise BadInput("Too many variants; give fewer values per knob", variants=count, most=MAX_VARIANTS)
    return tuple(Knobs(**dict(zip(axes, values, strict=True))) for values in product(*axes.values()))


def turned_prices(prices: PriceSeries, knobs: Knobs) -> PriceSeries:
    """The series with level, spread and shift changed."""
    values = prices.price_eur_per_mwh
    mean = sum(values) / len(values)
    return replace(
        prices,
        price_eur_per_mwh=tuple(
            mean * knobs.price_level_ratio + (value - mean) * knobs.volatility_ratio + knobs.price_shift_eur
            for value in values
        ),
    )


def turned_plant(plant: Plant, knobs: Knobs) -> Plant:
    """The plant with another battery and another connection."""
    strings = tuple(
        replace(
            string,
            capacity_kwh=string.capacity_kwh * knobs.battery_energy_ratio,
            max_charge_kw=string.max_charge_kw * knobs.battery_power_ratio,
            max_discharge_kw=string.max_discharge_kw * knobs.battery_power_ratio,
        )
        for string in plant.strings
        if knobs.battery_energy_ratio > 0
    )
    return replace(
        plant,
        strings=strings,
        grid_import_limit_kw=plant.grid_import_limit_kw * knobs.grid_limit_ratio,
        grid_apparent_limit_kva=plant.grid_apparent_limit_kva * knobs.grid_limit_ratio,
    )


def turned_tariff(tariff: Tariff, knobs: Knobs) -> Tariff:
    """The tariff with other fees and another wear."""
    return replace(
        tariff,
        fees_eur_per_mwh=tariff.fees_eur_per_mwh * knobs.fees_ratio,
        wear_cycle_eur_per_kwh=tariff.wear_cycle_eur_per_kwh * knobs.wear_ratio,
    )
