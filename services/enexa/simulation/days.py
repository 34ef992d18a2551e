"""A shipped scenario's day as a stretch: its cars, its prices and its sun on any plant, for comparisons."""

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta

import numpy as np
from msgspec.structs import replace

from services.enexa.market.prices import PriceSeries, daily_series
from services.enexa.market.tariffs import Tariff
from services.enexa.planning.problem import Plant
from services.enexa.simulation.site import Stretch, Visit, stretch
from shared.energy.slots import MARKET_ZONE
from shared.errors import BadInput
from shared.scenario.schema import DailySession, Scenario

REFERENCE_DAY = date(2024, 6, 15)
DAY_BEGINS = time(6, 0)
PV_SHARE_KWP = 150 * 0.40 * 0.86
"""40 % of a 150 kWp roof serves the charger, less 14 % system loss."""
HISTORY_DAYS = 21


def scenario_prices(scenario: Scenario, day: date = REFERENCE_DAY) -> PriceSeries:
    """The scenario's daily prices, repeated for three weeks before `day` and two days from it."""
    if scenario.price_eur_per_mwh is None:
        raise BadInput("The scenario has no prices", scenario=scenario.name)
    quarters = tuple(scenario.price_eur_per_mwh.at(900.0 * quarter) for quarter in range(96))
    return daily_series(quarters, day - timedelta(days=HISTORY_DAYS), HISTORY_DAYS + 3)


def scenario_day(
    scenario: Scenario,
    *,
    plant: Plant,
    tariff: Tariff,
    prices: PriceSeries,
    day: date = REFERENCE_DAY,
    pv_kwp: float = PV_SHARE_KWP,
    start_soc_pct: float = 80.0,
    outlet_max_kw: float = 230.0,
    turned: Callable[[tuple[Visit, ...]], list[Visit]] = list,
) -> Stretch:
    """06:00 to 06:00 local with the scenario's daily cars; each wants capacity x SOC step, rounded to 0.1 kWh.

    `turned` may make other cars of them; whoever would come before or after the day does not come.
    """
    start = datetime.combine(day, DAY_BEGINS, tzinfo=MARKET_ZONE).astimezone(UTC)
    seconds = ((np.arange(1440) + DAY_BEGINS.hour * 60) % 1440 + 0.5) * 60
    ratio = scenario.pv_ratio
    sun = np.array([ratio.at(float(second)) for second in seconds]) if ratio is not None else np.zeros(1440)
    end = start + timedelta(days=1)
    cars = tuple(_visit(session, day, outlet_max_kw) for session in scenario.sessions)
    return stretch(
        start=start,
        minutes=1440,
        plant=plant,
        tariff=tariff,
        prices=prices,
        visits=[_within(each, end) for each in turned(cars) if start <= each.start < end],
        start_soc_pct=start_soc_pct,
        pv_kw=pv_kwp * sun,
    )


def _within(visit: Visit, end: datetime) -> Visit:
    """The visit as far as the day goes; it wants no more than its power can give till then."""
    if visit.until <= end:
        return visit
    possible_kwh = visit.max_power_kw * (end - visit.start).total_seconds() / 3600
    return replace(visit, until=end, energy_kwh=min(visit.energy_kwh, possible_kwh))


def _visit(session: DailySession, day: date, outlet_max_kw: float) -> Visit:
    start = datetime.combine(day, time.fromisoformat(session.local_time), tzinfo=MARKET_ZONE).astimezone(UTC)
    wanted_kwh = session.capacity_kwh * (session.soc_target_pct - session.soc_start_pct) / 100
    return Visit(
        start=start,
        until=start + timedelta(seconds=session.stay_s),
        # Half up, with a hair against floats that fall just short of the half.
        energy_kwh=float(np.floor(wanted_kwh * 10 + 0.5 + 1e-9)) / 10,
        max_power_kw=min(session.max_kw, outlet_max_kw),
    )
