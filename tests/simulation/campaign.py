"""python -m tests.simulation.campaign --seeds 200 --hours 2: many seeds, and what they covered.

Each seed is a run of its own; the tally adds up how often every kind of fault changed something, how often every edge
of every state machine was gone through, and whether each fault woke its rule. A run that broke is saved as a bundle,
with both wires beside it.
"""

import argparse
import hashlib
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import msgspec
import structlog
from msgspec import Struct
from structlog.typing import EventDict

from tests.simulation.bundle import bundle_of, save
from tests.simulation.catalogue import RULES
from tests.simulation.drawn import DEVICE_FAULTS, drawn
from tests.simulation.edges import all_edges
from tests.simulation.report import Report
from tests.simulation.watch import RuleVerdict
from tests.simulation.world import Options, World

FAULTS_WANTED = 100
EDGES_WANTED = 10


class Tally(Struct, kw_only=True):
    """The sum of a campaign."""

    runs: int = 0
    seconds: int = 0
    broken: list[str] = []
    faults: Counter[str] = msgspec.field(default_factory=Counter)
    edges: Counter[str] = msgspec.field(default_factory=Counter)
    rules: dict[str, RuleVerdict] = {}
    missing_samples: int = 0
    hashes: str = ""
    """SHA-256 over the wire hashes of all runs, in order of their seeds."""

    def add(self, report: Report) -> None:
        self.runs += 1
        self.seconds += report.seconds
        self.faults.update(report.troubles)
        self.edges.update(report.edges)
        self.missing_samples += report.samples.missing
        for rule in report.rules:
            self.rules[f"{rule.rule}: {rule.must}"] = _sum(self.rules.get(f"{rule.rule}: {rule.must}"), rule)
        self.hashes = hashlib.sha256((self.hashes + report.wire_hash).encode()).hexdigest()

    def lines(self) -> Iterator[str]:
        """The tally for a terminal."""
        yield f"{self.runs} runs, {self.seconds} s simulated, {len(self.broken)} broken, hash {self.hashes}"
        yield from (f"BROKEN {text}" for text in self.broken)
        yield f"faults that changed a byte or a state (wanted: {FAULTS_WANTED} of each)"
        yield from _counted(self.faults, fault_names(), FAULTS_WANTED)
        yield f"edges gone through (wanted: {EDGES_WANTED} of each)"
        yield from _counted(self.edges, all_edges(), EDGES_WANTED)
        yield "rules"
        yield from ("  " + rule.sentence() for _, rule in sorted(self.rules.items()))


def fault_names() -> frozenset[str]:
    """Every kind of fault that is drawn, as reports name it."""
    return frozenset(
        {"restart" if rule.kind == "kill" else rule.kind for rule in RULES if rule.kind != "grid_limit"}
    ) | frozenset(DEVICE_FAULTS)


def campaign(
    seeds: Iterable[int], *, hours: float, liveness: bool, workers: int = 1, bundles: Path | None = None
) -> Tally:
    """Play the runs of these seeds; a broken one leaves a bundle in `bundles`."""
    play = partial(play_one, hours=hours, liveness=liveness, bundles=bundles)
    tally = Tally()
    for seed, report in _played(play, seeds, workers):
        tally.add(report)
        if report.breach_count or report.samples.missing:
            told = "; ".join(breach.sentence().strip() for breach in report.breaches[:3])
            tally.broken.append(f"seed {seed}: {told or 'samples are missing'}")
    return tally


def play_one(seed: int, *, hours: float, liveness: bool, bundles: Path | None) -> tuple[int, Report]:
    """One run; saved where it broke."""
    structlog.configure(processors=[_dropped])
    options = drawn(seed, hours=hours, liveness=liveness)
    report = World(options).run()
    if bundles is not None and report.breach_count:
        save_broken(options, report, bundles / f"seed-{seed}.json")
    return seed, report


def save_broken(options: Options, report: Report, path: Path) -> None:
    """A bundle, and beside it both wires, which the run writes when it is played once more."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save(bundle_of(options, report), path)
    World(options, wire_file=path.with_suffix(".wires")).run()


def _played(
    play: Callable[[int], tuple[int, Report]], seeds: Iterable[int], workers: int
) -> Iterator[tuple[int, Report]]:
    if workers <= 1:
        yield from map(play, seeds)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(play, seeds)


def _counted(counts: Mapping[str, int], names: Iterable[str], wanted: int) -> Iterator[str]:
    for name in sorted({*names, *counts}):
        yield f"  {'  ' if counts.get(name, 0) >= wanted else '< '}{counts.get(name, 0):8}  {name}"


def _sum(before: RuleVerdict | None, more: RuleVerdict) -> RuleVerdict:
    if before is None:
        return more
    return msgspec.structs.replace(
        more,
        fired=before.fired + more.fired,
        masked=before.masked + more.masked,
        late=before.late + more.late,
        slowest_s=max(before.slowest_s, more.slowest_s),
    )


def _dropped(*_: object) -> EventDict:
    raise structlog.DropEvent


def main() -> int:
    """0 where nothing broke, and where everything was covered if that was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.campaign", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--liveness", action="store_true", help="fair weather for the last quarter of an hour")
    parser.add_argument("--bundles", type=Path, default=Path(tempfile.gettempdir()) / "simulation-bundles")
    given = parser.parse_args()
    seeds = range(given.first, given.first + given.seeds)
    tally = campaign(seeds, hours=given.hours, liveness=given.liveness, workers=given.workers, bundles=given.bundles)
    print("\n".join(tally.lines()))
    return 1 if tally.broken else 0


if __name__ == "__main__":
    sys.exit(main())
