"""The station without a socket: the emulator's own device, its director, and what its disk holds over a restart."""

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from itertools import takewhile

from emulator.device.levers import CLEARANCE
from emulator.device.masks import MASKS
from emulator.device.memory import Memory, memory_of
from emulator.device.requests import READ
from emulator.station import Station
from emulator.stations.load import load_station
from shared.chargepost.layout import WRITE_MANY, WRITE_ONE
from shared.chargepost.registers import MANAGEMENT
from shared.moment import Moment
from shared.scenario.schema import Scenario
from tests.simulation.journal import Journal

SAVED_EVERY_S = 5
BEGINNINGS = ("begins", "happens")
CLAMPS = "setpoint_clamped"
MEETS_WRITES: Mapping[str, Callable[[bytes], bool]] = {
    "heartbeat_ignored": lambda pdu: (
        int.from_bytes(pdu[1:3], "big") == MANAGEMENT.fields["watchdog_interval_s"].address
    ),
    "setpoint_ignored": lambda pdu: True,
    "setpoint_not_applied": lambda pdu: True,
    "partial_write": lambda pdu: pdu[0] == WRITE_MANY and len(pdu) > 8,
}
"""Which writes a fault of writing changes."""


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
        self.effective: Counter[str] = Counter()
        """Those of them that changed a byte or a state, once for each time that they began."""
        self._idle: set[str] = set()
        """Faults that last and have not changed anything yet."""
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
                if note.kind == "fault":
                    self._fault(note.name, begins=note.new.startswith(BEGINNINGS))
                if note.kind != "write":
                    self._journal.note(now, "chargepost", f"{note.kind}_{note.name}", new=note.new)
            self._notes_seen = notes[-1].seq

    @property
    def listens(self) -> bool:
        """Whether the process runs."""
        return self.up

    def request(self, now: Moment, unit_id: int, pdu: bytes, *, peer: str = "amperio") -> bytes:
        """One PDU there, one back; nothing from a process that is down."""
        if self._idle:
            self._look_for_effects(unit_id, pdu)
        return self.station.request(now, unit_id, pdu, peer=peer) if self.up else b""

    def _fault(self, name: str, *, begins: bool) -> None:
        if not begins:
            self._idle.discard(name)
            return
        self.faults[name] += 1
        if name in MASKS or name in MEETS_WRITES or name == CLAMPS:
            self._idle.add(name)
        else:
            self.effective[name] += 1  # an error bit, a limit, a string's charge: changed in the second it begins

    def _look_for_effects(self, unit_id: int, pdu: bytes) -> None:
        """Faults of registers act on a page that is read otherwise, faults of writes on a write."""
        post = self.station.post
        writes = pdu[0] in (WRITE_ONE, WRITE_MANY)
        page = None
        if not writes:
            function, address, count = READ.unpack(pdu)
            page = post.bank.page(unit_id, function, address, count, post.steps)
        for name in tuple(self._idle & post.faults.active.keys()):
            if name in MASKS:
                acts = page is not None and post.masks.changes(name, page, post)
            elif name == CLAMPS:
                wanted_kw = post.bank.value(1, CLEARANCE)
                acts = isinstance(wanted_kw, float) and post.levers.external and wanted_kw > post.levers.clearance_kw
            else:
                acts = writes and MEETS_WRITES[name](pdu)
            if acts:
                self._idle.discard(name)
                self.effective[name] += 1

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
