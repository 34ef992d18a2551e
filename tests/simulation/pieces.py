"""Runs kept one by one in a directory, so that a soak can be played in pieces, on several processes, and gone on with.

Each run is one small file, named after its kind, length and seed. A run whose file is there is not played again; a file
appears whole or not at all. What a directory adds up to, and whether two directories hold the same runs to the byte,
is asked afterwards.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from shared.errors import BadInput
from shared.scenario.load import load_scenario
from tests.simulation.drawn import drawn
from tests.simulation.report import Report
from tests.simulation.weather import Kind, Place, Trouble
from tests.simulation.world import Options

CUTS_PER_HOUR = 40.0 / 24.0
CALM_S = 100


class Piece(Struct, frozen=True, kw_only=True):
    """What makes one run of a soak."""

    kind: str
    hours: float
    seed: int

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.hours:g}h-{self.seed:06}"

    def options(self) -> Options:
        """The run itself."""
        return KINDS[self.kind](self.seed, self.hours)


class Kept(Struct, frozen=True, kw_only=True):
    """A piece that has been played."""

    piece: Piece
    report: Report
    took_s: float


def power_cuts(seed: int, hours: float) -> Options:
    """The reference day of a machine that loses its power again and again."""
    chance = random.Random(f"power cuts {seed}")
    end_s = int(hours * 3600.0)
    cuts = tuple(
        Trouble(kind=Kind.POWER_CUT, place=Place.AMPERIO, at_s=float(at_s), for_s=float(chance.choice((1, 10, 60))))
        for at_s in sorted(chance.sample(range(CALM_S, end_s - 2 * CALM_S), max(1, round(CUTS_PER_HOUR * hours))))
    )
    return Options(scenario=load_scenario("reference_day"), seed=seed, hours=hours, troubles=cuts)


def story(name: str) -> Callable[[int, float], Options]:
    """A scenario of the library, with its own expectations; `hours` 0 is its own length."""
    return lambda seed, hours: Options(scenario=load_scenario(name), seed=seed, hours=hours or None)


KINDS: Mapping[str, Callable[[int, float], Options]] = {
    "drawn": lambda seed, hours: drawn(seed, hours=hours, liveness=False),
    "healed": lambda seed, hours: drawn(seed, hours=hours, liveness=True),
    "power_cuts": power_cuts,
    "outage_24h": story("outage_24h"),
    "outage_72h": story("outage_72h"),
}
"""What can be played in pieces: seeds under troubles to their end, or with a fair end, power cuts, and outages."""


def file_of(folder: Path, piece: Piece) -> Path:
    return folder / f"{piece.name}.json"


def keep(folder: Path, kept: Kept) -> None:
    """Write it so that a reader sees all of it or nothing."""
    path = file_of(folder, kept.piece)
    half = path.with_suffix(".half")
    half.write_bytes(msgspec.json.encode(kept))
    half.replace(path)


def kept_in(folder: Path) -> Iterator[Kept]:
    """What has been played so far, in order of names; BadInput for a file that is no run."""
    if not folder.is_dir():
        raise BadInput(f"there is no directory {folder}")
    for path in sorted(folder.glob("*.json")):
        try:
            yield msgspec.json.decode(path.read_bytes(), type=Kept)
        except msgspec.DecodeError as error:
            raise BadInput(f"{path} is no run: {error}") from error


def differences(first: Path, second: Path) -> Iterator[str]:
    """Runs that one of the two lacks, or that differ in a byte of their wires or of their event logs."""
    ours, theirs = ({kept.piece.name: kept.report for kept in kept_in(folder)} for folder in (first, second))
    for name in sorted(ours.keys() | theirs.keys()):
        one, other = ours.get(name), theirs.get(name)
        if one is None or other is None:
            yield f"{name} is only in {second if one is None else first}"
        elif (one.wire_hash, one.log_hash) != (other.wire_hash, other.log_hash):
            yield f"{name} differs: wires {one.wire_hash[:12]} and {other.wire_hash[:12]}"
