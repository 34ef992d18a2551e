"""A station on a manual clock, spoken to in PDUs: the bench that the emulator's unit tests stand on."""

import struct
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from emulator.device.chargepost import ChargePost
from emulator.physics.nameplate import StationProfile
from emulator.station import Station
from emulator.stations.load import load_station
from shared.chargepost.layout import RegisterWrite, Span
from shared.chargepost.registers import MANAGEMENT
from shared.moment import Moment, moment_at
from shared.scenario.schema import Car, Scenario

T = TypeVar("T", bound=Struct)
NOON = datetime(2024, 6, 15, 10, 0, tzinfo=UTC)
EMPTY = Scenario(name="empty", story="Nobody comes.")


class Rig:
    """`run` lets seconds pass, `read` and `write` speak the wire's language."""

    def __init__(
        self,
        profile: StationProfile | str = "chargepost",
        scenario: Scenario = EMPTY,
        *,
        soc_pct: float | None = None,
        at: datetime = NOON,
        startup_s: float = 0.0,
        **more: Any,
    ) -> None:
        profile = load_station(profile) if isinstance(profile, str) else profile
        self.profile = msgspec.structs.replace(profile, startup_s=startup_s)
        scenario = msgspec.structs.replace(scenario, soc_start_pct=scenario.soc_start_pct or soc_pct)
        self.now: Moment = moment_at(at)
        self.station = Station(self.profile, scenario, self.now, **more)

    @property
    def post(self) -> ChargePost:
        return self.station.post

    def run(self, seconds: float) -> "Rig":
        for _ in range(int(seconds)):
            self.now = self.now.later(1.0)
            self.station.step(self.now)
            assert abs(balance_kw(self.post)) < 1e-9
        return self

    def ask(self, pdu: bytes, *, unit: int = 1) -> bytes:
        return self.station.request(self.now, unit, pdu)

    def words(self, function: int, address: int, count: int, *, unit: int = 1) -> tuple[int, ...]:
        reply = self.ask(struct.pack(">BHH", function, address, count), unit=unit)
        assert reply[0] == function, f"exception {reply[1]:#x}"
        return struct.unpack(f">{count}H", reply[2:])

    def read(self, span: Span[T]) -> T:
        return span.decode(self.words(span.table.value, span.address, span.count, unit=span.unit_id))

    def write(self, order: RegisterWrite) -> int:
        """0 where the write was taken, else the exception code."""
        return self.put(order.address, *order.words, unit=order.unit_id, many=order.function == 16)

    def put(self, address: int, *words: int, unit: int = 1, many: bool = True) -> int:
        if many:
            pdu = struct.pack(f">BHHB{len(words)}H", 16, address, len(words), 2 * len(words), *words)
        else:
            pdu = struct.pack(">BHH", 6, address, *words)
        reply = self.ask(pdu, unit=unit)
        return reply[1] if reply[0] & 0x80 else 0

    def take_control(self, *, interval_s: int = 60, **management: Any) -> "Rig":
        """Beat, switch external control on and set levers of the station."""
        assert self.write(MANAGEMENT.write(watchdog_interval_s=interval_s, operation_mode=1)) == 0
        for name, value in management.items():
            assert self.write(MANAGEMENT.write(**{name: value})) == 0
        return self

    def beat(self, seconds: int, *, every_s: int = 20, interval_s: int = 60) -> "Rig":
        """Let seconds pass with a heartbeat."""
        for _ in range(0, seconds, every_s):
            self.run(min(every_s, seconds))
            assert self.write(MANAGEMENT.write(watchdog_interval_s=interval_s)) == 0
        return self

    def plug(self, *, outlet: int = 1, **wish: Any) -> "Rig":
        self.post.plug(a_car(**wish), outlet)
        return self

    def charging(self, *, outlet: int = 1, **wish: Any) -> "Rig":
        """A car that has left authorization, set-up and ramp behind."""
        self.plug(outlet=outlet, **wish).run(45)
        if self.post.levers.external:
            self.take_control()
        return self


def a_car(**wish: Any) -> Car:
    flat = wish.get("max_kw", 120.0)
    usual = {"capacity_kwh": 400.0, "soc_start_pct": 20.0, "soc_target_pct": 90.0, "max_kw": flat, "stay_s": 36_000.0}
    return Car(**{**usual, "curve": ((0.0, flat), (100.0, flat)), **wish})


def balance_kw(post: ChargePost) -> float:
    flows = post.flows
    into = flows.grid_kw + flows.battery_1_kw + flows.battery_2_kw + flows.pv_kw
    return into - flows.ev_1_kw - flows.ev_2_kw - flows.own_kw
