"""Plays a scenario on a station: which cars arrive, wait and leave, and which events are due at this moment."""

from collections import deque
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from math import inf, log
from zoneinfo import ZoneInfo

from emulator.device.chargepost import ChargePost
from emulator.device.faults import kind_of
from shared.errors import BadInput
from shared.moment import Moment
from shared.scenario.days import DAY, day_of, moved_to_clock, sessions_on
from shared.scenario.schema import (
    AmbientChanges,
    Car,
    EvArrives,
    Event,
    EvLeaves,
    FaultBegins,
    FaultEnds,
    Scenario,
    Session,
)

MOST_WAITING = 50
MASK = 0xFFFF_FFFF_FFFF_FFFF
FAR = datetime.max.replace(tzinfo=UTC)


class Chance:
    """Numbers that look random and follow from a seed: splitmix64, a few lines that will never change."""

    def __init__(self, seed: int) -> None:
        self._state = seed & MASK

    def draw(self) -> float:
        """In [0, 1)."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & MASK
        mixed = self._state
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & MASK
        return ((mixed ^ (mixed >> 31)) >> 11) / 2.0**53

    def wait_s(self, mean_s: float) -> float:
        """The time to the next of events that come independently of each other."""
        return -mean_s * log(1.0 - self.draw())


class Waiting:
    """A car in the queue; it gives up at `until_s`."""

    __slots__ = ("car", "until_s")

    def __init__(self, car: Car, until_s: float) -> None:
        self.car = car
        self.until_s = until_s


class Director:
    """Feed it every second before the station's own step. `sessions` replace those of the scenario.

    Sessions that began less than their stay ago are played late with the stay that is left, so that a station that is
    started at noon finds the cars of noon. `told_s` says how much of the story is over: what its timeline has in store
    for that time happens late in the same way. After a restart only what came after `since` counts, and of the timeline
    what came after `known_s`.
    """

    def __init__(
        self,
        scenario: Scenario,
        now: Moment,
        *,
        sessions: Sequence[Session] = (),
        since: datetime | None = None,
        told_s: float = 0.0,
        known_s: float = -1.0,
        seed: int | None = None,
    ) -> None:
        mistake = fault_mistake(scenario)
        if mistake:
            raise BadInput(mistake)
        self._zone = ZoneInfo(scenario.timezone)
        self._scenario = scenario
        self._start_s = now.s - told_s
        self._known_s = known_s
        self._since = since
        self._dated = deque(moved_to_clock(sessions or scenario.dated_sessions, now.at, self._zone))
        self._daily = () if sessions else scenario.sessions
        self._today = day_of(now.at, self._zone) - DAY
        self._due: deque[Session] = deque()
        self._timeline = deque(sorted(scenario.timeline, key=lambda event: event.at_s))
        self._queue: deque[Waiting] = deque()
        self._next_car_at = datetime.min.replace(tzinfo=UTC)
        self.turned_away = 0
        self._chance = Chance(scenario.seed if seed is None else seed)
        self._next_fault_s = inf
        if scenario.drawn_faults is not None:
            self._next_fault_s = self._start_s + self._chance.wait_s(3600.0 / scenario.drawn_faults.per_hour)

    @property
    def waiting(self) -> int:
        """Cars in the queue."""
        return len(self._queue)

    def told_s(self, now: Moment) -> float:
        """How much of the story is over."""
        return now.s - self._start_s

    def next_session_at(self) -> datetime | None:
        """When the next car is due, if one is known."""
        return None if self._next_car_at >= FAR else self._next_car_at

    def play(self, now: Moment, post: ChargePost) -> None:
        """Let happen what is due."""
        if self._timeline and self.told_s(now) >= self._timeline[0].at_s:
            self._play_timeline(now, post)
        if now.at >= self._next_car_at:
            self._meet(now)
        if self._queue:
            self._let_in(now, post)
        if now.s >= self._next_fault_s:
            self._draw_faults(now, post)

    def arrive(self, now: Moment, car: Car) -> None:
        """A car comes to the station and queues."""
        if len(self._queue) >= MOST_WAITING:
            raise BadInput("the queue in front of the station is full", waiting=len(self._queue))
        self._queue.append(Waiting(car, now.s + car.patience_s))

    def _draw_faults(self, now: Moment, post: ChargePost) -> None:
        """Raise what chance has in store up to now; the draws of a restarted station go on where they were."""
        drawn = self._scenario.drawn_faults
        assert drawn is not None
        while now.s >= self._next_fault_s:
            begins_s = self._next_fault_s
            name = drawn.faults[int(self._chance.draw() * len(drawn.faults))]
            left_s = begins_s + max(1.0, self._chance.wait_s(drawn.mean_s)) - now.s
            self._next_fault_s = begins_s + self._chance.wait_s(3600.0 / drawn.per_hour)
            if begins_s - self._start_s > self._known_s and left_s > 0.0:
                post.begin_fault(name, for_s=left_s)

    def _play_timeline(self, now: Moment, post: ChargePost) -> None:
        told_s = self.told_s(now)
        while self._timeline and told_s >= self._timeline[0].at_s:
            event = self._timeline.popleft()
            late_s = told_s - event.at_s
            if event.at_s <= self._known_s and not isinstance(event, AmbientChanges):
                continue  # the station remembers what happened before its restart, except for the weather
            if isinstance(event, EvArrives):
                self._queue_late(event, now, late_s)
            elif isinstance(event, FaultBegins) and event.for_s is not None:
                if late_s < event.for_s:
                    post.begin_fault(event.fault, for_s=event.for_s - late_s, options=dict(event.options))
            else:
                self.perform(event, now, post)

    def perform(self, event: Event, now: Moment, post: ChargePost) -> None:
        """Let one event happen now, whatever its `at_s` says."""
        if isinstance(event, EvArrives):
            self.arrive(now, event)
        elif isinstance(event, EvLeaves):
            post.unplug(event.outlet)
        elif isinstance(event, FaultBegins):
            post.begin_fault(event.fault, for_s=event.for_s, options=dict(event.options))
        elif isinstance(event, FaultEnds):
            post.end_fault(event.fault)
        elif isinstance(event, AmbientChanges):
            post.environment.mean_c = event.ambient_c
            post.environment.swing_c = 0.0
        # Links and programs are the business of whoever runs the stack.

    def _meet(self, now: Moment) -> None:
        """Bring the sessions that have come due into the queue, and note when the next one is."""
        today = day_of(now.at, self._zone)
        while self._today < today:
            self._today += DAY
            self._due.extend(sorted(sessions_on(self._today, self._daily, self._zone), key=lambda each: each.start_at))
        while self._dated and self._dated[0].start_at <= now.at:
            self._meet_one(self._dated.popleft(), now)
        while self._due and self._due[0].start_at <= now.at:
            self._meet_one(self._due.popleft(), now)
        upcoming = [sessions[0].start_at for sessions in (self._due, self._dated) if sessions]
        if self._daily:
            upcoming.append(_next_midnight(now.at, self._zone))
        self._next_car_at = min(upcoming, default=FAR)

    def _meet_one(self, session: Session, now: Moment) -> None:
        if self._since is not None and session.start_at <= self._since:
            return
        self._queue_late(session, now, (now.at - session.start_at).total_seconds())

    def _queue_late(self, car: Car, now: Moment, late_s: float) -> None:
        """A car that came `late_s` ago queues with the stay that is left, unless it has gone or the queue is full."""
        left_s = car.stay_s if late_s <= 1.0 else car.stay_s - late_s
        if left_s <= 0.0:
            return
        if len(self._queue) >= MOST_WAITING:
            self.turned_away += 1
            return
        wish = {name: getattr(car, name) for name in Car.__struct_fields__}
        self._queue.append(Waiting(Car(**{**wish, "stay_s": left_s}), now.s + car.patience_s))

    def _let_in(self, now: Moment, post: ChargePost) -> None:
        """First come, first served; a car that wants an outlet that is taken lets others pass."""
        for waiting in list(self._queue):
            if now.s >= waiting.until_s:
                self._queue.remove(waiting)
                self.turned_away += 1
                post.truth.note(now.at, "car", "gave_up")
                continue
            outlet = post.free_outlet(waiting.car.outlet)
            if outlet is not None and not post.standing:
                self._queue.remove(waiting)
                post.plug(waiting.car, outlet)


def fault_mistake(scenario: Scenario) -> str | None:
    """What is wrong with the faults that a scenario names, and where; None if it can be played."""
    drawn = scenario.drawn_faults
    named: list[tuple[str, str, Mapping[str, float]]] = [
        ("drawn_faults.faults", name, {}) for name in (drawn.faults if drawn else ())
    ]
    for place, event in enumerate(scenario.timeline):
        if isinstance(event, FaultBegins):
            named.append((f"timeline[{place}].fault", event.fault, event.options))
        elif isinstance(event, FaultEnds):
            named.append((f"timeline[{place}].fault", event.fault, {}))
    for where, name, options in named:
        try:
            kind_of(name).options_of(options)
        except BadInput as error:
            return f"{error} - at `$.{where}`"
    return None


def _next_midnight(at: datetime, zone: ZoneInfo) -> datetime:
    tomorrow = day_of(at, zone) + timedelta(days=1)
    return datetime(tomorrow.year, tomorrow.month, tomorrow.day, tzinfo=zone).astimezone(UTC)
