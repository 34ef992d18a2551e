"""python -m tests.simulation.campaign --seeds 1..200 --hours 2 --out DIR: many seeds, and what they covered.

Each seed is a run of its own; the tally adds up how often every kind of fault changed something, how often every edge
of every state machine was gone through, and whether each fault woke its rule. A run that broke is saved as a bundle,
with both wires beside it. With --out each run is kept as it ends, and those that are there are not played again:

    python -m tests.simulation.campaign --seeds 1..1000 --hours 2 --out first --within 480   until nothing is left
    python -m tests.simulation.campaign report first                                     what they cover
    python -m tests.simulation.campaign report first second                              and whether both are equal
"""

import argparse
import hashlib
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import msgspec
import structlog
from msgspec import Struct
from structlog.typing import EventDict

from shared.clock import real_deadline_s, real_now_s
from shared.errors import BadInput
from tests.simulation.bundle import bundle_of, save
from tests.simulation.catalogue import RULES
from tests.simulation.drawn import DEVICE_FAULTS, drawn
from tests.simulation.edges import all_edges
from tests.simulation.pieces import KINDS, Kept, Piece, differences, file_of, keep, kept_in
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
    """Rows of all plans that changed a byte or a state."""
    injected: Counter[str] = msgspec.field(default_factory=Counter)
    messages: Counter[str] = msgspec.field(default_factory=Counter)
    """Messages that troubles of links changed."""
    edges: Counter[str] = msgspec.field(default_factory=Counter)
    rules: dict[str, RuleVerdict] = {}
    missing_samples: int = 0
    hashes: str = ""
    """SHA-256 over the wire hashes of all runs, in order of their seeds."""

    def add(self, name: str, report: Report) -> None:
        self.runs += 1
        self.seconds += report.seconds
        if not report.held or report.samples.missing:
            told = [breach.sentence().strip() for breach in report.breaches[:3]]
            told += [verdict.sentence() for verdict in report.verdicts if not verdict.held]
            self.broken.append(f"{name}: {'; '.join(told) or 'samples are missing'}")
        self.faults.update(report.effective)
        self.injected.update(report.injected)
        self.messages.update(report.troubles)
        self.edges.update(report.edges)
        self.missing_samples += report.samples.missing
        for rule in report.rules:
            self.rules[f"{rule.rule}: {rule.must}"] = _sum(self.rules.get(f"{rule.rule}: {rule.must}"), rule)
        self.hashes = hashlib.sha256((self.hashes + report.wire_hash).encode()).hexdigest()

    def lines(self) -> Iterator[str]:
        """The tally for a terminal."""
        yield f"{self.runs} runs, {self.seconds} s simulated, {len(self.broken)} broken, hash {self.hashes}"
        yield from (f"BROKEN {text}" for text in self.broken)
        yield f"faults that changed a byte or a state (wanted: {FAULTS_WANTED} of each), and what of them was planned"
        for line, name in _counted(self.faults, fault_names(), FAULTS_WANTED):
            yield f"{line}  of {self.injected[name]}; {self.messages[name]} times"
        yield f"edges gone through (wanted: {EDGES_WANTED} of each)"
        yield from (line for line, _ in _counted(self.edges, all_edges(), EDGES_WANTED))
        yield "rules"
        yield from ("  " + rule.sentence() for _, rule in sorted(self.rules.items()))

    @property
    def gaps(self) -> list[str]:
        """Faults and edges that too few runs have met."""
        return [name for name in sorted(fault_names()) if self.faults[name] < FAULTS_WANTED] + [
            name for name in sorted(all_edges()) if self.edges[name] < EDGES_WANTED
        ]


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
        tally.add(f"seed {seed}", report)
    return tally


def in_pieces(pieces: Sequence[Piece], folder: Path, *, workers: int, within_s: float) -> int:
    """Play what is not kept yet, and begin nothing more after `within_s`; how many are left."""
    folder.mkdir(parents=True, exist_ok=True)
    until_s = real_deadline_s(within_s)
    left = [piece for piece in pieces if not file_of(folder, piece).exists()]
    play_it = partial(_play_piece, folder=folder, until_s=until_s)
    if workers <= 1:
        return len(left) - sum(map(play_it, left))
    with ProcessPoolExecutor(workers) as pool:
        return len(left) - sum(pool.map(play_it, left))


def _play_piece(piece: Piece, *, folder: Path, until_s: float) -> bool:
    if real_now_s() >= until_s:
        return False
    structlog.configure(processors=[_dropped])
    options, began_s = piece.options(), real_now_s()
    report = World(options).run()
    if not report.held:
        save_broken(options, report, folder / "broken" / f"{piece.name}.json")
    keep(folder, Kept(piece=piece, report=report, took_s=real_now_s() - began_s))
    return True


def tally_of(folder: Path) -> Tally:
    """The sum of all runs that a directory holds."""
    tally = Tally()
    for kept in kept_in(folder):
        tally.add(kept.piece.name, kept.report)
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


def _counted(counts: Mapping[str, int], names: Iterable[str], wanted: int) -> Iterator[tuple[str, str]]:
    for name in sorted({*names, *counts}):
        yield f"  {'  ' if counts.get(name, 0) >= wanted else '< '}{counts.get(name, 0):8}  {name}", name


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
    """0 where nothing broke; 1 where a run broke or two directories differ; 2 for unusable input."""
    try:
        return _report(sys.argv[2:]) if sys.argv[1:2] == ["report"] else _play(sys.argv[1:])
    except BadInput as error:
        print(f"campaign: {error}", file=sys.stderr)
        return 2


def _play(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation.campaign", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", default="1..20", help="the seeds, as 1..200, or how many from 1 on")
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--kind", choices=sorted(KINDS), default="drawn")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, help="keep each run here, and go on where the last piece ended")
    parser.add_argument("--within", type=float, default=float("inf"), help="begin no further run after so many seconds")
    given = parser.parse_args(arguments)
    pieces = [Piece(kind=given.kind, hours=given.hours, seed=seed) for seed in seeds_of(given.seeds)]
    with tempfile.TemporaryDirectory() as passing:
        folder = given.out or Path(passing)
        left = in_pieces(pieces, folder, workers=given.workers, within_s=given.within)
        tally = tally_of(folder)
    print("\n".join(tally.lines()))
    if left:
        print(f"{left} runs are left: the same command again goes on with them")
    return 1 if tally.broken else 0


def _report(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.campaign report")
    parser.add_argument("folder", type=Path)
    parser.add_argument("other", type=Path, nargs="?", help="a second one, which must hold the same runs to the byte")
    given = parser.parse_args(arguments)
    tally = tally_of(given.folder)
    print("\n".join(tally.lines()))
    unequal = list(differences(given.folder, given.other)) if given.other else []
    print("\n".join(unequal or ([f"{given.other} holds the same runs to the byte"] if given.other else [])))
    return 1 if tally.broken or unequal else 0


def seeds_of(told: str) -> range:
    """`20` is 1 to 20, `21..40` is that; BadInput for anything else."""
    first, dots, last = told.partition("..")
    try:
        seeds = range(int(first), int(last) + 1) if dots else range(1, int(first) + 1)
    except ValueError:
        raise BadInput(f"seeds are told as 1..200, not as {told!r}", given=told) from None
    if not seeds:
        raise BadInput(f"{told} is no seed at all", given=told)
    return seeds


if __name__ == "__main__":
    sys.exit(main())
