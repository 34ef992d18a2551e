"""`python -m tests.bench.simulation`: the plant's loop compiled from its one source, against the same loop in C.

Both run the same year in minutes in this process on this machine; the ratios travel, the milliseconds do not. The goal
is 0.5 of C's speed or more. Without a C compiler the bench says so and times the compiled source alone.
"""

import ctypes
import shutil
import statistics
import subprocess
import sys
import tempfile
from datetime import date, timedelta
from pathlib import Path

import numpy as np
from msgspec.structs import replace

from services.enexa.market.prices import PriceSeries, daily_series
from services.enexa.market.tariffs import Tariff
from services.enexa.planning.compiled import fast_backward
from services.enexa.simulation.compiled import fast_run_steps
from services.enexa.simulation.plant import LEVEL_ROWS, LEVELS, REACTIVE, WISH, WISHES, Floats, run_steps
from services.enexa.simulation.scenarios import CHARGEPOST
from services.enexa.simulation.site import Losses, Run, RunSteps, Stretch, Visit, stretch
from services.enexa.simulation.smartems import History, Knows, SmartEms
from shared.clock import real_now_s
from shared.energy.slots import day_start

YEAR = date(2023, 1, 1)
DAYS = 365
PLAIN_DAYS = 14
EMS_DAYS = 14
REPEATS = 7
SAME_KW = 1e-9


def main() -> int:
    """Print one line per measurement; 1 where C and the compiled source come to different energies."""
    prices = daily_series(tuple(60.0 + 50.0 * np.sin(q / 96 * 6.28) for q in range(96)), YEAR - timedelta(days=20), 390)
    year = a_stretch(DAYS, prices)
    fast, limit = fast_run_steps(), in_c()
    same = True
    for name, given in (("constant efficiencies", year), ("losses by power", replace(year, losses=Losses()))):
        for who, mode in (("reactive", REACTIVE), ("levels", LEVELS), ("wishes", WISHES)):
            ours_ms, ours = timed(given, mode, fast)
            speed = given.steps / ours_ms / 1000
            line = f"{who + ', ' + name:36} compiled {ours_ms:7.2f} ms a year ({speed:.0f} M steps/s)"
            if limit is not None:
                c_ms, theirs = timed(given, mode, limit)
                line += f"   C -O2 {c_ms:7.2f} ms   {c_ms / ours_ms:.2f} of its speed"
                same = same and float(np.abs(ours.record - theirs.record).max()) < SAME_KW
            say(line)
    say(
        f"{'C and compiled source':36} {'agree in every minute' if same else 'DIFFER'}"
        if limit
        else "no C compiler: skipped"
    )
    few = a_stretch(PLAIN_DAYS, prices)
    plain_ms, _ = timed(few, REACTIVE, run_steps, repeats=1)
    say(f"{'reactive, the same source as Python':36} {plain_ms * DAYS / PLAIN_DAYS:7.0f} ms a year "
        f"(from {PLAIN_DAYS} days)")  # fmt: skip
    planned_year(a_stretch(EMS_DAYS, prices), prices)
    return 0 if same else 1


def a_stretch(days: int, prices: PriceSeries) -> Stretch:
    """Ten cars a day, a roof, and prices that fall below zero."""
    start = day_start(YEAR)
    rng = np.random.default_rng(1)
    visits = []
    for day in range(days):
        for begin in np.sort(rng.integers(0, 1300, 10)):
            at = start + timedelta(days=day, minutes=int(begin))
            visits.append(Visit(start=at, until=at + timedelta(minutes=40), energy_kwh=33.0, max_power_kw=110.0))
    return stretch(
        start=start, minutes=days * 1440, plant=CHARGEPOST, tariff=Tariff(), prices=prices, visits=visits,
        start_soc_pct=50.0, ev_loss_ratio=0.05, own_kw=0.4,
        pv_kw=np.tile(np.maximum(30 * np.sin((np.arange(1440) - 360) / 720 * 3.14), 0.0), days),
    )  # fmt: skip


def timed(given: Stretch, mode: int, step_function: RunSteps, repeats: int = REPEATS) -> tuple[float, Run]:
    """Median time of a run, ms, after one that does not count; and the last run."""
    levels = steering(given)
    spent = []
    run = Run(given, step_function)
    for _ in range(repeats + (repeats > 1)):
        run = Run(given, step_function)
        began = real_now_s()
        run.go(0, given.steps, mode, levels)
        spent.append((real_now_s() - began) * 1000)
    return statistics.median(spent[1:] or spent), run


def steering(given: Stretch) -> Floats:
    rng = np.random.default_rng(2)
    slots = given.steps // 15
    levels = np.zeros((LEVEL_ROWS, slots))
    levels[:4] = rng.uniform(20, 170, (4, slots))
    levels[4] = 83.0
    levels[WISH] = rng.uniform(-100, 100, slots)
    return levels


def in_c() -> RunSteps | None:
    """The loop in C behind the signature of `run_steps`; None without a compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    source = Path(__file__).with_name("plant.c")
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "plant.so"
        subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", str(target), str(source), "-lm"], check=True)
        function = ctypes.CDLL(str(target)).run_steps
    function.restype = None

    def call(
        first: int, last: int, mode: int, step_h: float, steps_per_slot: int, parameters: Floats, buy: Floats,
        sell: Floats, pv: Floats, own: Floats, cap: Floats, car_first: Floats, car_last: Floats, car_max: Floats,
        car_rest: Floats, levels: Floats, state: Floats, record: Floats,
    ) -> None:  # fmt: skip
        def at(array: Floats) -> ctypes.c_void_p:
            assert array.flags["C_CONTIGUOUS"]
            return ctypes.c_void_p(array.ctypes.data)

        i, d = ctypes.c_int64, ctypes.c_double
        function(
            i(first), i(last), i(mode), d(step_h), i(steps_per_slot), at(parameters), at(buy), at(sell), at(pv),
            at(own), at(cap), at(car_first), at(car_last), at(car_max), at(car_rest), i(len(car_first)), at(levels),
            i(levels.shape[1]), at(state), at(record), i(record.shape[1]),
        )  # fmt: skip

    return call


def planned_year(given: Stretch, prices: PriceSeries) -> None:
    """SmartEMS by its value table, re-planned at each slot and whenever a car comes, is full or goes."""

    def once() -> tuple[float, int]:
        controller = SmartEms(
            given, prices, History(), Knows.FORECAST, recursion=fast_backward(), step_function=fast_run_steps()
        )
        began = real_now_s()
        controller.complete()
        return real_now_s() - began, controller.plans_count

    once()
    spent_s, plans = once()
    share = DAYS / EMS_DAYS
    say(f"{'SmartEMS, planned by the value table':36} {spent_s * share:7.1f} s a year, {plans * share:,.0f} plans "
        f"(from {EMS_DAYS} days; {spent_s / plans * 1000:.2f} ms a plan)")  # fmt: skip


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
