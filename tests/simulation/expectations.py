"""Judge a run by its scenario's `[[expect]]`: pure, so that the simulation, the live stack and a demo say the same.

Whoever plays a scenario feeds the judge once a second with named values (`observe`), tells it what happened
(`happened`, for instance `link_cut`), and in the end gives totals (`conclude`). Each expectation then has a verdict:

* `never_above`, `never_below`: every value that was seen of `that`;
* `at_least`, `at_most`, `equals`: the total, or where there is none the last value seen;
* the same with `within_s` and `of`: after each such happening the value gets there within so many seconds.

An expectation about something that nobody observed fails: a misspelt name must not pass.
"""

import math
from collections.abc import Iterable, Mapping
from typing import TypeAlias

from msgspec import Struct

from shared.scenario.schema import Expectation

Seen: TypeAlias = float | str | bool | None
EQUAL_WITHIN = 1e-9


class Verdict(Struct, frozen=True, kw_only=True):
    """One expectation, whether it held, and what was seen; `first_broken_s` is where it broke first."""

    expectation: Expectation
    held: bool
    seen: str
    first_broken_s: float | None = None

    def sentence(self) -> str:
        place = f" (first at {self.first_broken_s:g} s)" if self.first_broken_s is not None else ""
        return f"{'ok  ' if self.held else 'FAIL'} {told(self.expectation)}: {self.seen}{place}"


def told(expectation: Expectation) -> str:
    """The expectation as a phrase."""
    parts = [expectation.that]
    for name in ("never_above", "never_below", "at_least", "at_most", "equals"):
        value = getattr(expectation, name)
        if value is not None:
            parts.append(f"{name.replace('_', ' ')} {value}")
    if expectation.within_s is not None:
        parts.append(f"within {expectation.within_s:g} s")
    if expectation.of is not None:
        parts.append(f"of {expectation.of}")
    return " ".join(parts)


class Judge:
    """Watches a run; ask for `verdicts` at its end."""

    def __init__(self, expectations: Iterable[Expectation]) -> None:
        self._watches = [_watch(expectation) for expectation in expectations]

    @property
    def names(self) -> frozenset[str]:
        """The values it wants to see; a player may spare the others."""
        return frozenset(watch.expectation.that for watch in self._watches)

    def observe(self, s: float, values: Mapping[str, Seen]) -> None:
        """What is true in this second."""
        for watch in self._watches:
            if watch.expectation.that in values:
                watch.see(s, values[watch.expectation.that])

    def happened(self, s: float, name: str) -> None:
        for watch in self._watches:
            if watch.expectation.of == name:
                watch.begin(s)

    def conclude(self, s: float, totals: Mapping[str, Seen]) -> tuple[Verdict, ...]:
        """The verdicts; `totals` are sums over the run and outrank what was seen last."""
        for watch in self._watches:
            if watch.expectation.that in totals:
                watch.total(totals[watch.expectation.that])
        return tuple(watch.verdict(s) for watch in self._watches)


class _Watch:
    """One expectation while the run goes on."""

    def __init__(self, expectation: Expectation) -> None:
        self.expectation = expectation
        self.last: Seen = None
        self.known = False

    def see(self, s: float, value: Seen) -> None:
        self.last, self.known = value, True

    def begin(self, s: float) -> None:
        """A happening that this expectation counts from."""

    def total(self, value: Seen) -> None:
        self.last, self.known = value, True

    def verdict(self, s: float) -> Verdict:
        held = self.known and fulfils(self.expectation, self.last)
        return Verdict(
            expectation=self.expectation, held=held, seen=_shown(self.last) if self.known else "never observed"
        )


class _Always(_Watch):
    """never_above, never_below."""

    def __init__(self, expectation: Expectation) -> None:
        super().__init__(expectation)
        self._worst: float | None = None
        self._broken_s: float | None = None

    def see(self, s: float, value: Seen) -> None:
        if value is None or isinstance(value, str):
            return
        self.known = True
        above = self.expectation.never_above is not None
        if self._worst is None or (value > self._worst if above else value < self._worst):
            self._worst = float(value)
        if self._broken_s is None and not self._holds(float(value)):
            self._broken_s = s

    def total(self, value: Seen) -> None:
        self.see(0.0, value)

    def _holds(self, value: float) -> bool:
        above, below = self.expectation.never_above, self.expectation.never_below
        return (above is None or value <= above) and (below is None or value >= below)

    def verdict(self, s: float) -> Verdict:
        return Verdict(
            expectation=self.expectation,
            held=self.known and self._broken_s is None,
            seen=f"worst {_shown(self._worst)}" if self.known else "never observed",
            first_broken_s=self._broken_s,
        )


class _InTime(_Watch):
    """Something gets true within so many seconds of each happening of a name."""

    def __init__(self, expectation: Expectation) -> None:
        super().__init__(expectation)
        self._waiting: list[float] = []
        self._took_s: list[float] = []
        self._late_s: float | None = None

    def begin(self, s: float) -> None:
        self._waiting.append(s)

    def see(self, s: float, value: Seen) -> None:
        self.last, self.known = value, True
        if self._waiting and fulfils(self.expectation, value):
            self._took_s += [s - begun for begun in self._waiting]
            self._waiting.clear()

    def verdict(self, s: float) -> Verdict:
        within = math.inf if self.expectation.within_s is None else self.expectation.within_s
        overdue = [begun for begun in self._waiting if s - begun > within]
        slow = [took for took in self._took_s if took > within]
        happened = bool(self._took_s or self._waiting)
        if overdue:
            seen = f"not {within:g} s after {overdue[0]:g} s; last {_shown(self.last)}"
        elif not happened:
            seen = f"{self.expectation.of} never happened"
        else:
            seen = "after " + ", ".join(f"{took:g}" for took in self._took_s[:5]) + " s"
        return Verdict(
            expectation=self.expectation,
            held=self.known and happened and not overdue and not slow and bool(self._took_s),
            seen=seen,
            first_broken_s=overdue[0] + within if overdue else None,
        )


def _watch(expectation: Expectation) -> _Watch:
    if expectation.of is not None:
        return _InTime(expectation)
    if expectation.never_above is not None or expectation.never_below is not None:
        return _Always(expectation)
    return _Watch(expectation)


def fulfils(expectation: Expectation, value: Seen) -> bool:
    """Whether one value is what `at_least`, `at_most` and `equals` ask for."""
    equals, at_least, at_most = expectation.equals, expectation.at_least, expectation.at_most
    if equals is not None and not _same(value, equals):
        return False
    if at_least is None and at_most is None:
        return equals is not None
    if value is None or isinstance(value, str):
        return False
    return (at_least is None or value >= at_least) and (at_most is None or value <= at_most)


def _same(value: Seen, wanted: float | str | bool) -> bool:
    if isinstance(value, str) or isinstance(wanted, str) or value is None:
        return value == wanted
    return abs(float(value) - float(wanted)) <= EQUAL_WITHIN


def _shown(value: Seen) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
