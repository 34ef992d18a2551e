"""The same optimum three ways, and the yardstick, over real days; skipped visibly where the data is not at hand."""

from pathlib import Path

import pytest

from services.enexa.importers.prices import read_prices
from services.enexa.market.prices import PriceSeries, whole_days
from services.enexa.planning.compiled import fast_exactly
from services.enexa.planning.exclusivity import exclusive_pairs
from services.enexa.planning.problem import Plant
from services.enexa.planning.program import build
from services.enexa.planning.shortcut import Exactly, solve_exactly
from services.enexa.planning.solver import Solver
from services.enexa.simulation.yardstick import yardstick
from shared.energy.slots import slots_of_day
from tests.unit.enexa.planning.problems import FULL_PLANT, PLAIN_STRING, random_problem

PRICES_2024 = "price_da_delu_2024_60min.csv"
PLAIN = Plant(strings=(PLAIN_STRING, PLAIN_STRING))


def day_prices(series: PriceSeries, index: int) -> tuple[float, ...]:
    return tuple(price for price in series.on_grid(slots_of_day(whole_days(series)[index])) if price is not None)


@pytest.mark.timeout(120)
def test_recursion_and_highs_agree_on_twenty_real_days(real_data: Path) -> None:
    assert compared_days(real_data, range(0, 366, 17), Exactly()) > 18


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_recursion_and_highs_agree_on_all_real_days_of_a_year(real_data: Path) -> None:
    assert compared_days(real_data, range(366), fast_exactly()) > 300


def compared_days(real_data: Path, days: range, exactly: Exactly) -> int:
    """On how many of the days the recursion answered, every time as HiGHS did."""
    series, kept, compared = read_prices(real_data / PRICES_2024), Solver(), 0
    for index in days:
        prices = day_prices(series, index)
        problem = random_problem(index, slots=len(prices), plant=PLAIN, prices=prices)
        program = build(problem)
        exact = solve_exactly(problem, program, len(exclusive_pairs(problem, program.layout)), exactly)
        if exact is not None:
            compared += 1
            assert exact.objective_eur == pytest.approx(kept.solve(program).objective_eur, abs=1e-6)

    return compared


@pytest.mark.timeout(120)
def test_the_readable_model_and_the_arrays_agree_on_real_days(real_data: Path) -> None:
    readable_as_arrays(real_data, (0, 90, 121, 300, 310))


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_the_readable_model_and_the_arrays_agree_on_all_real_days_of_a_year(real_data: Path) -> None:
    readable_as_arrays(real_data, tuple(range(366)))


def readable_as_arrays(real_data: Path, days: tuple[int, ...]) -> None:
    """Both ways at the same optimum, in turn on the plain plant and on the full one, with and without section 14a."""
    from services.enexa.planning.model import solve  # noqa: PLC0415  cvxpy takes seconds: only this test pays

    series, kept = read_prices(real_data / PRICES_2024), Solver()
    for count, index in enumerate(days):
        prices = day_prices(series, index)
        problem = random_problem(
            index, slots=len(prices), prices=prices, peak_eur_per_kw=0.2, pv_kw=40.0,
            plant=FULL_PLANT if count % 2 else Plant(), dimmed=count % 3 == 1,
        )  # fmt: skip
        program = build(problem)
        if not exclusive_pairs(problem, program.layout):
            assert kept.solve(program).objective_eur == pytest.approx(solve(problem).objective_eur, abs=1e-5)


def test_the_yardstick_of_2024_counts_every_day(real_data: Path) -> None:
    days = list(yardstick(read_prices(real_data / PRICES_2024)))

    assert len(days) == 366
    assert {day.intervals_count for day in days} == {23, 24, 25}
    assert sum(day.profit_eur for day in days) == pytest.approx(7776.22, abs=0.01)
