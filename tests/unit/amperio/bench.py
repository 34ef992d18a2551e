"""One site without sockets: the real agent and the real station's registers and physics, second by second."""

import struct
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from services.amperio.site.agent import SiteAgent
from services.amperio.site.image import SiteImage, image_of
from services.amperio.site.ledger import ack_of
from services.amperio.site.orders import Inbox, Keepsake, Orders, Outcome, Outcomes, Settled
from services.amperio.site.reads import Reading, ReadRequest, reads_of_cycle
from shared.chargepost.layout import WRITE_ONE, RegisterWrite, Table
from shared.contract.config import BatteryConfig, BatteryUnitConfig, ChargerConfig, GridConfig, SafetyConfig, SiteConfig
from shared.contract.dispatch import BatteryPower, DispatchAck, DispatchCommand, DispatchRecord, SetBatteryPower
from shared.contract.events import Event
from shared.contract.schedule import ScheduleSlot, SiteSchedule, Zone
from shared.contract.telemetry import Mode, Telemetry
from shared.energy.slots import SLOT_S, slot_start
from shared.moment import Moment
from tests.unit.emulator.rig import NOON, Rig

SITE = "SITE001"
CODES = {1: "illegal_function", 2: "illegal_address", 3: "illegal_value", 4: "device_failed", 6: "device_busy"}


def a_config(
    version: int = 1, *, safety: dict[str, Any] | None = None, grid: dict[str, Any] | None = None, **more: Any
) -> SiteConfig:
    battery = more.pop("battery", {})
    return SiteConfig(
        site_id=SITE,
        version=version,
        updated_at=NOON,
        author="test",
        battery=BatteryConfig(units=(BatteryUnitConfig(id="BAT1"), BatteryUnitConfig(id="BAT2")), **battery),
        chargers=(ChargerConfig(id="CHG1"), ChargerConfig(id="CHG2")),
        safety=SafetyConfig(**(safety or {})),
        grid=GridConfig(**(grid or {})),
        **more,
    )


def a_schedule(now: Moment, *setpoints_kw: float, version: int = 1) -> SiteSchedule:
    """Slots from the one in force on."""
    first = slot_start(now.at)
    slots = tuple(
        ScheduleSlot(
            start=first + timedelta(seconds=SLOT_S * index),
            setpoint_kw=setpoint_kw,
            soc_target_pct=50.0,
            reserve_pct=20.0,
            import_gate_kw=83.5,
            price_eur_per_mwh=50.0,
            zone=Zone.NORMAL,
            reason="test",
            marginal_eur_per_kwh=0.1,
        )
        for index, setpoint_kw in enumerate(setpoints_kw)
    )
    return SiteSchedule(
        site_id=SITE,
        version=version,
        valid_from=first,
        valid_until=first + timedelta(seconds=SLOT_S * len(setpoints_kw)),
        slots=slots,
        made_at=now.at,
    )


