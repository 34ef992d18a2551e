"""The peers on the same problem, each in an environment of its own that the bench makes where a registry is at hand.

One day of 96 slots: load that must be served, sun, one battery, import and export limits, and a demand charge above a
peak already paid (without it for who knows none). Time is the peer's own call, objective is worked out here from the
battery power it returns. What cannot be installed or does not run is named, with the reason.
"""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from services.enexa.market.tariffs import Tariff
from services.enexa.planning.compiled import fast_exactly
from services.enexa.planning.problem import BatteryString, PlanProblem, Plant
from services.enexa.planning.program import Floats, build
from services.enexa.planning.shortcut import exact_input, relaxation
from services.enexa.planning.solver import Solver
from tests.bench.planning.measure import median_ms, say
from tests.unit.enexa.planning.problems import random_problem

PEERS = {"flexmeasures": "flexmeasures==1.0.1", "pypsa": "pypsa==1.4.0"}
NOT_ASKED = {"emhass": "nobody has written down this day in its configuration yet"}
WITHOUT_PEAK = ("pypsa",)
INSTALL_S, RUN_S = 900.0, 300.0
SLOTS, HOURS = 96, 0.25
BATTERY = BatteryString(
    capacity_kwh=200.0, max_charge_kw=110.0, max_discharge_kw=110.0, charge_efficiency_ratio=0.96,
    discharge_efficiency_ratio=0.96, soc_min_pct=5.0, soc_max_pct=95.0, derating_below_pct=5.0, derating_floor_pct=5.0,
)  # fmt: skip
PLANT = Plant(strings=(BATTERY,), grid_import_limit_kw=100.0, grid_apparent_limit_kva=200.0, export_limit_kw=50.0)
TARIFF = Tariff(fees_eur_per_mwh=180.0, wear_cycle_eur_per_kwh=0.0, export_floor_eur_per_mwh=-1e4,
                unserved_eur_per_kwh=20.0)  # fmt: skip


def side_by_side() -> None:
    """One line for ours, HiGHS and each peer, with and without the demand charge."""
    ours = {}
    for peak_eur_per_kw in (0.5, 0.0):
        problem = common_problem(peak_eur_per_kw)
        given = exact_input(problem)
        found = relaxation(problem, given, fast_exactly())
        spent_ms = median_ms(partial(relaxation, problem, given, fast_exactly()), repeats=51)
        highs = Solver().solve(build(problem))
        ours[peak_eur_per_kw] = spent_ms, found.cost_eur
        name = "demand charge" if peak_eur_per_kw else "no demand charge"
        say(f"{'exact recursion, ' + name:46} {spent_ms:9.3f} ms   objective {found.cost_eur:.6f}")
        say(f"{'HiGHS cold run, ' + name:46} {highs.solve_s * 1000:9.3f} ms   objective {highs.objective_eur:.6f}")
    for peer, reason in NOT_ASKED.items():
        say(f"{'peer ' + peer:46} skipped: {reason}")
    for peer in PEERS:
        peak_eur_per_kw = 0.0 if peer in WITHOUT_PEAK else 0.5
        problem = common_problem(peak_eur_per_kw)
        try:
            answer = ask(peer, problem)
            cost = cost_eur(problem, np.array(answer.battery_kw))
            spent_ms, our_eur = ours[peak_eur_per_kw]
            say(f"{'peer ' + peer + (', demand charge' if peak_eur_per_kw else ', no demand charge'):46} "
                f"{answer.ms:9.3f} ms   objective {cost:.6f} ({cost - our_eur:+.1e})   "
                f"{answer.ms / spent_ms:.0f}x the recursion's time")  # fmt: skip
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            said = getattr(error, "stderr", None) or str(error)
            last = [line for line in said.splitlines() if line.strip()][-1:] or [type(error).__name__]
            say(f"{'peer ' + peer:46} skipped: not installable or not running here: {last[0][:150]}")


