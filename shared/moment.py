"""A moment: seconds that never jump, and a date that may be corrected."""

from datetime import UTC, datetime, timedelta

from msgspec import Struct


class Moment(Struct, frozen=True, order=True):
    """`s` measures durations and never jumps; `at` dates data (UTC, aware) and may be corrected."""

    s: float
    at: datetime

    def since(self, earlier: "Moment") -> float:
        """Seconds from `earlier` to here, by the count that never jumps."""
        return self.s - earlier.s

    def later(self, seconds: float) -> "Moment":
        """The moment `seconds` after this one, if no clock is corrected in between."""
        return Moment(self.s + seconds, self.at + timedelta(seconds=seconds))


def moment_at(at: datetime, s: float = 0.0) -> Moment:
    """A moment for a known date; the entry for tests and files, which have no clock."""
    assert at.tzinfo is not None, "a moment needs an aware datetime"
    return Moment(s, at.astimezone(UTC))
