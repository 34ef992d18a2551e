"""The store on a real disk: killed, cut off from power, damaged, full."""

import asyncio
import contextlib
import json
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import apsw
import pytest

from services.amperio.site.outbox import Outbox, Row
from services.amperio.store import tables
from services.amperio.store.database import Database, open_connection
from shared.contract.telemetry import Telemetry
from shared.errors import BadInput, StoreFailed
from shared.rest.audit import AuditLine
from tests.integration.amperio.power_cut import PowerCut
from tests.unit.amperio.bench import SITE

AT = datetime(2024, 1, 15, 10, 0, tzinfo=UTC)
ROOT = Path(__file__).resolve().parents[3]


def row(seq: int, *, size: int = 200) -> Row:
    return Row(seq=seq, at=AT + timedelta(seconds=seq), body=b"x" * size)


@contextmanager
def database(path: Path, max_bytes: int | None = None) -> Iterator[Database]:
    opened = Database(path, max_bytes=max_bytes)
    try:
        yield opened
    finally:
        opened.close()


def killed_after(path: Path, lines: int) -> tuple[set[int], set[int]]:
    """What a writer had said when it was killed, and what its disk holds."""
    command = [sys.executable, "-m", "tests.integration.amperio.crash_writer", str(path)]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert writer.stdout is not None
    said = {int(writer.stdout.readline()) for _ in range(lines)}
    writer.send_signal(signal.SIGKILL)
    said |= {int(line) for line in writer.stdout.read().splitlines() if line.strip()}
    writer.wait(timeout=10)
    writer.stdout.close()
    disk = open_connection(path)
    kept = {each.seq for each in tables.load_rows(disk, SITE, 1, 1 << 40, 1 << 20)}
    assert disk.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    disk.close()
    return said, kept


@pytest.mark.parametrize("lines", [1, 40])
def test_a1_a_killed_process_has_lost_nothing_that_it_called_durable(tmp_path: Path, lines: int) -> None:
    path = tmp_path / "store.db"

    said, kept = killed_after(path, lines)

    assert said <= kept
    assert len(kept) - len(said) <= 1
    disk = open_connection(path)
    later = Outbox(SITE, "epoch", tables.cursor_of(disk, SITE)).rows_for(
        Telemetry(site_id=SITE, timestamp=AT + timedelta(days=1)), period_s=1.0
    )
    assert [each.is_gap for each in later] == [True, False], "the dead time is declared"
    disk.close()


def lives(path: Path, count: int, *words: str) -> dict[str, int]:
    """What came of a store whose process was killed so often, each time at another step of its disk."""
    command = [sys.executable, "-m", "tests.integration.amperio.kill_points", str(path), str(count), *words]
    found: dict[str, int] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=ROOT).stdout)
    return found


@pytest.mark.timeout(120)  # a few fsyncs for each life, and a disk that may be busy
def test_a1_at_whatever_step_of_its_disk_a_process_is_killed_nothing_durable_is_lost(tmp_path: Path) -> None:
    found = lives(tmp_path / "store.db", 40)

    assert found["kept"] > 20
    assert (found["lives_that_lost"], found["numbers_given_twice"]) == (0, 0)


def test_a1_the_control_lives_that_speak_before_they_keep_are_found(tmp_path: Path) -> None:
    assert lives(tmp_path / "store.db", 15, "eager")["lives_that_lost"] > 0


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a1_three_thousand_points_at_which_a_process_is_killed(tmp_path: Path) -> None:
    found = lives(tmp_path / "store.db", 3000)

    assert found["kept"] > 3000
    assert (found["lives_that_lost"], found["numbers_given_twice"]) == (0, 0)


@pytest.mark.soak
def test_a1_two_hundred_kills(tmp_path: Path) -> None:
    chance = random.Random(1)
    for number in range(200):
        said, kept = killed_after(tmp_path / f"store-{number}.db", chance.randint(1, 300))
        assert said <= kept


def lost_after_a_power_cut(directory: Path, seed: int, synchronous: str) -> int:
    """Rows that were called durable before the cut and are gone after it."""
    vfs = PowerCut(f"powercut-{synchronous}-{seed}", random.Random(seed))
    path = directory / f"{synchronous}-{seed}.db"
    disk = open_connection(path, synchronous=synchronous, vfs=vfs.name)
    durable = 0
    for seq in range(1, random.Random(seed).randint(5, 60)):
        with disk:
            tables.keep_rows(disk, SITE, (row(seq),))
        durable = seq
    vfs.cut()
    disk.close()
    disk = open_connection(path)
    assert disk.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    kept = len(tables.load_rows(disk, SITE, 1, 1 << 40, 1 << 20))
    disk.close()
    return durable - kept


