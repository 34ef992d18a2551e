"""What the planning benches share: a stopwatch, a printed line, and a year with cars."""

import statistics
import sys
from collections.abc import Callable
from datetime import date, timedelta

import numpy as np

from services.enexa.market.prices import daily_series
from services.enexa.market.tariffs import Tariff
from services.enexa.planning.problem import Plant
from services.enexa.simulation.site import Stretch, Visit, stretch
from shared.clock import real_now_s
from shared.energy.slots import day_start

REPEATS = 9
YEAR_MINUTES = 525_600


def median_ms(action: Callable[[], object], repeats: int = REPEATS) -> float:
    """Median wall time of an action, ms."""
    spent = []
    for _ in range(repeats):
        began = real_now_s()
        action()
        spent.append((real_now_s() - began) * 1000)
    return statistics.median(spent)


def say(line: str) -> None:
    """One line, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def year_with_cars(plant: Plant) -> Stretch:
    """525,600 minutes with ten cars a day."""
    start = day_start(date(2023, 1, 1))
    rng = np.random.default_rng(1)
    visits = []
    for day in range(365):
        for begin in np.sort(rng.integers(0, 1300, 10)):
            at = start + timedelta(days=day, minutes=int(begin))
            visits.append(Visit(start=at, until=at + timedelta(minutes=40), energy_kwh=33.0, max_power_kw=110.0))
    profile = tuple((80 + 60 * np.sin(np.arange(96) / 96 * 4 * np.pi) + rng.normal(0, 8, 96)).tolist())
    return stretch(
        start=start, minutes=YEAR_MINUTES, plant=plant, tariff=Tariff(),
        prices=daily_series(profile, date(2022, 12, 31), 368), visits=visits,
        start_soc_pct=50.0, ev_loss_ratio=0.05, own_kw=0.4,
    )  # fmt: skip
