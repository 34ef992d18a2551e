"""What the knobs do: another plant, other prices, other cars, another sun, another tariff (pure)."""

from datetime import timedelta

import numpy as np
from msgspec.structs import replace

from services.enexa.insight.comparison import Knobs
from services.enexa.market.prices import PriceSeries
from services.enexa.market.tariffs import Tariff
from services.enexa.planning.problem import BatteryString, Plant
from services.enexa.simulation.plant import Floats
from services.enexa.simulation.scenarios import PLANTS
from services.enexa.simulation.site import STEPS_PER_SLOT, Stretch, Visit
from services.enexa.simulation.smartems import Errors
from shared.energy.slots import MARKET_ZONE, local_day

DIMMED_KW_PER_POINT = 4.2
NEGATIVE_EUR_PER_MWH = -50.0
WINTER_ENERGY, WINTER_POWER, WINTER_SUN = 0.2, -0.3, -0.8
OWN_TIMES_MIN = 45
"""By so much, at most, a fleet's further sites have their cars earlier or later than the first."""


def turned_plant(knobs: Knobs) -> Plant:
    """The plant with its battery and its connection turned; a string of no energy is not there."""
    plant = PLANTS[knobs.plant]
    strings = [
        _string(each, knobs, knobs.battery_ratio * (knobs.second_string_ratio if index else 1.0))
        for index, each in enumerate(plant.strings)
    ]
    plant = replace(plant, strings=tuple(each for each in strings if each.capacity_kwh > 0))
    if knobs.grid_limit_kw is None:
        return plant
    return replace(plant, grid_import_limit_kw=knobs.grid_limit_kw, grid_apparent_limit_kva=knobs.grid_limit_kw * 2)


def _string(string: BatteryString, knobs: Knobs, ratio: float) -> BatteryString:
    power_ratio = ratio * knobs.battery_power_ratio
    turned = replace(
        string,
        capacity_kwh=string.capacity_kwh * ratio,
        max_charge_kw=string.max_charge_kw * power_ratio,
        max_discharge_kw=string.max_discharge_kw * power_ratio,
    )
    if knobs.efficiency_pct is None:
        return turned
    one_way = knobs.efficiency_pct / 100
    return replace(turned, charge_efficiency_ratio=one_way, discharge_efficiency_ratio=one_way)


def turned_tariff(knobs: Knobs) -> Tariff:
    tariff = Tariff()
    return replace(
        tariff,
        fees_eur_per_mwh=tariff.fees_eur_per_mwh * knobs.fees_ratio,
        wear_cycle_eur_per_kwh=tariff.wear_cycle_eur_per_kwh * knobs.wear_ratio,
    )


def turned_prices(prices: PriceSeries, knobs: Knobs) -> PriceSeries:
    """Level and spread around the mean, then a shift of the whole, then the hours that turn negative."""
    values = np.array(prices.price_eur_per_mwh)
    mean = values.mean()
    values = mean * knobs.price_level_ratio + knobs.price_spread_ratio * (values - mean)
    values = values + knobs.price_shift_eur_per_mwh
    if knobs.negative_hours_count > 0:
        days = np.array([local_day(start).toordinal() for start in prices.starts])
        for day in np.unique(days):
            own = np.flatnonzero(days == day)
            hours = np.cumsum(np.array(prices.interval_s)[own[np.argsort(values[own], kind="stable")]]) / 3600
            cheap = own[np.argsort(values[own], kind="stable")][hours <= knobs.negative_hours_count + 1e-9]
            values[cheap] = np.minimum(values[cheap], NEGATIVE_EUR_PER_MWH)
    return replace(prices, price_eur_per_mwh=tuple(values.tolist()))


def turned_visits(visits: tuple[Visit, ...], knobs: Knobs, site: int) -> list[Visit]:
    """So many cars, so strong, in such a season; each further site of a fleet has them at its own times."""
    rng = np.random.default_rng([7, site])
    found = []
    whole, part = int(knobs.cars_ratio), knobs.cars_ratio - int(knobs.cars_ratio)
    for index, visit in enumerate(visits):
        comes = whole + (int((index + 1) * part + 1e-9) > int(index * part + 1e-9))
        for copy in range(comes):
            later_min = 37 * copy + (int(rng.integers(-OWN_TIMES_MIN, OWN_TIMES_MIN + 1)) if site else 0)
            found.append(_moved(visit, knobs, later_min))
    return found


def _moved(visit: Visit, knobs: Knobs, later_min: int) -> Visit:
    shift = timedelta(minutes=later_min)
    return Visit(
        start=visit.start + shift,
        until=visit.until + shift,
        energy_kwh=visit.energy_kwh * (1 + WINTER_ENERGY * knobs.winter_ratio),
        max_power_kw=visit.max_power_kw * knobs.car_power_ratio * (1 + WINTER_POWER * knobs.winter_ratio),
    )


def sun_ratio(knobs: Knobs) -> float:
    return 1 + WINTER_SUN * knobs.winter_ratio


def import_cap_kw(given: Stretch, knobs: Knobs) -> Floats:
    """The limit of each minute; in the dimmed hours 4.2 kW per point."""
    cap_kw = given.import_cap_kw.copy()
    local = [given.at(step).astimezone(MARKET_ZONE) for step in range(given.steps)]
    hours = np.array([at.hour + at.minute / 60 for at in local])
    dimmed = (hours - knobs.dimmed_from_h) % 24 < knobs.dimmed_h
    cap_kw[dimmed] = np.minimum(cap_kw[dimmed], DIMMED_KW_PER_POINT * given.plant.charger_count)
    return cap_kw


def errors_of(given: Stretch, knobs: Knobs) -> Errors | None:
    """What SmartEMS sees instead of the truth; None where it sees the truth."""
    if knobs.pv_error_ratio == 0 and knobs.price_error_ratio == 0:
        return None
    rng = np.random.default_rng(11)
    hours = -(-given.steps // (4 * STEPS_PER_SLOT))
    wrong = np.repeat(rng.normal(0.0, knobs.pv_error_ratio, hours), 4 * STEPS_PER_SLOT)[: given.steps]
    return Errors(
        pv_kw=given.pv_kw * np.maximum(1 + wrong, 0.0),
        price_eur_per_mwh=knobs.price_error_ratio * float(given.price_eur_per_mwh.std()),
    )
