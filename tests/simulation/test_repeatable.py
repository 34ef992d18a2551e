"""One seed, one run: equal to the byte on both wires; another seed or one changed byte is another run."""

import hashlib
import struct
from pathlib import Path

import pytest

from shared.errors import BadInput
from tests.simulation.bundle import bundle_of, load, play_again, save
from tests.simulation.drawn import drawn
from tests.simulation.report import Report
from tests.simulation.wires import Channel, hash_of, records
from tests.simulation.world import World

pytestmark = [pytest.mark.simulation, pytest.mark.timeout(240)]

HOURS = 0.1


def _run(seed: int, wires: Path | None = None) -> Report:
    return World(drawn(seed, hours=HOURS, liveness=False), wire_file=wires).run()


def test_the_same_seed_is_the_same_run() -> None:
    first, second = _run(1), _run(1)

    assert first.wire_hash == second.wire_hash
    assert first.log_hash == second.log_hash
    assert first == second


def test_another_seed_is_another_run() -> None:
    assert _run(1).wire_hash != _run(2).wire_hash


def test_anybody_can_recompute_the_hash_from_the_kept_wires(tmp_path: Path) -> None:
    kept = tmp_path / "wires.bin"
    report = _run(3, kept)

    data = kept.read_bytes()
    digest, at, count = hashlib.sha256(), 0, 0
    while at < len(data):
        _, _, length = struct.unpack_from(">dBI", data, at)
        digest.update(data[at : at + 13 + length])
        at += 13 + length
        count += 1

    assert digest.hexdigest() == report.wire_hash == hash_of(kept)
    assert count == sum(report.messages.values())


def test_one_changed_byte_changes_the_hash(tmp_path: Path) -> None:
    kept = tmp_path / "wires.bin"
    report = _run(3, kept)
    data = bytearray(kept.read_bytes())

    data[len(data) // 2] ^= 1
    kept.write_bytes(data)

    assert hash_of(kept) != report.wire_hash


def test_both_wires_are_recorded_there_and_back(tmp_path: Path) -> None:
    kept = tmp_path / "wires.bin"
    _run(4, kept)

    seen = list(records(kept))

    assert {record.channel for record in seen} == set(Channel)
    assert any(b'"access_token"' in record.body for record in seen), "tokens are drawn from the seed and not left out"


def test_a_saved_bundle_plays_the_same_run_again(tmp_path: Path) -> None:
    options = drawn(5, hours=0.1, liveness=False)
    save(bundle_of(options, World(options).run()), tmp_path / "bundle.json")

    again = load(tmp_path / "bundle.json")
    _, same = play_again(again)

    assert again.options == options
    assert same


def test_a_file_that_is_no_bundle_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")

    with pytest.raises(BadInput, match="is no bundle"):
        load(tmp_path / "x.json")
