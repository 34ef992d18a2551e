"""Runs in FlexMeasures's environment: the day of `peers.py` on stdin, battery power and time on stdout."""

# mypy: disable-error-code="import-not-found,import-untyped"
# The peer is in its own environment, not in ours.

import json
import statistics
import sys
import time

import numpy as np
import pandas as pd
from flask import Flask
from flexmeasures.data.models.planning.linear_optimization import device_scheduler

given = json.load(sys.stdin)
index = pd.date_range("2026-01-01", periods=len(given["buy"]), freq="15min", tz="UTC")
HOURS = 0.25  # a stock counts in power times slots
COLUMNS = ("equals", "max", "min", "efficiency", "derivative equals", "derivative max", "derivative min",
           "derivative down efficiency", "derivative up efficiency", "stock delta")  # fmt: skip


def device(**columns: object) -> pd.DataFrame:
    """A device's constraints; what is not given is free."""
    frame = pd.DataFrame(np.nan, index=index, columns=list(COLUMNS))
    for name, value in columns.items():
        frame[name.replace("_", " ")] = value
    return frame


def solve() -> tuple[float, list[float]]:
    """One schedule: load, sun and battery behind one meter."""
    sun = np.array(given["pv_kw"])
    devices = [
        device(derivative_equals=np.array(given["load_kw"])),
        device(derivative_min=-sun, derivative_max=0.0),
        device(
            min=-given["start_kwh"] / HOURS, max=(given["usable_kwh"] - given["start_kwh"]) / HOURS,
            derivative_min=-given["power_kw"],
            derivative_max=given["power_kw"], derivative_down_efficiency=given["efficiency"],
            derivative_up_efficiency=given["efficiency"],
        ),
    ]  # fmt: skip
    meter = pd.DataFrame({"derivative max": given["import_kw"], "derivative min": -given["export_kw"]}, index=index)
    energy = pd.DataFrame({
        "quantity": 0.0, "downwards deviation price": np.array(given["sell"]) * HOURS,
        "upwards deviation price": np.array(given["buy"]) * HOURS, "group": range(len(index)),
    }, index=index)  # fmt: skip
    peak = pd.DataFrame({
        "quantity": given["paid_kw"], "downwards deviation price": 0.0,
        "upwards deviation price": given["peak_eur_per_kw"], "group": 0,
    }, index=index)  # fmt: skip
    began = time.perf_counter()
    powers, _, _, _ = device_scheduler(devices, meter, commitments=[energy, peak], initial_stock=[0.0, 0.0, 0.0])
    return (time.perf_counter() - began) * 1000, (-powers[2]).tolist()


app = Flask("bench")
app.config.update(FLEXMEASURES_LP_SOLVER="highspy", FLEXMEASURES_LP_SOLVER_OPTIONS={}, LOGGING_LEVEL="WARNING")
with app.app_context():
    solve()
    runs = [solve() for _ in range(5)]
sys.stdout.write("\n" + json.dumps({"ms": statistics.median(ms for ms, _ in runs), "battery_kw": runs[0][1]}) + "\n")