def lost_after_a_cut_within(directory: Path, seed: int, synchronous: str) -> int:
    """The same, where the power goes in the middle of a write or a sync, be it of a commit or of a checkpoint."""
    chance = random.Random(seed)
    vfs = PowerCut(f"within-{synchronous}-{seed}", chance, at_step=chance.randint(100, 1200))
    path = directory / f"within-{synchronous}-{seed}.db"
    durable = 0
    disk = open_connection(path, synchronous=synchronous, vfs=vfs.name)
    with contextlib.suppress(apsw.Error):
        while not vfs.off:
            with disk:
                tables.keep_rows(disk, SITE, (row(durable + 1, size=1000),))
            durable += 0 if vfs.off else 1
    with contextlib.suppress(apsw.Error):
        disk.close()
    disk = open_connection(path)
    assert disk.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    kept = {each.seq for each in tables.load_rows(disk, SITE, 1, 1 << 40, 1 << 20)}
    disk.close()
    return len(set(range(1, durable + 1)) - kept)


def test_a2_a_power_cut_within_a_commit_or_a_checkpoint_takes_nothing_either(tmp_path: Path) -> None:
    assert [lost_after_a_cut_within(tmp_path, seed, "FULL") for seed in range(8)] == [0] * 8


def test_a2_the_control_within_a_commit_with_synchronous_normal(tmp_path: Path) -> None:
    assert max(lost_after_a_cut_within(tmp_path, seed, "NORMAL") for seed in range(12)) > 0


@pytest.mark.soak
def test_a2_a_thousand_power_cuts_within_commits(tmp_path: Path) -> None:
    assert sum(lost_after_a_cut_within(tmp_path, seed, "FULL") for seed in range(1000)) == 0


def test_a2_a_power_cut_takes_nothing_that_was_called_durable(tmp_path: Path) -> None:
    assert [lost_after_a_power_cut(tmp_path, seed, "FULL") for seed in range(25)] == [0] * 25


def test_a2_the_control_with_synchronous_normal_does_lose_rows(tmp_path: Path) -> None:
    assert max(lost_after_a_power_cut(tmp_path, seed, "NORMAL") for seed in range(25)) > 0


@pytest.mark.soak
def test_a2_a_thousand_power_cuts(tmp_path: Path) -> None:
    assert sum(lost_after_a_power_cut(tmp_path, seed, "FULL") for seed in range(1000)) == 0


async def test_many_pieces_of_work_share_a_commit_and_a_bad_one_harms_no_other(tmp_path: Path) -> None:
    with database(tmp_path / "store.db") as store:
        await store.run(lambda disk: tables.keep_rows(disk, SITE, (row(5),)))

        results = await asyncio.gather(
            *(store.run(partial(tables.keep_rows, site=SITE, rows=(row(seq),))) for seq in range(1, 10)),
            return_exceptions=True,
        )

        assert [isinstance(result, StoreFailed) for result in results] == [seq == 5 for seq in range(1, 10)]
        kept = await store.run(lambda disk: tables.load_rows(disk, SITE, 1, 100, 100))
        assert [each.seq for each in kept] == list(range(1, 10))


async def first_refused(store: Database) -> int:
    for seq in range(1, 10_000):
        try:
            await store.run(partial(tables.keep_rows, site=SITE, rows=(row(seq, size=1000),)))
        except StoreFailed:
            return seq
    raise AssertionError("the bound was never reached")


async def test_a14_a_full_store_refuses_and_works_again_after_thinning(tmp_path: Path) -> None:
    with database(tmp_path / "store.db", max_bytes=400_000) as store:
        seq = await first_refused(store)
        assert store.failing is not None
        await store.run(lambda disk: tables.confirm(disk, SITE, stored_through=seq))

        await store.run(lambda disk: tables.forget_rows(disk, SITE, seq - 50, AT + timedelta(days=2)))
        await store.run(lambda disk: tables.keep_rows(disk, SITE, (row(seq, size=1000),)))

        assert store.failing is None


@pytest.mark.parametrize("damage", [b"this is no database", b"SQLite format 3\0" + b"\xff" * 5000])
async def test_a7_a_damaged_file_is_put_aside_and_the_service_starts(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(damage)

    with database(path) as store:
        assert store.quarantined is not None
        assert store.quarantined.read_bytes() == damage
        await store.run(lambda disk: tables.keep_rows(disk, SITE, (row(1),)))


async def test_a_second_process_on_the_same_store_is_refused_with_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with database(path), pytest.raises(BadInput, match="another Amperio"):
        Database(path)


async def test_the_audit_log_shows_tampering(tmp_path: Path) -> None:
    with database(tmp_path / "store.db") as store:
        for number in range(20):
            line = AuditLine(
                at=AT,
                source="-",
                principal="p",
                action=f"a{number}",
                outcome="ok",
                status=200,
                latency_ms=1.0,
                request_id="r",
            )
            await store.run(partial(tables.append_audit, line=line))
        assert await store.run(tables.audit_is_whole)

        await store.run(lambda disk: disk.execute("UPDATE audit SET body = replace(body, 'a7', 'b7') WHERE seq = 8"))

        assert not await store.run(tables.audit_is_whole)


def test_apsw_brings_an_sqlite_without_the_reset_bug() -> None:
    assert tuple(int(part) for part in apsw.sqlite_lib_version().split(".")) >= (3, 51, 3)
