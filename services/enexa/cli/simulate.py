"""`enexa simulate`: one controller through a day or recorded sessions in fast time, minute by minute as CSV."""

import argparse
import csv
import sys
from pathlib import Path

from msgspec import structs

from services.enexa.cli import compare as compare_command
from services.enexa.simulation.kpis import kpis_of
from services.enexa.simulation.plant import CHARGE, DISCHARGE, ENERGY, EV, EXPORT, IMPORT, PV_USED
from services.enexa.simulation.site import Run, run_reactive
from services.enexa.simulation.smartems import Knows, SmartEms

COLUMNS = (
    ("import_kw", IMPORT),
    ("export_kw", EXPORT),
    ("pv_used_kw", PV_USED),
    ("charge_kw", CHARGE),
    ("discharge_kw", DISCHARGE),
    ("ev_kw", EV),
    ("energy_kwh", ENERGY),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of `compare`, and the controller and the minutes."""
    compare_command.add_arguments(parser)
    parser.add_argument("--controller", choices=["smart", "reactive"], default="smart")
    parser.add_argument("--minutes", type=Path, help="write every minute as CSV")


def run(arguments: argparse.Namespace) -> int:
    """Print the controller's figures; write its minutes where asked."""
    given, prices, history = compare_command.inputs(arguments)
    if arguments.controller == "reactive":
        done = run_reactive(given)
    else:
        done = SmartEms(given, prices, history, Knows(arguments.knows)).complete()
    for name, value in structs.asdict(kpis_of(done)).items():
        sys.stdout.write(f"{name:28}{value:>12.2f}\n")
    if arguments.minutes:
        write_minutes(done, arguments.minutes)
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
