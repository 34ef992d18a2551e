"""A car at the plug: how much power its battery takes at this state of charge, and when it wants to go."""

from emulator.physics.battery_string import interpolated
from shared.scenario.schema import Car

USUAL_TAPER = (
    (0.0, 0.9),
    (10.0, 1.0),
    (50.0, 1.0),
    (60.0, 0.85),
    (70.0, 0.68),
    (80.0, 0.5),
    (90.0, 0.27),
    (100.0, 0.04),
)
"""Share of the highest power against state of charge, for a car whose curve nobody gave."""

HIGH_VOLTAGE_ABOVE_KW = 180.0
LAST_KWH = 1e-6


class Vehicle:
    """A car while it is here; `energy_kwh` is what its battery holds."""

    __slots__ = (
        "_curve",
        "capacity_kwh",
        "energy_kwh",
        "handshake_kw",
        "leave_s",
        "leaves_when_full",
        "nominal_v",
        "target_kwh",
        "wish",
    )

    def __init__(self, wish: Car, *, arrived_s: float) -> None:
        self.wish = wish
        self.capacity_kwh = wish.capacity_kwh
        self.energy_kwh = wish.capacity_kwh * wish.soc_start_pct / 100.0
        self.target_kwh = wish.capacity_kwh * wish.soc_target_pct / 100.0
        self.leave_s = arrived_s + wish.stay_s
        self.leaves_when_full = wish.leaves_when_full
        points = wish.curve or tuple((soc, share * wish.max_kw) for soc, share in USUAL_TAPER)
        self._curve = tuple(min(interpolated(points, soc), wish.max_kw) for soc in range(102))
        self.nominal_v = 800.0 if wish.max_kw > HIGH_VOLTAGE_ABOVE_KW else 400.0
        self.handshake_kw = max(self._curve)

    @property
    def soc_pct(self) -> float:
        return 100.0 * self.energy_kwh / self.capacity_kwh

    @property
    def full(self) -> bool:
        """Whether the driver's target is reached."""
        return self.energy_kwh >= self.target_kwh - LAST_KWH

    @property
    def volts(self) -> float:
        """The pack's voltage: what turns a current limit into a power limit."""
        return self.nominal_v * (0.85 + 0.15 * self.energy_kwh / self.capacity_kwh)

    def accepts_kw(self) -> float:
        """What the car takes now, and no more than carries it exactly to its target within this second."""
        place = 100.0 * self.energy_kwh / self.capacity_kwh
        index = int(place)
        curve = self._curve
        low = curve[index]
        power = low + (curve[index + 1] - low) * (place - index)
        left = (self.target_kwh - self.energy_kwh) * 3600.0
        if left < power:
            return max(0.0, left)
        return power

    def seconds_to(self, soc_pct: float, power_kw: float) -> float | None:
        """The car's own guess at constant power; None while it does not charge."""
        if power_kw <= 0.5:
            return None
        return max(0.0, self.capacity_kwh * soc_pct / 100.0 - self.energy_kwh) / power_kw * 3600.0
