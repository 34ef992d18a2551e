"""Runs in PyPSA's environment: the day of `peers.py` on stdin, battery power and time on stdout."""

# mypy: disable-error-code="import-not-found,import-untyped"
# The peer is in its own environment, not in ours.

import json
import logging
import statistics
import sys
import time

import numpy as np
import pypsa

logging.disable(logging.CRITICAL)
given = json.load(sys.stdin)
count = len(given["buy"])


def solve() -> tuple[float, list[float]]:
    """One network, built and optimised."""
    began = time.perf_counter()
    network = pypsa.Network()
    network.set_snapshots(range(count))
    network.snapshot_weightings = network.snapshot_weightings.astype(float) * 0.25
    network.add("Bus", "site")
    network.add("Load", "load", bus="site", p_set=np.array(given["load_kw"]))
    network.add("Generator", "grid", bus="site", p_nom=given["import_kw"], marginal_cost=np.array(given["buy"]))
    network.add("Generator", "export", bus="site", p_nom=given["export_kw"], p_min_pu=-1.0, p_max_pu=0.0,
                marginal_cost=np.array(given["sell"]))  # fmt: skip
    peak = max(given["pv_kw"])
    network.add("Generator", "sun", bus="site", p_nom=peak, p_max_pu=np.array(given["pv_kw"]) / peak)
    network.add("StorageUnit", "battery", bus="site", p_nom=given["power_kw"],
                max_hours=given["usable_kwh"] / given["power_kw"], efficiency_store=given["efficiency"],
                efficiency_dispatch=given["efficiency"], state_of_charge_initial=given["start_kwh"])  # fmt: skip
    network.optimize(solver_name="highs", log_to_console=False)
    return (time.perf_counter() - began) * 1000, network.storage_units_t.p["battery"].tolist()


solve()
runs = [solve() for _ in range(5)]
sys.stdout.write("\n" + json.dumps({"ms": statistics.median(ms for ms, _ in runs), "battery_kw": runs[0][1]}) + "\n")
