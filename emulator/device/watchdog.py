"""The device's own timer over the EMS: who does not beat in time loses control.

no_control --beat--> watching --silence--> tripped --beat and mode on--> watching
"""

from enum import Enum


class Watch(Enum):
    """Where the watchdog stands; `NO_CONTROL` holds from power-on to the first beat."""

    NO_CONTROL = "no_control"
    WATCHING = "watching"
    TRIPPED = "tripped"


class Watchdog:
    """`beat` on every write of the interval, `expired` once a second; lateness is how real devices differ."""

    __slots__ = ("_beaten_since_trip", "_deadline_s", "interval_s", "lateness_ratio", "state")

    def __init__(self, *, lateness_ratio: float = 1.0) -> None:
        self.lateness_ratio = lateness_ratio
        self.power_on()

    def power_on(self) -> None:
        self.state = Watch.NO_CONTROL
        self.interval_s = 60.0
        self._deadline_s = float("inf")
        self._beaten_since_trip = False

    @property
    def trusts(self) -> bool:
        """Whether an EMS that has asked for control holds it."""
        return self.state is Watch.WATCHING

    def beat(self, now_s: float, interval_s: float, *, mode_on: bool) -> None:
        """The interval register was written."""
        self.interval_s = interval_s
        self._deadline_s = now_s + interval_s * self.lateness_ratio
        if self.state is Watch.NO_CONTROL:
            self.state = Watch.WATCHING
        self._beaten_since_trip = True
        self.mode_written(mode_on=mode_on)

    def mode_written(self, *, mode_on: bool) -> None:
        """Beat and mode may come in either order; the second of the two gives control back."""
        if self.state is Watch.TRIPPED and mode_on and self._beaten_since_trip:
            self.state = Watch.WATCHING

    def expired(self, now_s: float) -> bool:
        """Whether the watchdog trips in this second; it says so once."""
        if now_s < self._deadline_s:
            return False
        self.state = Watch.TRIPPED
        self._deadline_s = float("inf")
        self._beaten_since_trip = False
        return True

    def left_s(self, now_s: float) -> float:
        """What register 2009 shows."""
        if self._deadline_s == float("inf"):
            return 0.0 if self.state is Watch.TRIPPED else self.interval_s
        return min(max(0.0, self._deadline_s - now_s), self.interval_s)
