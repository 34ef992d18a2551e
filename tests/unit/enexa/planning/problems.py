"""Problems for tests: small, random where a law is tested, real where days are."""

from datetime import UTC, datetime, timedelta

import numpy as np
from msgspec.structs import replace

from services.enexa.market.tariffs import Tariff
from services.enexa.planning.problem import BatteryString, Knee, Outcome, PlanProblem, Plant, Scenario
from services.enexa.planning.tuning import Tuning

START = datetime(2024, 5, 1, 4, 0, tzinfo=UTC)
PLAIN_STRING = BatteryString(derating_below_pct=10.0, derating_floor_pct=10.0)
BENT = (
    Knee(power_ratio=0.4, charge_efficiency_ratio=0.93, discharge_efficiency_ratio=0.92),
    Knee(power_ratio=0.8, charge_efficiency_ratio=0.89, discharge_efficiency_ratio=0.90),
)
FULL_PLANT = Plant(
    strings=(
        BatteryString(charge_efficiency_ratio=0.96, discharge_efficiency_ratio=0.95, knees=BENT, shallow_depth_pct=40.0,
                      deep_wear_eur_per_kwh=0.05),
        BatteryString(capacity_kwh=80.0, max_charge_kw=70.0, max_discharge_kw=90.0, soc_max_pct=85.0,
                      derating_below_pct=40.0, knees=BENT[1:], shallow_depth_pct=50.0, deep_wear_eur_per_kwh=0.08),
    ),
    grid_import_limit_kw=90.0,
    export_limit_kw=30.0,
    daily_discharge_budget_kwh=120.0,
)  # fmt: skip
"""Everything at once: unlike strings, derating, bent efficiencies, wear by depth, kVA below the contract, a budget."""


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
    unsure: bool = False,
    dimmed: bool = False,
) -> PlanProblem:
    """A problem drawn from a seed; the first slot is common to its scenarios.

    `unsure`: sun and prices differ by scenario, too; `dimmed`: section 14a holds the battery in a third of the slots.
    """
    rng = np.random.default_rng(seed)
    plant = plant or Plant()
    drawn = [_scenario(rng, slots, 1 / scenarios) for _ in range(scenarios)]
    common = [_with_first(scenario, drawn[0]) for scenario in drawn]
    price = prices or tuple(rng.uniform(-20.0, 200.0, slots).tolist())
    if unsure:
        common = [_with_errors(rng, scenario, price, pv_kw) for scenario in common]
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
        pv_kw=(pv_kw / 2, *(pv_kw * rng.uniform(0, 1, slots - 1)).tolist()),
        import_cap_kw=(plant.import_limit_kw,) * slots,
        scenarios=tuple(common),
        outcomes=tuple(_outcome(scenario) for scenario in common),
        energy_kwh=energy,
        reserve_need_kwh=(5.0,) * slots,
        peak_so_far_kw=0.0,
        peak_eur_per_kw=peak_eur_per_kw,
        end_value_eur_per_kwh=0.13,
        end_energy_kwh=end_energy_kwh,
        battery_import_cap_kw=tuple(np.where(rng.random(slots) < 1 / 3, 4.2, 220.0).tolist()) if dimmed else None,
        discharged_today_kwh=20.0 if plant.daily_discharge_budget_kwh is not None else 0.0,
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


def _with_errors(rng: np.random.Generator, scenario: Scenario, price: tuple[float, ...], pv_kw: float) -> Scenario:
    slots = len(price)
    return replace(
        scenario,
        pv_kw=(pv_kw / 2, *(pv_kw * rng.uniform(0, 1, slots - 1)).tolist()),
        price_eur_per_mwh=(price[0], *(np.array(price[1:]) + rng.normal(0.0, 30.0, slots - 1)).tolist()),
    )


def rolled(whole: PlanProblem, first: int, slots: int, energy_kwh: tuple[float, ...]) -> PlanProblem:
    """The plan of `slots` slots that begins at a slot of a longer problem of one scenario."""
    part = slice(first, first + slots)
    scenario = whole.scenarios[0]
    return replace(
        whole,
        starts=whole.starts[part],
        first_slot_s=900.0,
        price_eur_per_mwh=whole.price_eur_per_mwh[part],
        own_kw=whole.own_kw[part],
        pv_kw=whole.pv_kw[part],
        import_cap_kw=whole.import_cap_kw[part],
        scenarios=(
            replace(
                scenario, high_share=scenario.high_share[part], high_kw=scenario.high_kw[part],
                low_kw=scenario.low_kw[part],
            ),
        ),
        energy_kwh=energy_kwh,
    )  # fmt: skip


def unsplit(problem: PlanProblem) -> PlanProblem:
    """The problem with one demand per slot, as a meter of quarter hours sees it."""
    whole = tuple(
        replace(each, high_share=tuple(float(share > 0.5) for share in each.high_share)) for each in problem.scenarios
    )
    return replace(problem, scenarios=whole)


def _outcome(scenario: Scenario) -> Outcome:
    return Outcome(
        probability=(scenario.weight,) * len(scenario.high_share),
        high_share=scenario.high_share,
        high_kw=scenario.high_kw,
        low_kw=scenario.low_kw,
    )
