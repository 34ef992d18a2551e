"""A station with its story: the device and the director behind one `step`; what servers and simulations hold."""

from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from emulator.device.chargepost import ChargePost
from emulator.device.memory import Memory
from emulator.device.truth import Truth
from emulator.director import Director
from emulator.physics.nameplate import StationProfile
from shared.moment import Moment
from shared.scenario.schema import Scenario, Session

STRANGER = 1_000_003


class Station:
    """`step` plays what is due and then one second of the device; `request` answers one Modbus PDU."""

    def __init__(
        self,
        profile: StationProfile,
        scenario: Scenario,
        now: Moment,
        *,
        sessions: Sequence[Session] = (),
        seed: int | None = None,
        memory: Memory | None = None,
        since: datetime | None = None,
        told_s: float = 0.0,
        known_s: float = -1.0,
        truth: Truth | None = None,
    ) -> None:
        start = scenario.soc_start_pct
        self.profile = profile
        self._seed = scenario.seed if seed is None else seed
        self._other: ChargePost | None = None
        self._other_answers = False
        self.scenario = scenario
        self.post = ChargePost(
            profile,
            now,
            pv_ratio=scenario.pv_ratio,
            ambient_c=scenario.ambient_c,
            soc_pct=None if start is None else (start, start),
            zone=ZoneInfo(scenario.timezone),
            seed=self._seed,
            memory=memory,
            truth=truth,
        )
        self.director = Director(
            scenario, now, sessions=sessions, since=since, told_s=told_s, known_s=known_s, seed=seed
        )

    def step(self, now: Moment) -> None:
        """One second, ending at `now`; call it for every second of the clock."""
        self.post.now = now
        self.director.play(now, self.post)
        self.post.step(now)
        if self._other is not None and self.post.faults.has("duplicate_address"):
            self._other.step(now)

    def request(self, now: Moment, unit_id: int, pdu: bytes, *, peer: str = "local") -> bytes:
        """The reply PDU to a request PDU, both without MBAP header; empty where the station stays silent."""
        if self.post.faults.has("duplicate_address"):
            self._other_answers = not self._other_answers
            if self._other_answers:
                return self._stranger(now).request(now, unit_id, pdu, peer=peer)
        return self.post.request(now, unit_id, pdu, peer=peer)

    def _stranger(self, now: Moment) -> ChargePost:
        """The other device of the fault `duplicate_address`: the same product, idle, with a story of its own."""
        if self._other is None:
            self._other = ChargePost(self.profile, now, seed=self._seed + STRANGER)
        return self._other