def common_problem(peak_eur_per_kw: float) -> PlanProblem:
    """The day that all of them can plan."""
    rng = np.random.default_rng(5)
    slot = np.arange(SLOTS)
    price = 90 + 70 * np.sin(slot / SLOTS * 4 * np.pi + 2.5) + rng.normal(0, 8, SLOTS)
    load_kw = np.clip(35 + 30 * np.sin((slot - 30) / SLOTS * 2 * np.pi) + rng.normal(0, 12, SLOTS), 5, 95)
    pv_kw = np.clip(80 * np.sin((slot - 24) / 48 * np.pi), 0, None)
    problem = random_problem(1, slots=SLOTS, plant=PLANT, prices=tuple(price.tolist()))
    demand = replace(
        problem.scenarios[0], high_share=(0.0,) * SLOTS, high_kw=(0.0,) * SLOTS, low_kw=tuple(load_kw.tolist())
    )
    return replace(
        problem, tariff=TARIFF, scenarios=(demand,), own_kw=(0.0,) * SLOTS, pv_kw=tuple(pv_kw.tolist()),
        energy_kwh=(100.0,), first_slot_s=900.0, ev_loss_ratio=0.0, end_value_eur_per_kwh=0.0,
        peak_eur_per_kw=peak_eur_per_kw, peak_so_far_kw=20.0,
    )  # fmt: skip


class Answer(Struct):
    """What a peer says: the time of its call, and the battery's power (discharging +)."""

    ms: float
    battery_kw: list[float]


def ask(peer: str, problem: PlanProblem) -> Answer:
    """What the peer answers, from a process of its own environment."""
    script = Path(__file__).with_name("peer") / f"{peer}_day.py"
    given = {
        "buy": [TARIFF.import_eur_per_kwh(price) for price in problem.price_eur_per_mwh],
        "sell": [TARIFF.export_eur_per_kwh(price) for price in problem.price_eur_per_mwh],
        "load_kw": list(problem.scenarios[0].low_kw),
        "pv_kw": list(problem.pv_kw),
        "import_kw": 100.0, "export_kw": 50.0, "power_kw": 110.0, "efficiency": 0.96,
        "usable_kwh": 180.0, "start_kwh": 90.0, "peak_eur_per_kw": problem.peak_eur_per_kw, "paid_kw": 20.0,
    }  # fmt: skip
    done = subprocess.run(
        [str(environment(peer)), str(script)], input=json.dumps(given), capture_output=True, text=True,
        timeout=RUN_S, check=True,
    )  # fmt: skip
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=Answer)


def environment(peer: str) -> Path:
    """The Python of the peer's environment, made if it is not there; raises where it cannot be."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "charging_twins" / "peers"
    home = Path(os.environ.get("PEERS_DIR") or cache) / peer
    python = home / "bin" / "python"
    if not (home / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True, capture_output=True, text=True)
        subprocess.run(
            [str(python), "-m", "pip", "install", "--quiet", PEERS[peer], "highspy"], check=True, capture_output=True,
            text=True, timeout=INSTALL_S,
        )  # fmt: skip
        (home / "ready").touch()
    return python


def cost_eur(problem: PlanProblem, battery_kw: Floats) -> float:
    """What a battery's power (discharging +) costs, sun and export used as is best; infinite where it cannot be."""
    demand, sun = np.array(problem.scenarios[0].low_kw), np.array(problem.pv_kw)
    net = demand - battery_kw
    import_kw = np.maximum(net - sun, 0.0)
    export_kw = np.minimum(np.maximum(sun - net, 0.0), PLANT.export_limit_kw)
    given, taken = np.maximum(battery_kw, 0.0), np.maximum(-battery_kw, 0.0)
    energy = 100.0 + np.cumsum(taken * 0.96 - given / 0.96) * HOURS
    if import_kw.max() > 100.0 + 1e-3 or energy.min() < 10.0 - 1e-3 or energy.max() > 190.0 + 1e-3:
        return float("inf")
    price = np.array(problem.price_eur_per_mwh)
    energy_eur = ((price + 180.0) / 1000 * import_kw - (price - 4.0) / 1000 * export_kw).sum() * HOURS
    return float(energy_eur + problem.peak_eur_per_kw * max(import_kw.max(), 20.0))
