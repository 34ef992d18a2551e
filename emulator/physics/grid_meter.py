"""The MID meter at the connection point: power, phases and the two counters that never fall."""

from math import sqrt

from emulator.physics.environment import Environment
from emulator.physics.nameplate import GridPlate


class GridMeter:
    """`count` adds one second; everything else is derived from the last power when somebody asks."""

    __slots__ = ("_environment", "exported_kwh", "factor", "grid_kw", "imported_kwh", "outage", "phase_lost", "plate")

    def __init__(self, plate: GridPlate, environment: Environment) -> None:
        self.plate = plate
        self.factor = plate.power_factor_ratio
        self._environment = environment
        self.grid_kw = 0.0
        self.imported_kwh = 0.0
        self.exported_kwh = 0.0
        self.outage = False
        self.phase_lost = False

    def count(self, grid_kw: float) -> None:
        """Let `grid_kw` (+ import) flow for one second."""
        self.grid_kw = grid_kw
        if grid_kw > 0.0:
            self.imported_kwh += grid_kw / 3600.0
        else:
            self.exported_kwh -= grid_kw / 3600.0

    @property
    def reactive_kvar(self) -> float:
        """The converters' own reactive power, and what a power factor below 1 adds under load."""
        if self.outage:
            return 0.0
        factor = self.factor
        return self.plate.reactive_kvar + abs(self.grid_kw) * sqrt(1.0 - factor * factor) / factor

    @property
    def power_factor_ratio(self) -> float:
        apparent = sqrt(self.grid_kw**2 + self.reactive_kvar**2)
        return abs(self.grid_kw) / apparent if apparent > 0.0 else 1.0

    def frequency_hz(self, s: float) -> float:
        return 0.0 if self.outage else self.plate.frequency_hz + self._environment.frequency_drift_hz(s)

    def voltages_v(self, s: float) -> tuple[float, float, float]:
        """Phase to neutral; import pulls the voltage down a little, a lost phase shows what the others induce."""
        if self.outage:
            return 0.0, 0.0, 0.0
        nominal = self.plate.voltage_v - 0.02 * self.grid_kw
        drift = self._environment.voltage_drift_v
        first, second, third = (nominal + drift(s, phase) for phase in range(3))
        return (0.1 * first if self.phase_lost else first), second, third

    def currents_a(self, s: float) -> tuple[float, float, float]:
        """Per phase, so that the three apparent powers add up to the station's."""
        if self.outage:
            return 0.0, 0.0, 0.0
        apparent = sqrt(self.grid_kw**2 + self.reactive_kvar**2) * 1000.0
        first, second, third = self.voltages_v(s)
        if self.phase_lost:
            return 0.0, apparent / 2.0 / second, apparent / 2.0 / third
        return apparent / 3.0 / first, apparent / 3.0 / second, apparent / 3.0 / third

    def most_kw(self) -> float:
        """Highest real power that the connection carries, either way."""
        plate = self.plate
        if self.outage or self.phase_lost:
            return 0.0
        apparent, factor, fixed = plate.apparent_kva, self.factor, plate.reactive_kvar
        tangent = sqrt(1.0 - factor * factor) / factor
        # P^2 + (fixed + tangent P)^2 = apparent^2
        a, b, c = 1.0 + tangent * tangent, 2.0 * fixed * tangent, fixed * fixed - apparent * apparent
        return (-b + sqrt(b * b - 4.0 * a * c)) / (2.0 * a)
