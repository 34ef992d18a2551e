"""The same optimum three ways, and the yardstick, over real days; skipped visibly where the data is not at hand."""

from pathlib import Path

import pytest

from services.enexa.importers.prices import read_prices
from services.enexa.market.prices import PriceSeries, whole_days
from services.enexa.planning.exact import exact_cost_eur, fits
from services.enexa.planning.problem import Plant
from services.enexa.planning.program import build
from services.enexa.planning.solver import Solver
from services.enexa.simulation.yardstick import yardstick
from shared.energy.slots import slots_of_day
from tests.unit.enexa.planning.problems import PLAIN_STRING, random_problem

PRICES_2024 = "price_da_delu_2024_60min.csv"
PLAIN = Plant(strings=(PLAIN_STRING, PLAIN_STRING))


def day_prices(series: PriceSeries, index: int) -> tuple[float, ...]:
    return tuple(price for price in series.on_grid(slots_of_day(whole_days(series)[index])) if price is not None)


@pytest.mark.timeout(120)
def test_recursion_and_highs_agree_on_a_hundred_real_days(real_data: Path) -> None:
    series, kept, compared = read_prices(real_data / PRICES_2024), Solver(), 0
    for index in range(0, 366, 3):
        prices = day_prices(series, index)
        problem = random_problem(index, slots=len(prices), plant=PLAIN, prices=prices)
        if fits(problem):
            compared += 1
            assert exact_cost_eur(problem) == pytest.approx(kept.solve(build(problem)).objective_eur, abs=1e-6)

    assert compared > 100


@pytest.mark.timeout(120)
def test_the_readable_model_and_the_arrays_agree_on_real_days(real_data: Path) -> None:
    from services.enexa.planning.model import solve  # noqa: PLC0415  cvxpy takes seconds: only this test pays

    series = read_prices(real_data / PRICES_2024)
    for index in (0, 90, 121, 201, 300, 310):
        prices = day_prices(series, index)
        problem = random_problem(index, slots=len(prices), prices=prices, peak_eur_per_kw=0.2)

        assert Solver().solve(build(problem)).objective_eur == pytest.approx(solve(problem).objective_eur, abs=1e-5)


def test_the_yardstick_of_2024_counts_every_day(real_data: Path) -> None:
    days = list(yardstick(read_prices(real_data / PRICES_2024)))

    assert len(days) == 366
    assert {day.intervals_count for day in days} == {23, 24, 25}
    assert sum(day.profit_eur for day in days) == pytest.approx(7776.22, abs=0.01)
