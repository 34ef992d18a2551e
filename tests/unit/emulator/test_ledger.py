"""The truth on disk: nothing is changed, nothing is lost, numbers go on, and memory and file are one history."""

import sqlite3
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.device.truth import COLUMNS, WIDTH, Stretch, Truth
from emulator.ledger import FILE, Fresh, History, Ledger
from shared.errors import BadInput, StoreFailed
from tests.unit.emulator.rig import NOON

MOST = 100


def at(second: int) -> datetime:
    return NOON + timedelta(seconds=second)


def lived(truth: Truth, seconds: range) -> None:
    """A second of physics and a note for each number."""
    for second in seconds:
        truth.record((at(second).timestamp(), *[float(second)] * (WIDTH - 1)))
        truth.note(at(second), "write", f"register {second}", peer="somebody", old=str(second - 1), new=str(second))


def kept(history: History, ledger: Ledger) -> None:
    fresh = history.fresh()
    ledger.append([fresh])
    history.keep(fresh)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    it = Ledger(tmp_path / FILE, most_rows=MOST)
    yield it
    it.close()


@pytest.mark.parametrize("unkept", [0, 7])
def test_memory_and_file_are_one_history(ledger: Ledger, unkept: int) -> None:
    truth = Truth(seconds=10)
    history = History("SITE001", truth, ledger)
    lived(truth, range(1, 51))
    for first in range(1, 51, 10):
        truth_so_far = Truth(seconds=10, before=(first - 1, first - 1))
        lived(truth_so_far, range(first, first + 10))
        ledger.append([History("SITE001", truth_so_far, ledger).fresh()])
    history.keep(Fresh(station="SITE001", rows=list(truth.rows(Stretch())), notes=list(truth.notes)))
    lived(truth, range(51, 51 + unkept))

    for after in (0, 20, 39, 45, 60):
        wanted = list(range(after + 1, 51 + unkept))
        assert [number for number, _ in history.seconds(Stretch(after=after))] == wanted
        assert [row[1] for _, row in history.seconds(Stretch(after=after))] == wanted
        assert [note.seq for note in history.notes(Stretch(after=after, most=5))] == wanted[:5]


def test_a_stretch_of_time_is_found_in_the_file(ledger: Ledger) -> None:
    truth = Truth(seconds=10)
    lived(truth, range(1, 11))
    history = History("SITE001", truth, ledger)
    kept(history, ledger)
    later = Truth(seconds=10, before=ledger.last())
    lived(later, range(11, 21))
    history = History("SITE001", later, ledger)
    kept(history, ledger)
    lived(later, range(21, 25))

    stretch = Stretch(since=at(8), until=at(23))
    assert [number for number, _ in history.seconds(stretch)] == list(range(8, 23))
    assert [note.at for note in history.notes(stretch)] == [at(second) for second in range(8, 23)]
    assert history.notes(stretch)[0].old == "7"


@given(
    seconds=st.integers(1, 30),
    rows=st.integers(0, 80),
    before=st.integers(0, 5),
    after=st.integers(0, 90),
    since=st.none() | st.integers(-2, 90),
    until=st.none() | st.integers(-2, 90),
    most=st.integers(0, 20),
)
def test_memory_gives_exactly_the_stretch_it_is_asked_for(
    seconds: int, rows: int, before: int, after: int, since: int | None, until: int | None, most: int
) -> None:
    truth = Truth(seconds=seconds, before=(before, before))
    lived(truth, range(before + 1, before + rows + 1))
    stretch = Stretch(
        after=after,
        since=None if since is None else at(since),
        until=None if until is None else at(until),
        most=most,
    )

    wanted = [
        number
        for number in range(before + 1, before + rows + 1)
        if number > max(after, before + rows - seconds)
        and (since is None or number >= since)
        and (until is None or number < until)
    ]

    assert [number for number, _ in truth.rows(stretch)] == wanted[:most]
    assert truth.forgotten[0] == before + max(0, rows - seconds)


def test_numbers_go_on_after_a_restart_and_stations_do_not_mix(tmp_path: Path) -> None:
    for start in (0, 5):
        ledger = Ledger(tmp_path / FILE, most_rows=MOST)
        assert ledger.last() == (start, start)
        for name in ("SITE001", "SITE002"):
            truth = Truth(before=(start, start))
            lived(truth, range(start + 1, start + 6))
            kept(History(name, truth, ledger), ledger)
        ledger.close()

    again = Ledger(tmp_path / FILE, most_rows=MOST)
    assert [number for number, _ in again.seconds("SITE002", Stretch())] == list(range(1, 11))
    assert again.seconds("SITE003", Stretch()) == []
    again.close()


def test_beyond_the_bound_the_oldest_go_and_only_they(ledger: Ledger) -> None:
    truth = Truth()
    history = History("SITE001", truth, ledger)
    for first in range(1, 1_000, 50):
        lived(truth, range(first, first + 50))
        kept(history, ledger)

    assert [number for number, _ in ledger.seconds("SITE001", Stretch())] == list(range(901, 1_001))
    assert len(ledger.notes("SITE001", Stretch())) == MOST


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE seconds SET grid_kw = 0",
        "DELETE FROM seconds WHERE number = 3",
        "UPDATE notes SET new = 'never'",
        "DELETE FROM notes",
    ],
)
def test_nobody_changes_what_is_written(ledger: Ledger, tmp_path: Path, statement: str) -> None:
    truth = Truth()
    lived(truth, range(1, 6))
    kept(History("SITE001", truth, ledger), ledger)
    outsider = sqlite3.connect(tmp_path / FILE)

    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        outsider.execute(statement)

    outsider.close()
    assert [row[1] for _, row in ledger.seconds("SITE001", Stretch())] == [1, 2, 3, 4, 5]


def test_a_batch_that_does_not_fit_is_refused_whole(ledger: Ledger) -> None:
    truth = Truth()
    lived(truth, range(1, 4))
    fresh = History("SITE001", truth, ledger).fresh()
    ledger.append([fresh])

    with pytest.raises(StoreFailed, match="UNIQUE"):
        ledger.append([Fresh(station="SITE002", rows=fresh.rows, notes=fresh.notes), fresh])

    assert ledger.seconds("SITE002", Stretch()) == []


def test_a_file_that_is_no_ledger_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "noise").write_bytes(b"no database at all, but long enough to be looked at" * 100)
    with pytest.raises(BadInput, match="move it away"):
        Ledger(tmp_path / "noise", most_rows=MOST)

    with sqlite3.connect(tmp_path / "older") as other:
        other.execute("CREATE TABLE seconds (number INTEGER, station TEXT, at_epoch_s REAL)")
    other.close()
    with pytest.raises(BadInput, match=r"another version|cannot be used"):
        Ledger(tmp_path / "older", most_rows=MOST)


def test_every_column_of_the_truth_is_a_column_of_the_file(ledger: Ledger, tmp_path: Path) -> None:
    outsider = sqlite3.connect(tmp_path / FILE)
    here = [name for _, name, *_ in outsider.execute("PRAGMA table_info(seconds)")]
    outsider.close()

    assert here == ["number", "station", *COLUMNS]
