"""What the `conformance` commands of both services share: words, secrets, files, exit codes."""

import argparse
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from shared.conformance.checks import Check, Verdict, run_checks
from shared.conformance.page import sentences
from shared.conformance.peer import Peer
from shared.conformance.report import html, junit, text_lines

SECRET = "CONFORMANCE_SECRET"  # noqa: S105 -- the name of a variable, not a secret
S = TypeVar("S")


def add_words(parser: argparse.ArgumentParser) -> None:
    """Options that every kit takes."""
    parser.add_argument("--write", action="store_true", help="also ask what changes data or moves something")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write the verdicts as JUnit XML")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write them with the traceability table as HTML")


def add_peer_words(parser: argparse.ArgumentParser) -> None:
    """Options for a peer over HTTPS; the secret stands in the environment, where no process list shows it."""
    parser.add_argument("--client-id", help=f"who logs in; its secret is taken from {SECRET}")
    parser.add_argument("--ca", type=Path, metavar="FILE", help="the authority that signed the peer's certificate")
    parser.add_argument("--site", help="the site to ask about; default: the first one listed")


def peer_of(url: str, given: argparse.Namespace, environment: Mapping[str, str] = os.environ) -> Peer:
    return Peer(url, ca_file=given.ca, client_id=given.client_id, secret=environment.get(SECRET), site_id=given.site)


def run_kit(name: str, checks: Iterable[Check[S]], subject: S, given: argparse.Namespace) -> int:
    """Ask, tell, write the files; 0 = conforms, 1 = does not, though it may still work, 3 = something fails."""
    verdicts = tuple(run_checks(checks, subject, writing=given.write))
    sys.stdout.write("\n".join(text_lines(name, verdicts)) + "\n")
    if given.junit is not None:
        given.junit.write_text(junit(name, verdicts), encoding="utf-8")
    if given.html is not None:
        given.html.write_text(html(name, verdicts, sentences()), encoding="utf-8")
    return exit_code(verdicts)


def exit_code(verdicts: Iterable[Verdict]) -> int:
    tried = [each for each in verdicts if each.conforms is not None]
    if any(not each.works for each in tried):
        return 3
    return 0 if all(each.conforms for each in tried) else 1
