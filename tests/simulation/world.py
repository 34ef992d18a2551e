"""One clock, three programs, two wires: a run of a scenario under a plan of troubles, second by second.

In each second, in this order: what is under way and due is delivered; troubles of programs happen; the station lives
its second; Amperio looks, decides and acts; Enexa decides and acts; the referee checks every invariant. Nothing reads
a real clock or draws from anything but the seed, so two runs of one seed are equal to the byte on both wires.
"""

import gc
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from msgspec import Struct
from msgspec.structs import replace

from services.enexa.pricing import PriceSource
from shared.clock import ManualClock
from shared.contract.config import SiteConfig
from shared.contract.dispatch import GridOperatorLimit
from shared.contract.operations import PUT_GRID_LIMIT
from shared.errors import SiteError
from shared.moment import Moment
from shared.scenario.days import leaps
from shared.scenario.load import load_scenario
from shared.scenario.schema import Scenario
from tests.simulation.amperio_side import DISK_RETRY_S, AmperioSide
from tests.simulation.archive import Archive
from tests.simulation.clocks import OwnClock
from tests.simulation.device_side import DeviceSide
from tests.simulation.disk import Disk
from tests.simulation.enexa_side import EnexaSide, seed_config
from tests.simulation.expectations import Judge
from tests.simulation.invariants import Referee
from tests.simulation.journal import Journal
from tests.simulation.links import DeviceLink, Line, Post
from tests.simulation.report import Report, report_of
from tests.simulation.watch import Watchman
from tests.simulation.weather import OF_A_DISK, Kind, Place, Trouble, Weather, troubles_of
from tests.simulation.wires import Channel, Recorder

SITE_ID = "SITE001"
DEFAULT_START = datetime(2024, 6, 15, 4, 0, tzinfo=UTC)
"""A summer Saturday, 06:00 in Stuttgart: the reference day's own morning."""
GARBAGE_AFTER = 50_000
"""Objects between two looks of the garbage collector."""
SCENARIOS_PER_PLAN = 3
"""Arrival scenarios in each plan of a simulated day; the planner's own default costs ten times as long."""


class Options(Struct, frozen=True, kw_only=True):
    """What a run is made of; two runs with equal options are equal."""

    scenario: Scenario
    seed: int = 1
    hours: float | None = None
    troubles: tuple[Trouble, ...] = ()
    price_file: str | None = None
    plan_scenarios: int = SCENARIOS_PER_PLAN
    plan_horizon_h: float | None = None
    """How far each plan looks; None: as far as the site's configuration says."""

    @property
    def duration_s(self) -> int:
        return round(self.hours * 3600.0 if self.hours is not None else self.scenario.duration_s)


