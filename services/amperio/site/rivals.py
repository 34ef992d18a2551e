"""Another master on the same registers: notice it, say so, assert ours three times at most, then yield.

What we read back last is ours. Where a later look finds another value although control was never lost, somebody else
wrote it. Two programs that correct each other every second would wear the station out, so ours is asserted at most
every five seconds and, for setpoints, three times; then they are left to the other one and tried again after five
minutes. A limit never yields.
"""

from collections.abc import Iterable

from msgspec import Struct

from services.amperio.site.facts import Value
from services.amperio.site.orders import Outcome
from shared.chargepost.registers import MANAGEMENT, Management
from shared.moment import Moment

SETPOINTS = frozenset({"management.request_kw", "management.grid_mode"})
LIMITS = frozenset({"management.clearance_kw"})
FIELDS = {name: MANAGEMENT.fields[name.partition(".")[2]] for name in sorted(SETPOINTS | LIMITS)}

ASSERT_EVERY_S = 5.0
ASSERTIONS_MAX = 3
YIELD_S = 300.0
QUIET_AFTER_S = 60.0
SAME_WITHIN = 0.0006
"""Half a watt: the registers' own step, in kW."""


class Intrusion(Struct, frozen=True, kw_only=True):
    """One register that somebody else wrote, and whether we leave it to them now."""

    register: str
    ours: Value
    found: Value
    yielded: bool


class Rivals:
    """Compares each look with what was read back last."""

    def __init__(self) -> None:
        self.leave: frozenset[str] = frozenset()
        """Registers that are not to be written in this cycle."""
        self._ours: dict[str, Value] = {}
        self._doubted: frozenset[str] = frozenset()
        self._asserted_s = float("-inf")
        self._assertions = 0
        self._yields_until_s = float("-inf")

    def yields(self, now: Moment) -> bool:
        """Whether the setpoints are left to somebody else."""
        return now.s < self._yields_until_s

    def present(self, now: Moment) -> bool:
        """Whether somebody else wrote lately, or we yield to them."""
        return self.yields(now) or now.s - self._asserted_s <= QUIET_AFTER_S

    def observe(self, now: Moment, management: Management | None, *, controlled: bool) -> tuple[Intrusion, ...]:
        """Judge one look; a station that lost control changes its registers itself."""
        if management is None or not controlled:
            self._ours, self._doubted, self.leave = {}, frozenset(), frozenset()
            return ()
        if self.yields(now):
            self._ours = {name: value for name, value in self._ours.items() if name in LIMITS}
        elif self._assertions and not self.present(now):
            self._assertions = 0
        found = {name: _value(management, name) for name in self._ours}
        differing = frozenset(name for name, value in found.items() if not _same(value, self._ours[name]))
        certain = differing & self._doubted
        # A single look may be torn; two that agree are somebody's doing.
        self._doubted = differing
        self.leave = differing | (SETPOINTS if self.yields(now) else frozenset())
        if not certain or now.s - self._asserted_s < ASSERT_EVERY_S:
            return ()
        return self._answer(now, certain, found)

    def _answer(self, now: Moment, certain: frozenset[str], found: dict[str, Value]) -> tuple[Intrusion, ...]:
        yielded = bool(certain & SETPOINTS) and self._assertions >= ASSERTIONS_MAX
        if yielded:
            self._yields_until_s, self._assertions = now.s + YIELD_S, 0
        self._assertions += 0 if yielded else 1
        self._asserted_s = now.s
        self.leave = (self.leave | SETPOINTS) - LIMITS if yielded else self.leave - certain
        return tuple(
            Intrusion(register=name, ours=self._ours[name], found=found[name], yielded=yielded and name in SETPOINTS)
            for name in sorted(certain)
        )

    def settled(self, outcomes: Iterable[Outcome], management: Management | None) -> None:
        """Remember what was read back as ours, and what stood there already as we want it; forget what was not taken.

        `management` is the look that was decided upon, None without control.
        """
        written: set[str] = set()
        for outcome in outcomes:
            at = 0
            for name in outcome.write.names:
                field = FIELDS.get(name)
                if field is None:
                    break  # the watched registers are never written together with others
                written.add(name)
                if outcome.confirmed:
                    self._ours[name] = field.decode(outcome.write.words[at : at + field.words])
                else:
                    self._ours.pop(name, None)
                at += field.words
        if management is not None:
            fitting = FIELDS.keys() - self._ours.keys() - self.leave - written
            self._ours |= {name: _value(management, name) for name in fitting}


def _value(management: Management, name: str) -> Value:
    value: Value = getattr(management, name.partition(".")[2])
    return value


def _same(one: Value, other: Value) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= SAME_WITHIN
    return one == other
