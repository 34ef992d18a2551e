"""`enexa sweep`: a shipped day under every combination of knobs, on all cores, resumable."""

import argparse
import csv
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path

from msgspec import structs

from services.enexa.market.tariffs import Tariff
from services.enexa.simulation.compare import Comparison, compare
from services.enexa.simulation.days import PV_SHARE_KWP, scenario_day, scenario_prices
from services.enexa.simulation.scenarios import PLANTS
from services.enexa.simulation.whatif import Knobs, sweep, turned_plant, turned_prices, turned_tariff
from shared.errors import BadInput
from shared.scenario.load import load_scenario

FIGURES = ("reactive_eur", "smart_eur", "perfect_eur", "uplift_captured_ratio", "unserved_kwh", "peak_kw")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("knobs", nargs="+", metavar="KNOB=V1,V2,...", help=", ".join(Knobs.__struct_fields__))
    parser.add_argument("--scenario", default="reference_day")
    parser.add_argument("--plant", choices=sorted(PLANTS), default="reference_day")
    parser.add_argument("--out", type=Path, default=Path("build/sweep.csv"), help="lines already there are not redone")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)


def run(arguments: argparse.Namespace) -> int:
    """Append one line per variant to the CSV, in the order of the variants."""
    variants = sweep(dict(_axis(word) for word in arguments.knobs))
    target: Path = arguments.out
    target.parent.mkdir(parents=True, exist_ok=True)
    todo = [knobs for knobs in variants if _key(knobs) not in _done(target)]
    new = not target.exists()
    play = partial(play_variant, arguments.scenario, arguments.plant)
    with target.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow([*Knobs.__struct_fields__, *FIGURES])
        with ProcessPoolExecutor(max_workers=max(1, min(arguments.workers, len(todo) or 1))) as pool:
            for index, (knobs, found) in enumerate(zip(todo, pool.map(play, todo), strict=True), start=1):
                writer.writerow([*_key(knobs), *_figures(found)])
                file.flush()
                sys.stderr.write(f"\r{index} of {len(todo)}")
    sys.stdout.write(f"\n{len(variants)} variants in {target}, {len(variants) - len(todo)} of them from before\n")
    return 0


def play_variant(scenario_name: str, plant_name: str, knobs: Knobs) -> Comparison:
    """One variant, in whatever process."""
    scenario = load_scenario(scenario_name)
    prices = turned_prices(scenario_prices(scenario), knobs)
    given = scenario_day(
        scenario,
        plant=turned_plant(PLANTS[plant_name], knobs),
        tariff=turned_tariff(Tariff(), knobs),
        prices=prices,
        pv_kwp=(0.0 if plant_name == "chargepost" else PV_SHARE_KWP) * knobs.pv_ratio,
    )
    assert prices.until >= given.start + timedelta(days=1)
    return compare(given, prices)


def _axis(word: str) -> tuple[str, tuple[float, ...]]:
    name, equals, values = word.partition("=")
    try:
        return name, tuple(float(value) for value in values.split(","))
    except ValueError as error:
        sentence = "Write a knob as NAME=1.0,1.5" if equals else "A knob needs values: NAME=1.0,1.5"
        raise BadInput(sentence, given=word) from error


def _key(knobs: Knobs) -> tuple[str, ...]:
    return tuple(f"{value:g}" for value in structs.astuple(knobs))


def _done(target: Path) -> set[tuple[str, ...]]:
    if not target.exists():
        return set()
    with target.open(newline="", encoding="utf-8") as file:
        return {tuple(row[: len(Knobs.__struct_fields__)]) for row in csv.reader(file)}


def _figures(found: Comparison) -> list[str]:
    captured = found.uplift_captured_ratio
    values = (found.reactive.net_eur, found.smart.net_eur, found.perfect_eur)
    share = "" if captured is None else f"{captured:.4f}"
    return [
        *(f"{value:.4f}" for value in values),
        share,
        f"{found.smart.unserved_kwh:.3f}",
        f"{found.smart.peak_kw:.2f}",
    ]