class World:
    """Everything, on one clock."""

    def __init__(self, options: Options, *, wire_file: Path | None = None, log_file: Path | None = None) -> None:
        self.options = options
        scenario, seed = options.scenario, options.seed
        self.clock = ManualClock(scenario.starts_at or DEFAULT_START)
        now = self.clock.now()
        self._leaps = list(leaps(scenario.chapters, now.at, ZoneInfo(scenario.timezone)))
        self.post = Post()
        self.recorder = Recorder(wire_file)
        self.journal = Journal(log_file)
        self.judge = Judge(scenario.expect)
        self.troubles = tuple(sorted((*troubles_of(scenario), *options.troubles), key=lambda each: each.at_s))
        self.device = DeviceSide(scenario, now, self.journal, seed=seed)
        self.config = self._config(now.at)
        self.prices = PriceSource(file=Path(options.price_file) if options.price_file else None, scenario=scenario.name)
        self.enexa = EnexaSide(Archive(self.config), self.prices, self.journal, self.clock, seed=seed)
        self.link = DeviceLink(self._weather(Place.AMPERIO_CHARGEPOST), self.recorder, self.device)
        disk = Disk(platters=any(each.kind in OF_A_DISK for each in self.troubles))
        self.amperio = AmperioSide(SITE_ID, disk, self.link, self.journal, self.clock, seed=seed)
        self.to_enexa = Line(
            self._weather(Place.TO_ENEXA, Place.AMPERIO_ENEXA),
            self.recorder,
            self.post,
            (Channel.TO_ENEXA_REQUEST, Channel.TO_ENEXA_REPLY),
            self.enexa.handle,
            self.enexa.admit,
        )
        self.to_amperio = Line(
            self._weather(Place.TO_AMPERIO, Place.AMPERIO_ENEXA),
            self.recorder,
            self.post,
            (Channel.TO_AMPERIO_REQUEST, Channel.TO_AMPERIO_REPLY),
            self.amperio.handle,
        )
        self.amperio.line, self.enexa.line = self.to_enexa, self.to_amperio
        self.referee = Referee(self)
        self.watchman = Watchman(self)
        self.played_count = 0
        self.troubled_until_s = float("-inf")
        """When the last of the troubles ends that have begun."""
        self.operator_kw, self.operator_until_s, self.dimmed_s = float("inf"), 0.0, 0.0
        self.acted: Counter[str] = Counter()
        """Troubles of programs that changed a state, by name."""
        self.acted_rows: Counter[str] = Counter()
        """The same without those of the station, which counts its faults itself."""
        self._plays: dict[Kind, Callable[[Moment, Trouble], bool]] = {
            Kind.KILL: self._kill,
            Kind.POWER_CUT: self._cut_power,
            Kind.PAUSE: self._pause,
            Kind.CLOCK_STEP: self._step_clock,
            Kind.CLOCK_DRIFT: self._drift_clock,
            Kind.DISK_FULL: self._trouble_disk,
            Kind.DISK_ERROR: self._trouble_disk,
            Kind.DISK_HANG: self._trouble_disk,
            Kind.TOKENS_LOST: self._lose_tokens,
            Kind.LOCK: self._lock,
            Kind.GRID_LIMIT: self._dim,
            Kind.DEVICE: self._fault_of_device,
        }
        self.enexa.start(now)
        self.to_enexa.reads = self.enexa.reads
        self.amperio.start(now)

    def _config(self, at: datetime) -> SiteConfig:
        config = seed_config(self.options.scenario.station, SITE_ID, self.options.scenario, at)
        horizon_h = self.options.plan_horizon_h or config.planner.horizon_h
        planner = replace(config.planner, scenarios=self.options.plan_scenarios, horizon_h=horizon_h)
        return replace(config, planner=planner)

    def _weather(self, *places: Place) -> Weather:
        name = ",".join(places)
        return Weather(self.troubles, frozenset(places), f"{self.options.seed}:{name}")

    # ---- running ----------------------------------------------------------------------------------------------------

    def run(self) -> Report:
        """Play the whole scenario."""
        with _seldom_collected():
            for _ in range(self.options.duration_s):
                self.tick()
        return self.finish()

    def tick(self) -> None:
        """One second."""
        now = self.clock.advance(1.0)
        while self._leaps and self._leaps[0][0] <= now.s:
            now = self.clock.step_date(self._leaps.pop(0)[1])
        self.post.deliver(now)
        if self.played_count < len(self.troubles):
            self._play_troubles(now)
        self.device.step(now)
        if self.amperio.up:
            self.amperio.step(now)
        if self.enexa.up:
            self.enexa.step(now)
        self.amperio.edges.watched(self.device.station.post.watchdog.state)
        self.watchman.check(now)
        self.referee.check(now)

    def price_eur_per_mwh(self, now: Moment) -> float:
        """The price of the quarter hour that ends now or later."""
        return self.prices.published(now.at).price_at(now.at - timedelta(seconds=1)) or 0.0

    def finish(self) -> Report:
        self.recorder.close()
        self.journal.close()
        report = report_of(self)
        self.amperio.close()
        self.enexa.close()
        return report

    # ---- troubles ---------------------------------------------------------------------------------------------------

    def _play_troubles(self, now: Moment) -> None:
        while self.played_count < len(self.troubles) and self.troubles[self.played_count].at_s <= now.s:
            trouble = self.troubles[self.played_count]
            self.played_count += 1
            self.troubled_until_s = max(self.troubled_until_s, trouble.until_s)
            self.watchman.troubled(trouble)
            self.judge.happened(now.s, trouble.name)
            self.journal.note(
                now, "weather", trouble.kind.value, place=trouble.place.value, for_s=trouble.for_s, fault=trouble.fault
            )
            play_it = self._plays.get(trouble.kind)
            if play_it is not None and play_it(now, trouble):
                self.acted[trouble.name] += 1
                self.acted_rows[trouble.name] += trouble.kind is not Kind.DEVICE
                self.watchman.began(now, trouble)

    def _kill(self, now: Moment, trouble: Trouble) -> bool:
        if trouble.place is Place.CHARGEPOST:
            if not self.device.up:
                return False
            self.device.kill(now)
            self.post.later(now.s + max(trouble.for_s, 1.0), self._device_back)
            return True
        return self._fells(now, trouble, by_power=False)

    def _cut_power(self, now: Moment, trouble: Trouble) -> bool:
        return self._fells(now, trouble, by_power=True)

    def _fells(self, now: Moment, trouble: Trouble, *, by_power: bool) -> bool:
        """One of the twins goes down, and comes back after its time."""
        amperio = trouble.place is Place.AMPERIO
        if not (self.amperio.up if amperio else self.enexa.up):
            return False
        if not amperio:
            self.enexa.kill(now)
        elif by_power:
            self.amperio.cut_power(now)
        else:
            self.amperio.kill(now)
        host, caller = (self.to_amperio, self.to_enexa) if amperio else (self.to_enexa, self.to_amperio)
        host.died()
        caller.caller_life += 1
        self.post.later(now.s + max(trouble.for_s, 1.0), self._amperio_back if amperio else self._enexa_back)
        return True

    def _amperio_back(self, now: Moment) -> None:
        if self.amperio.start(now):
            self.to_amperio.host_up = True
        else:
            self.post.later(now.s + DISK_RETRY_S, self._amperio_back)

    def _enexa_back(self, now: Moment) -> None:
        self.enexa.start(now)
        self.to_enexa.host_up = True

    def _device_back(self, now: Moment) -> None:
        self.device.start(now)
        self.watchman.heard("station.started")

    def _pause(self, now: Moment, trouble: Trouble) -> bool:
        """The process is stopped, and goes on later with everything that it had in hand."""
        side, host = (self.amperio, self.to_amperio) if trouble.place is Place.AMPERIO else (self.enexa, self.to_enexa)
        if not side.up or side.paused:
            return False
        side.paused = host.host_paused = True

        def goes_on(at: Moment) -> None:
            if side.paused:
                side.paused = False
                host.resumed(at)

        self.post.later(now.s + trouble.for_s, goes_on)
        return True

    def _step_clock(self, now: Moment, trouble: Trouble) -> bool:
        """A date jumps by `amount` seconds, and back after `for_s` where that is not 0."""
        clock = self._clock_at(trouble)
        clock.step(trouble.amount)
        if trouble.for_s:
            self.post.later(trouble.until_s, lambda at: clock.step(-trouble.amount))
        return trouble.amount != 0.0

    def _drift_clock(self, now: Moment, trouble: Trouble) -> bool:
        clock = self._clock_at(trouble)
        clock.drift(trouble.amount)
        if trouble.for_s:
            self.post.later(trouble.until_s, lambda at: clock.drift(0.0))
        return trouble.amount != 0.0

    def _clock_at(self, trouble: Trouble) -> OwnClock:
        return self.amperio.clock if trouble.place is Place.AMPERIO else self.enexa.clock

    def _trouble_disk(self, now: Moment, trouble: Trouble) -> bool:
        disk, name = self.amperio.disk, _DISK_TROUBLES[trouble.kind]
        if getattr(disk, name):
            return False
        setattr(disk, name, True)
        self.post.later(now.s + trouble.for_s, lambda at: setattr(disk, name, False))
        return self.amperio.up

    def _lose_tokens(self, now: Moment, trouble: Trouble) -> bool:
        if not self.enexa.up:
            return False
        self.enexa.forget_tokens()
        return True

    def _lock(self, now: Moment, trouble: Trouble) -> bool:
        """Somebody on site locks it, and unlocks it after `for_s`."""
        if self.amperio.locks.locked(SITE_ID):
            return False
        self.amperio.locks.lock(SITE_ID, "locked on site")

        def unlocked(at: Moment) -> None:
            self.amperio.locks.unlock(SITE_ID)

        self.post.later(now.s + trouble.for_s, unlocked)
        return self.amperio.up

    def _dim(self, now: Moment, trouble: Trouble) -> bool:
        """The grid operator's word reaches the middleware's own API; one that is down has to be told later."""
        if not self.amperio.up or self.amperio.paused:
            return False
        at = self.amperio.clock.now().at
        until = at + timedelta(seconds=trouble.for_s)
        limit = GridOperatorLimit(import_kw=trouble.amount, from_=at, until=until)

        def told(at: Moment, how: object) -> None:
            self.journal.note(at, "weather", "grid_limit_told", refused=isinstance(how, SiteError))

        self.operator_kw, self.operator_until_s, self.dimmed_s = trouble.amount, trouble.until_s, now.s
        self.amperio.handle(now, PUT_GRID_LIMIT, {"site_id": SITE_ID}, limit, told)
        return True

    def _fault_of_device(self, now: Moment, trouble: Trouble) -> bool:
        self.device.station.post.begin_fault(trouble.fault, for_s=trouble.for_s or None)
        return self.device.up


@contextmanager
def _seldom_collected() -> Iterator[None]:
    """A run makes millions of objects and few cycles of them: looking for those every 700 takes a tenth of its time."""
    before = gc.get_threshold()
    gc.set_threshold(GARBAGE_AFTER, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


_DISK_TROUBLES = {Kind.DISK_FULL: "full", Kind.DISK_ERROR: "failing", Kind.DISK_HANG: "hanging"}


def play(
    name: str, *, seed: int = 1, hours: float | None = None, troubles: Sequence[Trouble] = (), **more: Any
) -> Report:
    """A scenario of the library, or a file, from its start to its end."""
    return World(Options(scenario=load_scenario(name), seed=seed, hours=hours, troubles=tuple(troubles), **more)).run()


def end_of(options: Options) -> datetime:
    return (options.scenario.starts_at or DEFAULT_START) + timedelta(seconds=options.duration_s)
