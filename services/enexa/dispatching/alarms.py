"""When a failing link becomes an alert for people: after a minute, once, and cleared when it is stable again (pure)."""

from enum import StrEnum

from shared.moment import Moment

ALERT_AFTER_S = 60.0
STABLE_AFTER_S = 8.0


class Turn(StrEnum):
    """What an alarm does at an edge."""

    RAISE = "raise"
    CLEAR = "clear"


class Alarm:
    """One condition. A link that flaps counts as failing until it has been good for a while without a break."""

    def __init__(self, *, raise_after_s: float = ALERT_AFTER_S, stable_after_s: float = STABLE_AFTER_S) -> None:
        self._raise_after_s = raise_after_s
        self._stable_after_s = stable_after_s
        self._failing_since_s: float | None = None
        self._good_since_s: float | None = None
        self.raised = False

    def restore(self) -> None:
        """The alert was open when the platform stopped, and still is."""
        self.raised = True
        self._failing_since_s = float("-inf")

    @property
    def due_s(self) -> float:
        """When the condition will be told if it still fails (`Moment.s`); infinite where nothing is coming."""
        if self.raised or self._failing_since_s is None:
            return float("inf")
        return self._failing_since_s + self._raise_after_s

    def tick(self, now: Moment, *, failing: bool) -> Turn | None:
        """Look at the condition; answers at the edges only."""
        if failing:
            self._good_since_s = None
            if self._failing_since_s is None:
                self._failing_since_s = now.s
            if not self.raised and now.s - self._failing_since_s >= self._raise_after_s:
                self.raised = True
                return Turn.RAISE
            return None
        if self._failing_since_s is None:
            return None
        if self._good_since_s is None:
            self._good_since_s = now.s
        if now.s - self._good_since_s < self._stable_after_s:
            return None
        self._failing_since_s = self._good_since_s = None
        if not self.raised:
            return None
        self.raised = False
        return Turn.CLEAR
