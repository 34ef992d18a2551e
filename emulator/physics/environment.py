"""What surrounds the station: temperature, sunshine and the voltage and frequency of the grid, without chance.

Small movements are sums of sines of incommensurable periods, shifted by the seed: they look alive, and two runs of
one seed are the same.
"""

from math import pi, sin

from shared.scenario.schema import DailyProfile


class Environment:
    """Ambient temperature swings by 4 K around its mean, warmest at 15:00; PV follows the day's profile."""

    __slots__ = ("_phase", "ambient_c", "mean_c", "pv_ratio", "swing_c")

    def __init__(self, *, mean_c: float, pv_ratio: DailyProfile | None, seed: int) -> None:
        self.mean_c = mean_c
        self.swing_c = 4.0
        self.pv_ratio = pv_ratio
        self._phase = (seed * 0.618033988749895) % 1.0 * 2.0 * pi
        self.ambient_c = mean_c

    def look(self, second_of_day: float) -> None:
        """Set the weather of this second of the local day; it moves slowly enough to be looked at once a minute."""
        self.ambient_c = self.mean_c + self.swing_c * sin((second_of_day / 86_400.0 - 0.375) * 2.0 * pi)

    def sun_ratio(self, second_of_day: float) -> float:
        """PV power as a share of the peak power."""
        return max(0.0, self.pv_ratio.at(second_of_day)) if self.pv_ratio is not None else 0.0

    def voltage_drift_v(self, s: float, phase: int) -> float:
        """How far a phase's voltage is off its nominal value by what the neighbours do."""
        shift = self._phase + phase * 2.1
        return 1.3 * sin(s / 211.0 + shift) + 0.6 * sin(s / 37.7 + 2.0 * shift)

    def frequency_drift_hz(self, s: float) -> float:
        return 0.012 * sin(s / 97.0 + self._phase) + 0.006 * sin(s / 13.3 + 3.0 * self._phase)
