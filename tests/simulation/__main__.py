"""python -m tests.simulation --scenario reference_day --seed 1: both twins and the device in one process."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import structlog
from structlog.typing import EventDict

from shared.errors import BadInput
from shared.scenario.load import load_scenario
from tests.simulation.bundle import bundle_of, load, save
from tests.simulation.campaign import save_broken
from tests.simulation.drawn import drawn
from tests.simulation.world import Options, World


def main() -> int:
    """0 where the run held, 1 where an invariant or an expectation broke, 2 for unusable input."""
    given = _arguments()
    # The programs' own log lines stand in the event log of the run (--log).
    structlog.configure(processors=[_silent])
    began_s = time.perf_counter()
    try:
        known = load(given.bundle) if given.bundle else None
        options = known.options if known else _options(given)
        world = World(options, wire_file=given.wires, log_file=given.log)
    except BadInput as error:
        print(f"simulation: {error}", file=sys.stderr)
        return 2
    report = world.run()
    took_s = time.perf_counter() - began_s
    if given.save:
        save(bundle_of(options, report), given.save)
    if given.json:
        print(msgspec.json.format(msgspec.json.encode(report)).decode())
    else:
        print("\n".join(report.lines()))
        print(f"took       {took_s:.1f} s, {report.seconds / max(took_s, 1e-9):.0f} times real time")
    if known is None and not report.held and not given.save:
        kept = Path(tempfile.gettempdir()) / f"broken-{report.scenario}-{report.seed}.json"
        save_broken(options, report, kept)
        print(f"again      make sim BUNDLE={kept} (both wires lie beside it)")
    if known is not None and report.wire_hash != known.wire_hash:
        print("simulation: this is not the run of the bundle; the code has changed since", file=sys.stderr)
        return 1
    return 0 if report.held else 1


def _silent(*_: object) -> EventDict:
    raise structlog.DropEvent


def _options(given: argparse.Namespace) -> Options:
    if given.drawn:
        return drawn(given.seed, hours=given.hours or 2.0, liveness=not given.to_the_end)
    scenario = load_scenario(given.scenario)
    return Options(scenario=scenario, seed=given.seed, hours=given.hours, price_file=given.prices)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--scenario", default="reference_day", help="a name of the library, or a TOML file")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--hours", type=float, help="how long; default: what the scenario says")
    parser.add_argument("--prices", help="a file of day-ahead prices instead of the scenario's")
    parser.add_argument("--log", type=Path, help="write the event log here")
    parser.add_argument("--wires", type=Path, help="write every message on both wires here")
    parser.add_argument("--drawn", action="store_true", help="cars and troubles drawn from the seed, not a scenario")
    parser.add_argument("--to-the-end", action="store_true", help="with --drawn: no fair weather at the end")
    parser.add_argument("--save", type=Path, help="write a bundle of this run here")
    parser.add_argument("--bundle", type=Path, help="play the run of a bundle again")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