class Bench:
    """`seconds` lets time pass for both; what was written, sampled and told stays in lists."""

    def __init__(
        self, rig: Rig | None = None, *, config: SiteConfig | None = None, keepsake: Keepsake | None = None
    ) -> None:
        self.rig = rig or Rig(soc_pct=60.0)
        self.agent = SiteAgent(SITE, self.rig.now, keepsake)
        self.config = config or a_config()
        self.writes: list[RegisterWrite] = []
        self.samples: list[Telemetry] = []
        self.events: list[Event] = []
        self.settled: list[Settled] = []
        self.link_cut = False
        self.enexa: bool | None = None
        """Outcome of the one exchange each second; None = no call at all."""
        self.schedule: SiteSchedule | None = None
        self.locked = False
        self.intake_alive = True
        self._cycle = 0
        self._everything = True
        self._image: SiteImage | None = None
        self._next: dict[str, Any] = {}
        self._served_config: SiteConfig | None = None

    @property
    def now(self) -> Moment:
        return self.rig.now

    @property
    def mode(self) -> Mode:
        return self.agent.mode

    @property
    def last(self) -> Telemetry:
        return self.samples[-1]

    def online(self, *setpoints_kw: float) -> "Bench":
        """Through safe and resync by good exchanges and a plan, as in life."""
        self.enexa, self.schedule = True, a_schedule(self.now, *(setpoints_kw or (0.0, 0.0, 0.0, 0.0)))
        for _ in range(15):
            self.seconds(1)
            if self.mode is Mode.ONLINE:
                return self
        raise AssertionError(f"still {self.mode}")

    def seconds(self, count: int) -> "Bench":
        for _ in range(count):
            self.rig.run(1)
            self.cycle()
        return self

    def give(self, **inbox: Any) -> "Bench":
        """Put something into the next cycle's inbox."""
        self._next |= inbox
        return self

    def send(self, command: DispatchCommand) -> DispatchAck:
        """Admit, make durable (here: nothing), and act in the cycle that the command wakes."""
        admission = self.agent.admit(self.now, command)
        if admission.repeated is not None:
            return admission.repeated
        self._next["released"] = (*self._next.get("released", ()), admission.entry.command_id)
        self.cycle()
        entry = self.agent.ledger.find(admission.entry.command_id)
        assert entry is not None
        ack = ack_of(entry.record)
        self.agent.ledger.answered(entry.command_id, ack)
        return ack

    def battery(self, power_kw: float, **more: Any) -> SetBatteryPower:
        return SetBatteryPower(site_id=SITE, timestamp=self.now.at, params=BatteryPower(power_kw=power_kw), **more)

    def record(self, command_id: str) -> DispatchRecord:
        entry = self.agent.ledger.find(command_id)
        assert entry is not None
        return entry.record

    def cycle(self) -> Settled:
        """One look, one decision, one act."""
        image = self._look()
        inbox = Inbox(
            **{
                "exchanges": () if self.enexa is None else (self.enexa,),
                "locked": self.locked,
                "intake_alive": self.intake_alive,
                **self._polled(),
                **self._next,
            }
        )
        self._next = {}
        orders = self.agent.step(self.now, image, inbox)
        settled = self.agent.settle(self.now, self.carry_out(orders))
        if orders.sample is not None:
            self.samples.append(orders.sample)
        self.events += settled.events
        self.settled.append(settled)
        return settled

    def _polled(self) -> dict[str, Any]:
        if not self.enexa:
            return {}
        polled: dict[str, Any] = {}
        if self._served_config is not self.config:
            polled["config"] = self._served_config = self.config
        if self.agent.wants_plan and self.schedule is not None:
            polled["schedule"] = self.schedule
        return polled

    def _look(self) -> SiteImage | None:
        self._cycle += 1
        requests = reads_of_cycle(self._cycle, everything=self._everything, with_pv=False)
        readings = self.readings(requests)
        self._everything = readings is None
        self._image = None if readings is None else image_of(self.now, readings, self._image)
        return self._image

    def readings(self, requests: Iterable[ReadRequest]) -> tuple[Reading, ...] | None:
        found = []
        for request in requests:
            reply = self._ask(struct.pack(">BHH", request.table.value, request.address, request.count))
            if reply == b"":
                return None
            if reply[0] & 0x80:
                found.append(Reading(request=request, error_code=CODES.get(reply[1], "device_failed")))
            else:
                found.append(Reading(request=request, data=reply[2:]))
        return tuple(found)

    def carry_out(self, orders: Orders) -> Outcomes:
        writes = tuple(self._write(write) for write in orders.writes)
        checks = self.readings(orders.checks) or ()
        return Outcomes(writes=writes, checks=checks)

    def _write(self, write: RegisterWrite) -> Outcome:
        self.writes.append(write)
        assert write.function in (6, 16)
        words = struct.pack(f">{len(write.words)}H", *write.words)
        if write.function == WRITE_ONE:
            pdu = struct.pack(">BH", 6, write.address) + words
        else:
            pdu = struct.pack(">BHHB", 16, write.address, len(write.words), len(words)) + words
        reply = self._ask(pdu)
        if reply == b"":
            return Outcome(write=write, error_code="link_down")
        if reply[0] & 0x80:
            return Outcome(write=write, error_code=CODES.get(reply[1], "device_failed"), refused=True)
        back = self._ask(struct.pack(">BHH", Table.HOLDING.value, write.address, len(write.words)))
        if back == b"":
            return Outcome(write=write, error_code="link_down")
        return Outcome(write=write, words=struct.unpack(f">{len(write.words)}H", back[2:]))

    def _ask(self, pdu: bytes) -> bytes:
        return b"" if self.link_cut else self.rig.ask(pdu)

    def written(self, *names: str) -> list[RegisterWrite]:
        """Writes that touched one of these registers."""
        return [write for write in self.writes if any(name in told for told in write.names for name in names)]
