"""H2: what a command is to do is durable before the station hears of it, and a store that fails lets none through."""

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from services.amperio.app import STORE
from services.amperio.store.database import Database
from shared.chargepost.registers import MANAGEMENT
from shared.contract.dispatch import CommandStatus, ImportKw, SetGridLimit
from shared.contract.operations import DISPATCH
from shared.errors import PeerBusy
from tests.integration.amperio.stage import NO_BUDGETS, SITE, Stage, eventually, playing
from tests.integration.amperio.test_goals_dispatch import clearance_kw, limit_kw

HEARTBEAT = MANAGEMENT.fields["watchdog_interval_s"]
TABLES = ("commands", "audit", "samples", "events", "keepsakes", "cursors")


class Witness:
    """Stands at the station: at each write of a limit it looks at what a kill would leave of the middleware's store."""

    def __init__(self, stage: Stage) -> None:
        self.early: list[float] = []
        """Limits that were written while the store knew nothing of their command."""
        self.written: list[float] = []
        self.beats = 0
        self._store = stage.settings.data_dir / STORE
        self._copy = stage.directory / "copy.db"
        self._listen(stage.station)

    def _listen(self, station: Any) -> None:
        request = station.request

        def noting(now: Any, unit_id: int, pdu: bytes, **more: Any) -> Any:
            limit = clearance_kw(pdu)
            if limit is not None and limit in CHOSEN:
                self.written.append(limit)
                if f"h2-{CHOSEN[limit]}" not in self._known():
                    self.early.append(limit)
            if pdu[0] in (6, 16) and int.from_bytes(pdu[1:3], "big") == HEARTBEAT.address:
                self.beats += 1
            return request(now, unit_id, pdu, **more)

        station.request = noting

    def _known(self) -> set[str]:
        """The commands in the store's file as it lies there this moment, committed and nothing else."""
        for suffix in ("", "-wal"):
            shutil.copyfile(f"{self._store}{suffix}", f"{self._copy}{suffix}")
        Path(f"{self._copy}-shm").unlink(missing_ok=True)
        connection = sqlite3.connect(self._copy)
        try:
            return {name for (name,) in connection.execute("SELECT command_id FROM commands")}
        finally:
            connection.close()


COUNT_MAX = 1000
CHOSEN = {limit_kw(number): number for number in range(COUNT_MAX)}


def command(stage: Stage, number: int) -> SetGridLimit:
    return SetGridLimit(
        site_id=SITE,
        timestamp=stage.clock.now().at,
        params=ImportKw(import_kw=limit_kw(number)),
        command_id=f"h2-{number}",
    )


async def play(directory: Path, count: int) -> Witness:
    async with playing(directory, speed=1.0, **NO_BUDGETS) as stage:
        witness = Witness(stage)
        for number in range(count):
            reply = await stage.call("enexa", DISPATCH, command(stage, number))
            assert reply.message.status is CommandStatus.APPLIED
    assert len(set(witness.written)) == count
    return witness


async def test_h2_a_command_is_in_the_store_before_the_station_hears_of_it(tmp_path: Path) -> None:
    assert (await play(tmp_path, 20)).early == []


@pytest.mark.soak
@pytest.mark.timeout(3600)
async def test_h2_a_thousand_commands(tmp_path: Path) -> None:
    assert (await play(tmp_path, COUNT_MAX)).early == []


async def test_h2_the_control_a_lane_that_acts_before_it_keeps_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give = Database.give

    def hasty(database: Database, work: Callable[[apsw.Connection], Any]) -> Any:
        kept = give(database, work)
        keywords = getattr(work, "keywords", {})
        if "entries" in keywords:
            kept = kept.get_loop().create_future()
            kept.set_result(None)
        return kept

    def late(connection: apsw.Connection, site: str, entries: Any) -> None:
        """The store is slower than the lane."""

    monkeypatch.setattr("services.amperio.lane.tables.keep_entries", late)
    monkeypatch.setattr(Database, "give", hasty)

    assert (await play(tmp_path, 2)).early


async def test_h2_a_store_that_takes_nothing_lets_no_command_through_and_the_heart_beats_on(tmp_path: Path) -> None:
    async with playing(tmp_path, speed=4.0) as stage:
        witness, database = Witness(stage), stage.lane.scribe._database
        await database.run(lambda store: [store.execute(refuse(table)) for table in TABLES])
        with pytest.raises(PeerBusy):
            await stage.call("enexa", DISPATCH, command(stage, 0))
        before = witness.beats
        await eventually(lambda: witness.beats >= before + 2)
        refused, online = list(witness.written), stage.lane.online
        await database.run(lambda store: [store.execute(f"DROP TRIGGER full_{table}") for table in TABLES])
        reply = await stage.call("enexa", DISPATCH, command(stage, 1))

    assert (refused, online) == ([], True)
    assert reply.message.status is CommandStatus.APPLIED
    assert witness.written == [limit_kw(1)]


def refuse(table: str) -> str:
    return (
        f"CREATE TEMP TRIGGER full_{table} BEFORE INSERT ON {table} "
        "BEGIN SELECT RAISE(FAIL, 'database or disk is full'); END"
    )
