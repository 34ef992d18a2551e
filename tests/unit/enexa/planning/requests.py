"""A plan request as a server would gather it, on the reference prices."""

from datetime import UTC, date, datetime

from msgspec.structs import replace

from services.enexa.market.prices import daily_series
from services.enexa.market.tariffs import Tariff
from services.enexa.planning.problem import PlanRequest, Plant
from services.enexa.planning.tuning import Tuning
from shared.scenario.load import load_scenario

NOW = datetime(2024, 6, 15, 10, 7, 30, tzinfo=UTC)


def reference_request(**changes: object) -> PlanRequest:
    """SITE001 at noon of a June Saturday, two unlike charges, nobody plugged."""
    profile = load_scenario("reference_day").price_eur_per_mwh
    assert profile is not None
    series = daily_series(tuple(profile.at(900.0 * quarter) for quarter in range(96)), date(2024, 6, 10), 9)
    request = PlanRequest(
        site_id="SITE001",
        version=3,
        now=NOW,
        plant=Plant(),
        tariff=Tariff(demand_charge_eur_per_kw_year=0.0),
        prices=series.published(NOW),
        soc_pct=(55.0, 50.0),
        tuning=Tuning(scenario_count=4, horizon_h=24.0),
    )
    return replace(request, **changes)
