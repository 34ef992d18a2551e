"""Every sentence of the customer's page is covered: by a check of a kit, a story, a test or an import rule."""

import os
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from services.amperio.conformance import enexa, modbus
from services.enexa.conformance import amperio
from shared.conformance.checks import Check
from shared.conformance.page import sentences
from shared.scenario.load import scenario_names

ROOT = Path(__file__).parents[3]
CHECKS: tuple[Check[Any], ...] = (*enexa.CHECKS, *amperio.CHECKS, *modbus.CHECKS)
COVERED = {sentence for check in CHECKS for sentence in check.covers}


def test_every_sentence_is_covered_by_something_that_runs() -> None:
    bare = [each for each in sentences() if not each.heading and not each.proof and each.id not in COVERED]

    assert not bare, "\n".join(f"{each.id} {each.text}" for each in bare)


def test_checks_cover_only_sentences_that_there_are() -> None:
    known = {each.id for each in sentences()}

    assert known >= COVERED, COVERED - known
    assert len(known) == len(sentences())


def test_every_check_has_a_name_of_its_own_and_covers_something() -> None:
    names = [check.id for check in CHECKS]

    assert len(names) == len(set(names))
    assert all(check.covers for check in CHECKS)


def test_every_proof_is_there() -> None:
    stories = set(scenario_names())
    rules = {
        each["name"]
        for each in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    }
    for sentence in sentences():
        for proof in sentence.proof:
            kind, _, name = proof.partition(" ")
            there = {
                "story": name in stories,
                "rule": name in rules,
                "test": (ROOT / name).is_file(),
            }
            assert there[kind], f"{sentence.id}: {proof}"


def test_the_table_is_the_whole_page() -> None:
    """Against the page itself, where it lies beside the project."""
    page = Path(os.environ.get("SHARED", ROOT.parent / "shared")) / "seed" / "communication_architecture.txt"
    if not page.is_file():
        pytest.skip(f"the customer's page is not at {page}")
    lines = [line.strip() for line in page.read_text(encoding="utf-8").splitlines()]

    assert [each.text for each in sentences()] == [re.sub(r"^[•\-\s]+", "", line) for line in lines if line]
