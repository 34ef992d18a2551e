"""Does each fault wake the rule that it should? Collects the signals of every second, and keeps the count of edges.

A fault that acts opens a watch for each of its rules; the rule's signal closes it. A watch that is still open at its
deadline is late, which breaks the run, unless something else stood in the way meanwhile: another fault on the same
program or link, or the program itself was down. Such a watch is masked and proves nothing either way.
"""

from functools import partial
from typing import TYPE_CHECKING

from msgspec import Struct

from shared.moment import Moment
from tests.simulation.catalogue import ACTOR, DOWN, FIELD, SIDES, UP, Rule, rules_for
from tests.simulation.weather import OF_A_PROGRAM, Kind, Place, Trouble

if TYPE_CHECKING:
    from tests.simulation.world import World


class RuleVerdict(Struct, frozen=True, kw_only=True):
    """One line of the verdict table."""

    rule: str
    must: str
    within_s: float
    fired: int
    masked: int
    late: int
    slowest_s: float

    def sentence(self) -> str:
        word = "LATE" if self.late else "ok  " if self.fired else "    "
        return (
            f"{word} {self.rule:28} {self.fired:4} fired, {self.masked:3} masked, {self.late} late; "
            f"slowest {self.slowest_s:.0f} s of {self.within_s:g} s: {self.must}"
        )


class _Count(Struct):
    fired: int = 0
    masked: int = 0
    late: int = 0
    slowest_s: float = 0.0


class _Open(Struct):
    rule: Rule
    since_s: float
    deadline_s: float
    masked: bool = False


class Watchman:
    """Listens to everybody; `check` once a second, after all have acted."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._heard: set[str] = set()
        self._open: dict[tuple[str, str], _Open] = {}
        self._counts: dict[Rule, _Count] = {}
        self._lately: list[Trouble] = []
        """Troubles that have begun, but for those that were over before every open watch began."""
        self.late: list[str] = []
        """Sentences about rules that did not fire; the referee takes them over."""
        for line, side, name in ((world.to_enexa, UP, "to_enexa"), (world.to_amperio, DOWN, "to_amperio")):
            line.watchers.append(partial(self._acted, side=side))
            line.ends.append(partial(self._call_ended, name))
        world.link.watchers.append(partial(self._acted, side=FIELD))
        world.amperio.tells.append(lambda now, name: self._heard.add(f"amperio.{name}"))
        world.amperio.settles.append(lambda *_: self._heard.add("amperio.cycled"))
        world.enexa.tells.append(lambda now, name: self._heard.add(f"enexa.{name}"))

    def _call_ended(self, name: str, now: Moment, good: bool) -> None:
        self._heard.add(f"{name}.ended")

    def began(self, now: Moment, trouble: Trouble) -> None:
        """A trouble of a program has begun and has changed its state."""
        for side in SIDES[trouble.place]:
            self._acted(now, trouble.kind, side, trouble.for_s)

    def troubled(self, trouble: Trouble) -> None:
        """Any trouble has begun, of a link or a program; what was over before all that is waited for is forgotten."""
        since_s = min((watch.since_s for watch in self._open.values()), default=trouble.at_s)
        self._lately = [each for each in self._lately if each.until_s >= since_s]
        self._lately.append(trouble)

    def heard(self, signal: str) -> None:
        self._heard.add(signal)

    def check(self, now: Moment) -> None:
        """Close what has fired, and tell what is late."""
        if not self._open:
            self._heard.clear()
            return
        self._look()
        for key, watch in list(self._open.items()):
            watch.masked = watch.masked or self._in_the_way(now, watch)
            if not watch.rule.signals.isdisjoint(self._heard):
                self._close(key, now)
            elif now.s >= watch.deadline_s:
                self._overdue(key, watch)
        self._heard.clear()

    def verdicts(self) -> tuple[RuleVerdict, ...]:
        """What each rule that had to fire has done."""
        return tuple(
            RuleVerdict(
                rule=rule.name,
                must=rule.must,
                within_s=rule.within_s,
                fired=count.fired,
                masked=count.masked,
                late=count.late,
                slowest_s=count.slowest_s,
            )
            for rule, count in sorted(self._counts.items(), key=lambda each: each[0].name)
        )

    def _acted(self, now: Moment, kind: Kind, side: str, for_s: float | None = None) -> None:
        for rule in rules_for(kind, side):
            if for_s is not None and for_s < rule.after_s:
                continue
            length_s = (for_s or 0.0) if rule.plus_length else 0.0
            key = (rule.name, rule.must)
            if key not in self._open:
                self._open[key] = _Open(rule=rule, since_s=now.s, deadline_s=now.s + length_s + rule.within_s)

    def _close(self, key: tuple[str, str], now: Moment) -> None:
        watch = self._open.pop(key)
        count = self._counts.setdefault(watch.rule, _Count())
        count.fired += 1
        length_s = watch.deadline_s - watch.since_s - watch.rule.within_s
        count.slowest_s = max(count.slowest_s, now.s - watch.since_s - length_s)

    def _overdue(self, key: tuple[str, str], watch: _Open) -> None:
        del self._open[key]
        count = self._counts.setdefault(watch.rule, _Count())
        if watch.masked:
            count.masked += 1
        else:
            count.late += 1
            self.late.append(f"{watch.rule.name} at {watch.since_s:.0f} s: {watch.rule.must} was not seen in time")

    def _look(self) -> None:
        """The states of this second, as signals."""
        world, heard = self._world, self._heard
        if not world.device.station.post.levers.external:
            heard.add("station.own_control")
        if world.device.station.post.flows.grid_kw <= world.operator_kw * 1.02:
            heard.add("station.within_limit")
        if world.enexa.up and not world.enexa.paused:
            heard.add("enexa.stepped")
        amperio = world.amperio
        if amperio.up and not amperio.paused:
            agent = amperio.agent
            if agent.mode.value != "online":
                heard.add("amperio.not_online")
            if not agent.link_up:
                heard.add("amperio.link_down")
            if amperio.lane.store_failing:
                heard.add("amperio.store_failing")

    def _in_the_way(self, now: Moment, watch: _Open) -> bool:
        """Whether something else keeps this rule from firing."""
        rule, world = watch.rule, self._world
        actor = ACTOR.get(rule.side)
        if actor is not None and rule.kind not in OF_A_PROGRAM:
            program = world.amperio if actor is Place.AMPERIO else world.enexa
            if not program.up or program.paused:
                return True
        if not (world.amperio.up and world.enexa.up and world.device.up) and not rule.plus_length:
            return rule.kind not in (Kind.KILL, Kind.PAUSE)
        return any(
            (other.kind != rule.kind or rule.side not in SIDES[other.place]) and other.until_s >= watch.since_s
            for other in self._lately
        ) or bool(world.device.station.post.faults.active)
