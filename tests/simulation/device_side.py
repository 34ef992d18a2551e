"""The station without a socket: the emulator's own device, its director, and what its disk holds over a restart."""

from collections import Counter
from datetime import datetime
from itertools import takewhile

from emulator.device.memory import Memory, memory_of
from emulator.station import Station
from emulator.stations.load import load_station
from shared.moment import Moment
from shared.scenario.schema import Scenario
from tests.simulation.journal import Journal

SAVED_EVERY_S = 5
BEGINNINGS = ("begins", "happens")


class DeviceSide:
    """A ChargePost that may be killed and started again, as a process."""

    def __init__(self, scenario: Scenario, now: Moment, journal: Journal, *, seed: int) -> None:
        self._scenario = scenario
        self._profile = load_station(scenario.station)
        self._journal = journal
        self._seed = seed
        self._memory: Memory | None = None
        self._since: datetime | None = None
        self._began_s = self._saved_s = now.s
        self._notes_seen = 0
        self.faults: Counter[str] = Counter()
        """Faults of the device that began or happened, by name."""
        self.up = True
        self.station = Station(self._profile, scenario, now, seed=seed)

    def step(self, now: Moment) -> None:
        """One second of the station."""
        if not self.up:
            return
        self.station.step(now)
        post = self.station.post
        if post.steps % SAVED_EVERY_S == 0:
            self._memory = memory_of(post)
            self._since, self._saved_s = now.at, now.s
        notes = post.truth.notes
        if notes and notes[-1].seq > self._notes_seen:
            fresh = takewhile(lambda note: note.seq > self._notes_seen, reversed(notes))
            for note in reversed(tuple(fresh)):
                if note.kind == "fault" and note.new.startswith(BEGINNINGS):
                    self.faults[note.name] += 1
                if note.kind != "write":
                    self._journal.note(now, "chargepost", f"{note.kind}_{note.name}", new=note.new)
            self._notes_seen = notes[-1].seq

    @property
    def listens(self) -> bool:
        """Whether the process runs."""
        return self.up

    def request(self, now: Moment, unit_id: int, pdu: bytes, *, peer: str = "amperio") -> bytes:
        """One PDU there, one back; nothing from a process that is down."""
        return self.station.request(now, unit_id, pdu, peer=peer) if self.up else b""

    def kill(self, now: Moment) -> None:
        self.up = False
        self._journal.note(now, "chargepost", "killed")

    def start(self, now: Moment) -> None:
        """Start the process on what it had saved last."""
        self.station = Station(
            self._profile,
            self._scenario,
            now,
            seed=self._seed,
            memory=self._memory,
            since=self._since,
            told_s=now.s - self._began_s,
            known_s=self._saved_s - self._began_s,
        )
        self._notes_seen = 0
        self.up = True
        self._journal.note(now, "chargepost", "started")
