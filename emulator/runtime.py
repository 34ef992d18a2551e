"""The loop: one physics second for every second of the clock, and what of it goes to the disk."""

import asyncio
from collections.abc import Sequence
from datetime import datetime

import structlog

from emulator.device.memory import memory_of
from emulator.ledger import History, Ledger
from emulator.memory import MemoryFile, Saved
from emulator.server import Server
from emulator.station import Station
from shared.clock import Clock
from shared.errors import StoreFailed
from shared.moment import Moment

log = structlog.get_logger()
STEPS_BETWEEN_BREATHS = 30
MOST_SAVED_EACH_STEP = 4
SAVE_EVERY_STEPS = 10


class Unit:
    """A station with its server, its file and its truth."""

    def __init__(
        self,
        name: str,
        station: Station,
        server: Server,
        memory: MemoryFile | None,
        history: History,
        began_at: datetime,
    ) -> None:
        self.name = name
        self.station = station
        self.server = server
        self.memory = memory
        self.history = history
        self.began_at = began_at
        self.told_seq = station.post.truth.before[1]


class Runtime:
    """Steps all stations. A clock that runs ahead (a sleep, a busy machine) is caught up with, second by second.

    The ledger follows in a thread of its own: a slow disk delays no second and no answer.
    """

    def __init__(self, clock: Clock, units: Sequence[Unit], ledger: Ledger | None) -> None:
        self._clock = clock
        self._units = units
        self._ledger = ledger
        self._stepped = asyncio.Event()
        self._ended = self._save_failed = self._ledger_failed = False
        self.steps = 0
        self.behind_s = 0.0

    async def run(self) -> None:
        """Until cancelled; remembers once more on the way out."""
        due_s = float(int(self._clock.now().s) + 1)
        following = asyncio.create_task(self._follow())
        try:
            while True:
                await self._clock.sleep_until(due_s)
                now = self._clock.now()
                self.behind_s = max(0.0, now.s - due_s)
                while due_s <= now.s:
                    self._step(now.later(due_s - now.s))
                    due_s += 1.0
                    if self.steps % STEPS_BETWEEN_BREATHS == 0:
                        await asyncio.sleep(0)
                for unit in self._units:
                    await unit.server.mind_the_port()
                self._stepped.set()
        finally:
            for unit in self._units:
                self._save(unit)
            self._ended = True
            self._stepped.set()
            await following

    async def _follow(self) -> None:
        """Keep the ledger up with the stations until they have ended."""
        if self._ledger is None:
            return
        last = False
        while not last:
            await self._stepped.wait()
            self._stepped.clear()
            last = self._ended
            await self._write_truth(self._ledger)
        self._ledger.close()

    async def _write_truth(self, ledger: Ledger) -> None:
        """Put into the ledger what it does not hold yet; what the disk refuses is offered again."""
        batch = [unit.history.fresh() for unit in self._units]
        try:
            await asyncio.to_thread(ledger.append, batch)
        except StoreFailed as error:
            if not self._ledger_failed:
                log.critical("truth_not_kept", error=str(error))
            self._ledger_failed = True
            return
        for unit, fresh in zip(self._units, batch, strict=True):
            unit.history.keep(fresh)
        if self._ledger_failed:
            log.info("truth_kept_again")
        self._ledger_failed = False

    def _step(self, moment: Moment) -> None:
        self.steps += 1
        save = len(self._units) <= MOST_SAVED_EACH_STEP or self.steps % SAVE_EVERY_STEPS == 0
        for unit in self._units:
            unit.station.step(moment)
            if unit.station.post.silent or unit.server.wire.dead:
                unit.server.drop_all()
            self._tell(unit)
            if save:
                self._save(unit)

    def _tell(self, unit: Unit) -> None:
        for note in unit.station.post.truth.notes_after(unit.told_seq):
            level = log.debug if note.kind == "write" else log.info
            level(f"{note.kind}_noted", station=unit.name, name=note.name, peer=note.peer, old=note.old, new=note.new)
            unit.told_seq = note.seq

    def _save(self, unit: Unit) -> None:
        if unit.memory is None:
            return
        try:
            unit.memory.save(_saved(unit))
        except StoreFailed as error:
            if not self._save_failed:
                log.critical("memory_lost", station=unit.name, error=str(error))
            self._save_failed = True
        else:
            if self._save_failed:
                log.info("memory_back", station=unit.name)
            self._save_failed = False


def _saved(unit: Unit) -> Saved:
    station = unit.station
    return Saved(
        at=station.post.now.at,
        memory=memory_of(station.post),
        story=station.scenario.name,
        began_at=unit.began_at,
        told_s=station.director.told_s(station.post.now),
    )
