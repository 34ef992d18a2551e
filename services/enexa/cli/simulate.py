"""`enexa simulate`: one controller through a day or recorded sessions in fast time, with its minutes and a report."""

import argparse
import csv
import sys
from pathlib import Path

from msgspec import structs

from services.enexa.cli import compare as command
from services.enexa.simulation.compare import Comparing
from services.enexa.simulation.plant import CHARGE, DISCHARGE, ENERGY, EV, EXPORT, IMPORT, OWN, PV_USED
from services.enexa.simulation.site import Losses, Run
from services.enexa.simulation.smartems import Knows
from services.enexa.simulation.study import study_of

COLUMNS = (
    ("import_kw", IMPORT),
    ("export_kw", EXPORT),
    ("pv_used_kw", PV_USED),
    ("charge_kw", CHARGE),
    ("discharge_kw", DISCHARGE),
    ("ev_kw", EV),
    ("own_kw", OWN),
    ("energy_kwh", ENERGY),
)
CONTROLLERS = {"smart": "SmartEMS", "lp": "SmartEMS as the service plays it", "reactive": "The reactive BMS"}
STATION_EV_LOSS_RATIO = 0.03
"""With losses by power this is the linear part; the rest grows with the car's power."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The inputs, the controller, and the minutes."""
    command.add_inputs(parser)
    parser.add_argument("--controller", choices=list(CONTROLLERS), default="smart")
    parser.add_argument("--planner", choices=["table", "lp"], default="table", help="lp is --controller lp")
    parser.add_argument("--knows", choices=[each.value for each in Knows], default=Knows.FORECAST.value)
    parser.add_argument(
        "--losses", action="store_true", help="losses by power and air conditioning by load, as measured"
    )
    parser.add_argument("--minutes", type=Path, help="write every minute as CSV")


def run(arguments: argparse.Namespace) -> int:
    """Print the controller's figures; write its files where asked."""
    given, prices, history = command.inputs(arguments)
    told = command.conditions(arguments, given, history)
    if arguments.losses:
        given = structs.replace(given, losses=Losses(), ev_loss_ratio=STATION_EV_LOSS_RATIO)
        told.append("The battery’s and the cars’ losses grow with power, and air conditioning follows the load.")
    recursion, step_function = command.engine(arguments)
    name = "lp" if arguments.planner == "lp" and arguments.controller == "smart" else arguments.controller
    with command.bar() as progress:
        engine = Comparing(given, prices, history, recursion=recursion, step_function=step_function, progress=progress)
        done = {"smart": lambda: engine.table(Knows(arguments.knows)), "lp": engine.live, "reactive": engine.reactive}[
            name
        ]()
    found = study_of(
        given,
        {name: done},
        title=f"{CONTROLLERS[name]} on {command.where(arguments)}",
        judged=name,
        bounded=False,
        plans_count=engine.plans_count,
        conditions=told,
        command=command.command_of("simulate", arguments),
    )
    sys.stdout.write(command.table(found))
    command.write(found, arguments)
    if arguments.minutes:
        write_minutes(done, command.target(arguments.minutes))
    return 0


def write_minutes(done: Run, target: Path) -> None:
    """One line per minute: power of each flow and the energy in the cells at its end."""
    with target.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["timestamp_utc", "price_eur_per_mwh", *(name for name, _ in COLUMNS)])
        for step in range(done.given.steps):
            values = (f"{done.record[row, step]:.4f}" for _, row in COLUMNS)
            at = done.given.at(step).isoformat()
            writer.writerow([at, f"{done.given.price_eur_per_mwh[step]:.2f}", *values])
