"""The arbitrage yardstick: exclusive, within power and capacity, empty at midnight, exact against hand arithmetic."""

import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.enexa.market.prices import PriceSeries, daily_series
from services.enexa.planning.arbitrage import YardstickBattery, best_day
from services.enexa.simulation.yardstick import yardstick
from shared.energy.slots import slots_of_day

BATTERY = YardstickBattery()


def test_one_valley_and_one_peak_by_hand() -> None:
    prices = (50.0, 0.0, 0.0, 0.0, 50.0, 200.0, 200.0, 50.0)

    best = best_day(prices, 3600, BATTERY)

    # 200 kWh of cells need 200 / 0.93 from the grid at 0; 186 kWh come back at 200 EUR/MWh.
    assert best.profit_eur == pytest.approx(186 * 0.2)


def test_a_flat_day_earns_nothing() -> None:
    assert best_day((80.0,) * 96, 900, BATTERY).profit_eur == pytest.approx(0.0, abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(min_value=-500.0, max_value=900.0), min_size=23, max_size=25))
def test_no_interval_goes_both_ways_and_the_battery_stays_inside(prices: list[float]) -> None:
    best = best_day(tuple(prices), 3600, BATTERY)

    energy = 0.0
    for charged, discharged in zip(best.charged_kwh, best.discharged_kwh, strict=True):
        assert min(charged, discharged) < 1e-4
        assert max(charged, discharged) <= 100.0 + 1e-6
        energy += 0.93 * charged - discharged / 0.93
        assert -1e-4 <= energy <= 200.0 + 1e-4
    assert energy == pytest.approx(0.0, abs=1e-4)
    assert best.profit_eur >= -1e-6


@pytest.mark.parametrize(
    ("day", "quarters"), [(date(2024, 3, 31), 92), (date(2024, 10, 27), 100), (date(2024, 5, 1), 96)]
)
def test_days_have_as_many_intervals_as_the_clock_gives_them(day: date, quarters: int) -> None:
    series = daily_series(tuple(float(quarter % 24) for quarter in range(96)), day, 1)

    (found,) = yardstick(series)

    assert found.intervals_count == quarters


def test_a_day_of_mixed_intervals_is_left_out() -> None:
    starts = slots_of_day(date(2024, 5, 1))
    mixed = PriceSeries(
        starts=(*starts[:48], *starts[48::4]), interval_s=(900,) * 48 + (3600,) * 12, price_eur_per_mwh=(1.0,) * 60
    )

    assert list(yardstick(mixed)) == []


def test_the_command_prints_the_total_last_and_writes_the_days(tmp_path: Path) -> None:
    rows = [
        f"{start:%Y-%m-%dT%H:%M:%SZ},900,{10 * (index % 7)}"
        for index, start in enumerate(slots_of_day(date(2024, 5, 1)))
    ]
    source, target = tmp_path / "prices.csv", tmp_path / "days.csv"
    source.write_text("timestamp_utc,interval_s,price_eur_per_mwh\n" + "\n".join(rows) + "\n", encoding="utf-8")

    done = subprocess.run(
        [sys.executable, "-m", "services.enexa.cli.yardstick", str(source), "--days", str(target)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip

    lines = target.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("day,intervals_count,profit_eur")
    assert float(done.stdout.splitlines()[-1]) == pytest.approx(float(lines[1].split(",")[2]), abs=0.006)


def test_an_unreadable_file_is_one_sentence_and_exit_code_two() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "services.enexa.cli.yardstick", "absent.csv"],
        check=False,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 2
    assert "cannot be read" in done.stderr
    assert "Traceback" not in done.stderr
