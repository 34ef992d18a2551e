"""Ask a running Amperio, ours or a real one, what the page says that it hosts; safe unless --write is given."""

import argparse

from services.enexa.conformance.amperio import CHECKS
from shared.conformance.command import add_peer_words, add_words, peer_of, run_kit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--amperio", metavar="URL", required=True, help="the address of the middleware")
    add_peer_words(parser)
    add_words(parser)


def run(arguments: argparse.Namespace) -> int:
    """0 = conforms, 1 = works but does not conform, 3 = something fails."""
    return run_kit(arguments.amperio, CHECKS, peer_of(arguments.amperio, arguments), arguments)
