"""`amperio conformance`: the kits against an Enexa and against a station."""

import argparse

from services.amperio.conformance import enexa, modbus
from shared.conformance.command import add_peer_words, add_words, peer_of, run_kit
from shared.errors import BadInput


def add_arguments(parser: argparse.ArgumentParser) -> None:
    subject = parser.add_mutually_exclusive_group(required=True)
    subject.add_argument("--enexa", metavar="URL", help="ask an Enexa at this address")
    subject.add_argument("--modbus", metavar="HOST[:PORT]", help="ask a station, reading only")
    add_peer_words(parser)
    add_words(parser)


def run(given: argparse.Namespace) -> int:
    """0 = conforms, 1 = works but does not conform, 3 = something fails."""
    if given.enexa is not None:
        return run_kit(given.enexa, enexa.CHECKS, peer_of(given.enexa, given), given)
    host, _, port = given.modbus.partition(":")
    if port and not port.isdigit():
        raise BadInput(f"'{given.modbus}' is no HOST or HOST:PORT")
    return run_kit(given.modbus, modbus.CHECKS, modbus.Station(host, int(port or modbus.PORT)), given)
