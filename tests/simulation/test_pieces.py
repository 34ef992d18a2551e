"""A soak in pieces: each run is kept once, what is kept is not played again, and two directories can be compared."""

from pathlib import Path

import msgspec
import pytest

from shared.errors import BadInput
from tests.simulation.campaign import in_pieces, seeds_of, tally_of
from tests.simulation.pieces import KINDS, Kept, Piece, differences, file_of, keep, kept_in

pytestmark = [pytest.mark.simulation, pytest.mark.timeout(240)]

HOURS = 0.02
PIECES = [Piece(kind="drawn", hours=HOURS, seed=seed) for seed in (1, 2)]


def test_a_soak_goes_on_where_its_last_piece_ended_and_adds_up(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"

    assert in_pieces(PIECES, first, workers=1, within_s=0.0) == 2, "no time, no run"
    assert in_pieces(PIECES[:1], first, workers=1, within_s=60.0) == 0
    before = file_of(first, PIECES[0]).stat().st_mtime_ns
    assert in_pieces(PIECES, first, workers=1, within_s=60.0) == 0
    assert file_of(first, PIECES[0]).stat().st_mtime_ns == before, "what is kept is not played again"
    tally = tally_of(first)

    assert tally.runs == 2
    assert tally.seconds == 2 * round(HOURS * 3600)
    assert not tally.broken
    assert {"cut", "autonomy: autonomous -> safe"} < set(tally.gaps), "two minutes cover next to nothing"

    in_pieces(PIECES[:1], second, workers=1, within_s=60.0)
    assert list(differences(first, second)) == [f"{PIECES[1].name} is only in {first}"]
    _with_another_wire(first, second)
    assert [line.partition(":")[0] for line in differences(first, second)] == [f"{PIECES[1].name} differs"]


def _with_another_wire(first: Path, second: Path) -> None:
    for kept in kept_in(first):
        if kept.piece == PIECES[1]:
            other = msgspec.structs.replace(kept.report, wire_hash="0" * 64)
            keep(second, Kept(piece=kept.piece, report=other, took_s=0.0))


def test_a_directory_with_something_else_in_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")

    with pytest.raises(BadInput, match="is no run"):
        tally_of(tmp_path)
    with pytest.raises(BadInput, match="no directory"):
        tally_of(tmp_path / "nowhere")


@pytest.mark.parametrize("told", ["", "x", "1..", "5..4", "0"])
def test_seeds_that_are_none_are_refused(told: str) -> None:
    with pytest.raises(BadInput):
        seeds_of(told)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_of_piece_is_a_run(kind: str) -> None:
    options = Piece(kind=kind, hours=2.0, seed=3).options()

    assert options.duration_s == 7200
    assert seeds_of("3..5") == range(3, 6)
