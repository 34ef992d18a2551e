"""The evaluation on two made weeks: bounds hold, nothing looks ahead, the report says what was found."""

from datetime import UTC, date, datetime, timedelta

import pytest

from services.enexa.market.prices import daily_series
from services.enexa.market.tariffs import Tariff
from services.enexa.planning.compiled import fast_backward
from services.enexa.planning.problem import SessionRecord
from services.enexa.simulation.compiled import fast_run_steps
from services.enexa.simulation.evaluation import Evaluation, Setting, evaluate
from services.enexa.simulation.report import days_svg, markdown, sum_svg
from services.enexa.simulation.scenarios import CHARGEPOST

FIRST = datetime(2024, 5, 6, tzinfo=UTC)
PROFILE = tuple(
    30.0 if 10 <= quarter // 4 < 15 else 140.0 if 17 <= quarter // 4 < 21 else 80.0 for quarter in range(96)
)


def setting() -> Setting:
    sessions = tuple(
        SessionRecord(
            start=FIRST + timedelta(days=day, hours=hour),
            until=FIRST + timedelta(days=day, hours=hour, minutes=40),
            energy_kwh=35.0,
            max_power_kw=110.0,
        )
        for day in (0, 1, 2)
        for hour in (7, 12, 16, 18)
    )
    prices = daily_series(PROFILE, date(2024, 4, 15), 40)
    return Setting(plant=CHARGEPOST, tariff=Tariff(), sessions=sessions, prices=prices, warm_up_days=2)


@pytest.fixture(scope="module")
def found() -> Evaluation:
    return evaluate(setting(), recursion=fast_backward(), step_function=fast_run_steps())


@pytest.mark.timeout(180)
def test_perfect_foresight_is_the_floor_and_knowledge_helps(found: Evaluation) -> None:
    perfect, everything = (sum(getattr(day, f"{name}_eur") for day in found.days) for name in ("perfect", "all"))
    reactive, smart = (sum(getattr(day, f"{name}_eur") for day in found.days) for name in ("reactive", "forecast"))

    assert [day.day for day in found.days] == [date(2024, 5, 8)]
    assert perfect <= everything + 0.05
    assert everything < reactive
    assert smart < reactive
    assert found.all_known_ratio > 0.95


@pytest.mark.timeout(180)
def test_the_report_names_figures_sources_and_plots(found: Evaluation) -> None:
    page = markdown(found, command="enexa evaluate", days_plot="days.svg", sum_plot="sum.svg")

    assert f"{found.captured_of_perfect_ratio * 100:.1f} %" in page
    assert "EPFL DESL" in page
    assert "SMARD.de" in page
    assert "days.svg" in page
    assert days_svg(found).count("<rect") == 1 + 2 * len(found.days)
    assert sum_svg(found).count("<polyline") == 3
