"""What a station remembers over a restart: charge, counters, wear, cars at their cables and faults."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec import Struct

from emulator.physics.vehicle import Vehicle
from shared.scenario.schema import Car

if TYPE_CHECKING:
    from emulator.device.chargepost import ChargePost


class Plugged(Struct, frozen=True, kw_only=True):
    """A car at an outlet, as a restart of the process must find it again."""

    outlet: int
    car: Car
    energy_kwh: float
    session_kwh: float
    leaves_in_s: float


class Lasting(Struct, frozen=True, kw_only=True):
    """A fault that was active; `left_s` None until somebody clears it."""

    name: str
    options: Mapping[str, float]
    left_s: float | None


class Memory(Struct, frozen=True, kw_only=True):
    """What survives a restart: charge, counters and wear, the cars that still hang on their cables, and faults."""

    energy_kwh: tuple[float, float]
    charged_kwh: tuple[float, float] = (0.0, 0.0)
    discharged_kwh: tuple[float, float] = (0.0, 0.0)
    worn_s: tuple[float, float] = (0.0, 0.0)
    imported_kwh: float = 0.0
    exported_kwh: float = 0.0
    pv_kwh: float = 0.0
    ev_kwh: tuple[float, float] = (0.0, 0.0)
    plugged: tuple[Plugged, ...] = ()
    faults: tuple[Lasting, ...] = ()


def memory_of(post: "ChargePost") -> Memory:
    """What a restart must find again."""
    first, second = post.strings
    return Memory(
        energy_kwh=(first.energy_kwh, second.energy_kwh),
        charged_kwh=(first.charged_kwh, second.charged_kwh),
        discharged_kwh=(first.discharged_kwh, second.discharged_kwh),
        worn_s=(first.worn_s, second.worn_s),
        imported_kwh=post.meter.imported_kwh,
        exported_kwh=post.meter.exported_kwh,
        pv_kwh=post.pv_kwh,
        ev_kwh=(post.outlets[0].lifetime_kwh, post.outlets[1].lifetime_kwh),
        plugged=tuple(
            Plugged(
                outlet=number,
                car=outlet.vehicle.wish,
                energy_kwh=outlet.vehicle.energy_kwh,
                session_kwh=outlet.session_kwh,
                leaves_in_s=outlet.vehicle.leave_s - post.now.s,
            )
            for number, outlet in enumerate(post.outlets, 1)
            if outlet.vehicle is not None
        ),
        faults=tuple(
            Lasting(
                name=fault.name,
                options=fault.options,
                left_s=None if fault.until_s is None else fault.until_s - post.now.s,
            )
            for fault in post.faults.active.values()
        ),
    )


def remind(post: "ChargePost", memory: Memory) -> None:
    """Let a new station go on where an earlier one was."""
    for index, string in enumerate(post.strings):
        string.charged_kwh = memory.charged_kwh[index]
        string.discharged_kwh = memory.discharged_kwh[index]
        string.worn_s = memory.worn_s[index]
        string.age()
        string.energy_kwh = min(memory.energy_kwh[index], string.capacity_kwh)
        post.outlets[index].lifetime_kwh = memory.ev_kwh[index]
    post.meter.imported_kwh, post.meter.exported_kwh = memory.imported_kwh, memory.exported_kwh
    post.pv_kwh = memory.pv_kwh
    for plugged in memory.plugged:
        vehicle = Vehicle(plugged.car, arrived_s=post.now.s)
        vehicle.energy_kwh = plugged.energy_kwh
        vehicle.leave_s = post.now.s + plugged.leaves_in_s
        outlet = post.outlets[plugged.outlet - 1]
        outlet.plug(vehicle)
        outlet.session_kwh = plugged.session_kwh
    for fault in memory.faults:
        post.faults.begin(fault.name, post.now.s, for_s=fault.left_s, options=fault.options)
        post.truth.note(post.now.at, "fault", fault.name, new="goes on")
    post.masks.change(post)
