"""Problems for tests: small, random where a law is tested, real where days are."""

from datetime import UTC, datetime, timedelta

import numpy as np

from services.enexa.market.tariffs import Tariff
from services.enexa.planning.problem import BatteryString, Outcome, PlanProblem, Plant, Scenario
from services.enexa.planning.tuning import Tuning

START = datetime(2024, 5, 1, 4, 0, tzinfo=UTC)
PLAIN_STRING = BatteryString(derating_below_pct=10.0, derating_floor_pct=10.0)


def random_problem(
    seed: int,
    *,
    slots: int = 24,
    scenarios: int = 1,
    plant: Plant | None = None,
    prices: tuple[float, ...] | None = None,
    peak_eur_per_kw: float = 0.0,
    pv_kw: float = 0.0,
    end_energy_kwh: float | None = None,
) -> PlanProblem:
    """A problem drawn from a seed; the first slot is common to its scenarios."""
    rng = np.random.default_rng(seed)
    plant = plant or Plant()
    drawn = [_scenario(rng, slots, 1 / scenarios) for _ in range(scenarios)]
    common = [_with_first(scenario, drawn[0]) for scenario in drawn]
    price = prices or tuple(rng.uniform(-20.0, 200.0, slots).tolist())
    energy = tuple(float(rng.uniform(0.3, 0.8)) * string.capacity_kwh for string in plant.strings)
    return PlanProblem(
        site_id="SITE001",
        version=1,
        now=START,
        plant=plant,
        tariff=Tariff(),
        tuning=Tuning(),
        starts=tuple(START + timedelta(minutes=15 * slot) for slot in range(slots)),
        slot_s=900,
        first_slot_s=float(rng.uniform(120, 900)),
        price_eur_per_mwh=price,
        price_published=(True,) * slots,
        own_kw=(0.4,) * slots,
        ev_loss_ratio=0.05,
        pv_kw=tuple((pv_kw * rng.uniform(0, 1, slots)).tolist()),
        import_cap_kw=(plant.import_limit_kw,) * slots,
        scenarios=tuple(common),
        outcomes=tuple(_outcome(scenario) for scenario in common),
        energy_kwh=energy,
        reserve_need_kwh=(5.0,) * slots,
        peak_so_far_kw=0.0,
        peak_eur_per_kw=peak_eur_per_kw,
        end_value_eur_per_kwh=0.13,
        end_energy_kwh=end_energy_kwh,
    )


def _scenario(rng: np.random.Generator, slots: int, weight: float) -> Scenario:
    busy = rng.random(slots) < 0.4
    return Scenario(
        weight=weight,
        high_share=tuple((rng.uniform(0, 1, slots) * (rng.random(slots) < 0.5) * busy).tolist()),
        high_kw=tuple(rng.uniform(85.0, 220.0, slots).tolist()),
        low_kw=tuple((rng.uniform(0.0, 75.0, slots) * busy).tolist()),
    )


def _with_first(scenario: Scenario, first: Scenario) -> Scenario:
    return Scenario(
        weight=scenario.weight,
        high_share=(first.high_share[0], *scenario.high_share[1:]),
        high_kw=(first.high_kw[0], *scenario.high_kw[1:]),
        low_kw=(first.low_kw[0], *scenario.low_kw[1:]),
    )


def _outcome(scenario: Scenario) -> Outcome:
    return Outcome(
        probability=(scenario.weight,) * len(scenario.high_share),
        high_share=scenario.high_share,
        high_kw=scenario.high_kw,
        low_kw=scenario.low_kw,
    )
