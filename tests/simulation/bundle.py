"""A bundle: everything that makes a run, and what it came to, in one file that plays again.

The wires need not lie in it: they follow from the options, and playing again with `--wires` writes them.
"""

from pathlib import Path

import msgspec
from msgspec import Struct

from shared.errors import BadInput
from tests.simulation.report import Report
from tests.simulation.world import Options, World


class Bundle(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A run that can be had again."""

    options: Options
    wire_hash: str
    log_hash: str
    breaches: tuple[str, ...] = ()


def bundle_of(options: Options, report: Report) -> Bundle:
    breaches = tuple(breach.sentence() for breach in report.breaches)
    return Bundle(options=options, wire_hash=report.wire_hash, log_hash=report.log_hash, breaches=breaches)


def save(bundle: Bundle, path: Path) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(bundle)) + b"\n")


def load(path: Path) -> Bundle:
    """BadInput where the file is no bundle."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Bundle)
    except (OSError, msgspec.DecodeError) as error:
        raise BadInput(f"{path} is no bundle: {error}") from error


def play_again(bundle: Bundle) -> tuple[Report, bool]:
    """The run once more, and whether it was the same to the byte."""
    report = World(bundle.options).run()
    return report, (report.wire_hash, report.log_hash) == (bundle.wire_hash, bundle.log_hash)
