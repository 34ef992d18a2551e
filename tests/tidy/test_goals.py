"""Each P0 goal names the test that holds it, or says why there is none."""

import ast
import tomllib
from typing import Any

import pytest

from tests.tidy.source import ROOT, tree

P0 = (
    *("A1", "A2", "A3", "A4", "A5", "A6", "A8", "A9", "A14", "A16"),
    *(f"B{number}" for number in range(1, 15)),
    *(f"C{number}" for number in (*range(1, 12), 13, 15)),
    *("D1", "D2", "D4", "D5", "D6", "D8", "D9", "D10"),
    *("E1", "E2", "E3", "E4"),
    *("F1", "F2", "F3", "F4", "F5", "F6", "F7", "F8", "F9", "F10", "F11", "F12", "F13"),
    *("G1", "G2", "G3", "G4", "G5", "G6", "G7", "G8"),
    *("H1", "H2", "H3", "H4"),
)
GOALS: dict[str, dict[str, Any]] = tomllib.loads((ROOT / "tests" / "goals.toml").read_text(encoding="utf-8"))


def test_every_goal_is_listed_and_no_other() -> None:
    assert list(GOALS) == list(P0), "tests/goals.toml lists the goals in the order of the issue"


@pytest.mark.parametrize("goal", P0)
def test_a_goal_has_a_test_that_exists_or_a_reason_why_not(goal: str) -> None:
    row = GOALS[goal]
    assert set(row) <= {"promise", "tests", "bites", "missing"}, f"{goal}: unknown key in {sorted(row)}"
    assert bool(row.get("tests")) is not bool(row.get("missing")), f"{goal}: give tests, or say in `missing` why not"
    for name in (*row.get("tests", ()), *row.get("bites", ())):
        assert exists(name), f"{goal}: {name} does not exist"


PLANTED = "tests/unit/amperio/test_planted_bugs.py"


@pytest.mark.parametrize("goal", P0)
def test_a_control_shows_that_the_proof_of_a_goal_bites(goal: str) -> None:
    bites = GOALS[goal].get("bites", ())
    assert bites, f"{goal}: name the control in `bites`"
    if any(name.startswith(PLANTED) for name in bites):
        planted = {
            keyword.value.value
            for node in ast.walk(tree(ROOT / PLANTED))
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Bug"
            for keyword in node.keywords
            if keyword.arg == "goal" and isinstance(keyword.value, ast.Constant)
        }
        assert goal in planted, f"{goal}: no bug of {PLANTED} is for it"


def exists(name: str) -> bool:
    """Whether a file holds this test, `tests/x/test_y.py::test_z`, or this planted bug, `tests/planted/z.patch`."""
    if name.startswith("tests/planted/"):
        return (ROOT / name).is_file()
    file, _, function = name.partition("::")
    path = ROOT / file
    return path.is_file() and any(
        isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == function
        for node in ast.walk(tree(path))
    )
