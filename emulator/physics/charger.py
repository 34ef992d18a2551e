"""One outlet: a charging session from plug to unplug, and the DC stage that feeds it.

    ready -> authorization -> setup -> charging -> teardown -> finished -> ready

A session ends when the car has what it wants, when its driver's time is over, or when the outlet fails.
"""

from emulator.physics.nameplate import OutletPlate
from emulator.physics.vehicle import Vehicle
from shared.chargepost.states import ProcessState

READY, AUTHORIZATION, SETUP, CHARGING, TEARDOWN, FINISHED, ERROR, OFFLINE = (
    ProcessState.READY_TO_CHARGE,
    ProcessState.AUTHORIZATION,
    ProcessState.CHARGING_SETUP,
    ProcessState.CHARGING,
    ProcessState.CHARGING_TEARDOWN,
    ProcessState.CHARGING_FINISHED,
    ProcessState.CHARGING_ERROR,
    ProcessState.OFFLINE,
)

LEAST_RAMP_KW = 1.0


class Outlet:
    """`demand` says what the car would take this second, `deliver` what it got."""

    __slots__ = (
        "coupled",
        "departed",
        "failed",
        "finished_sessions",
        "lifetime_kwh",
        "plate",
        "power_kw",
        "process",
        "ramp_kw",
        "session_kwh",
        "since_s",
        "unavailable",
        "vehicle",
    )

    def __init__(self, plate: OutletPlate) -> None:
        self.plate = plate
        self.vehicle: Vehicle | None = None
        self.process = READY
        self.since_s = 0.0
        self.ramp_kw = 0.0
        self.power_kw = 0.0
        self.session_kwh = 0.0
        self.lifetime_kwh = 0.0
        self.finished_sessions = 0
        self.departed: float | None = None
        self.coupled = False
        self.failed = False
        self.unavailable = False

    @property
    def rating_kw(self) -> float:
        return self.plate.coupled_kw if self.coupled else self.plate.single_kw

    @property
    def free(self) -> bool:
        return self.vehicle is None and not self.unavailable and not self.failed

    def plug(self, vehicle: Vehicle) -> None:
        assert self.vehicle is None, "an outlet has one cable"
        self.vehicle = vehicle
        self.session_kwh = 0.0
        self._enter(AUTHORIZATION)

    def unplug(self) -> Vehicle | None:
        """The car is gone at once, also in the middle of a charge."""
        gone, self.vehicle = self.vehicle, None
        self.power_kw = 0.0
        if gone is not None:
            self.finished_sessions += 1
            self.departed = gone.soc_pct
        self._enter(READY)
        return gone

    def demand(self, now_s: float, limit_kw: float) -> float:
        """Move the session on by one second; kW that the car would take under `limit_kw`."""
        vehicle = self.vehicle
        if vehicle is None:
            return 0.0
        if self.process is CHARGING:
            if now_s >= vehicle.leave_s or self.failed or vehicle.energy_kwh >= vehicle.target_kwh - 1e-6:
                self._enter(TEARDOWN)
                return 0.0
            accepts = vehicle.accepts_kw()
            limit = min(limit_kw, self.plate.coupled_kw if self.coupled else self.plate.single_kw)
            if limit > 0.0 and self.ramp_kw < accepts:
                self.ramp_kw += max(vehicle.handshake_kw / self.plate.ramp_s, LEAST_RAMP_KW)
            return min(accepts, limit, self.ramp_kw)
        self._proceed(vehicle, now_s)
        return 0.0

    def deliver(self, power_kw: float) -> None:
        """Let `power_kw` flow into the car for one second."""
        self.power_kw = power_kw
        if power_kw > 0.0:
            energy = power_kw / 3600.0
            assert self.vehicle is not None
            self.vehicle.energy_kwh += energy
            self.session_kwh += energy
            self.lifetime_kwh += energy

    def _proceed(self, vehicle: Vehicle, now_s: float) -> None:
        self.since_s += 1.0
        plate = self.plate
        if self.failed:
            if self.process is not ERROR:
                self._enter(ERROR)
        elif self.process is AUTHORIZATION and self.since_s >= plate.authorization_s:
            self._enter(SETUP)
        elif self.process is SETUP and self.since_s >= plate.setup_s:
            self._enter(CHARGING)
            self.ramp_kw = 0.0
        elif self.process is TEARDOWN and self.since_s >= plate.teardown_s:
            self._enter(FINISHED)
        elif self.process is ERROR:
            self._enter(AUTHORIZATION)
        if now_s >= vehicle.leave_s or (self.process is FINISHED and vehicle.leaves_when_full):
            self.unplug()

    def _enter(self, process: ProcessState) -> None:
        self.process = process
        self.since_s = 0.0
