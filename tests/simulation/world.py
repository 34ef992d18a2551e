"""One clock, three programs, two wires: a run of a scenario under a plan of troubles, second by second.

In each second, in this order: what is under way and due is delivered; troubles of programs happen; the station lives
its second; Amperio looks, decides and acts; Enexa decides and acts; the referee checks every invariant. Nothing reads
a real clock or draws from anything but the seed, so two runs of one seed are equal to the byte on both wires.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from services.enexa.pricing import PriceSource
from shared.clock import ManualClock
from shared.contract.config import SiteConfig
from shared.moment import Moment
from shared.scenario.load import load_scenario
from shared.scenario.schema import Scenario
from tests.simulation.amperio_side import AmperioSide, Disk
from tests.simulation.device_side import DeviceSide
from tests.simulation.enexa_side import Archive, EnexaSide, seed_config
from tests.simulation.expectations import Judge
from tests.simulation.invariants import Referee
from tests.simulation.journal import Journal
from tests.simulation.links import DeviceLink, Line, Post
from tests.simulation.report import Report, report_of
from tests.simulation.weather import Kind, Place, Trouble, Weather, troubles_of
from tests.simulation.wires import Channel, Recorder

SITE_ID = "SITE001"
DEFAULT_START = datetime(2024, 6, 15, 4, 0, tzinfo=UTC)
"""A summer Saturday, 06:00 in Stuttgart: the reference day's own morning."""
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
        self.post = Post()
        self.recorder = Recorder(wire_file)
        self.journal = Journal(log_file)
        self.judge = Judge(scenario.expect)
        self.troubles = tuple(sorted((*troubles_of(scenario), *options.troubles), key=lambda each: each.at_s))
        self.device = DeviceSide(scenario, now, self.journal, seed=seed)
        self.config = self._config(now.at)
        self.prices = PriceSource(file=Path(options.price_file) if options.price_file else None, scenario=scenario.name)
        self.enexa = EnexaSide(Archive(self.config), self.prices, self.post, self.journal, seed=seed)
        self.link = DeviceLink(self._weather(Place.AMPERIO_CHARGEPOST), self.recorder, self.device)
        self.amperio = AmperioSide(SITE_ID, Disk(), self.link, self.journal, seed=seed)
        self.to_enexa = Line(
            self._weather(Place.TO_ENEXA, Place.AMPERIO_ENEXA),
            self.recorder,
            self.post,
            (Channel.TO_ENEXA_REQUEST, Channel.TO_ENEXA_REPLY),
            self.enexa.handle,
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
        self.played_count = 0
        self.amperio_since_s = 0.0
        self.enexa.start(now)
        self.amperio.start(now)

    def _config(self, at: datetime) -> SiteConfig:
        config = seed_config(self.options.scenario.station, SITE_ID, self.options.scenario, at)
        planner = replace(config.planner, scenarios=self.options.plan_scenarios)
        return replace(config, planner=planner)

    def _weather(self, *places: Place) -> Weather:
        name = ",".join(places)
        return Weather(self.troubles, frozenset(places), f"{self.options.seed}:{name}")

    # ---- running ----------------------------------------------------------------------------------------------------

    def run(self) -> Report:
        """Play the whole scenario."""
        for _ in range(self.options.duration_s):
            self.tick()
        return self.finish()

    def tick(self) -> None:
        """One second."""
        now = self.clock.advance(1.0)
        self.post.deliver(now)
        if self.played_count < len(self.troubles):
            self._play_troubles(now)
        self.device.step(now)
        if self.amperio.up:
            self.amperio.step(now)
        if self.enexa.up:
            self.enexa.step(now)
        self.referee.check(now)

    def price_eur_per_mwh(self, now: Moment) -> float:
        """The price of the quarter hour that ends now or later."""
        return self.prices.published(now.at).price_at(now.at - timedelta(seconds=1)) or 0.0

    def finish(self) -> Report:
        self.recorder.close()
        self.journal.close()
        return report_of(self)

    # ---- troubles ---------------------------------------------------------------------------------------------------

    def _play_troubles(self, now: Moment) -> None:
        while self.played_count < len(self.troubles) and self.troubles[self.played_count].at_s <= now.s:
            trouble = self.troubles[self.played_count]
            self.played_count += 1
            self.judge.happened(now.s, trouble.name)
            self.journal.note(
                now, "weather", trouble.kind.value, place=trouble.place.value, for_s=trouble.for_s, fault=trouble.fault
            )
            if trouble.kind is Kind.KILL:
                self._kill(now, trouble)
            elif trouble.kind is Kind.DEVICE:
                self.device.station.post.begin_fault(trouble.fault, for_s=trouble.for_s or None)

    def _kill(self, now: Any, trouble: Trouble) -> None:
        victim: Any = {"enexa": self.enexa, "amperio": self.amperio, "chargepost": self.device}[trouble.place.value]
        if not victim.up:
            return
        victim.kill(now)
        if victim is self.enexa:
            self._dies(host=self.to_enexa, caller=self.to_amperio)
        elif victim is self.amperio:
            self._dies(host=self.to_amperio, caller=self.to_enexa)

        def back(at: Moment) -> None:
            victim.start(at)
            if victim is self.enexa:
                self.to_enexa.host_up = True
            elif victim is self.amperio:
                self.to_amperio.host_up = True
                self.amperio_since_s = at.s

        self.post.later(now.s + max(trouble.for_s, 1.0), back)

    def _dies(self, *, host: Line, caller: Line) -> None:
        host.host_up = False
        host.host_life += 1
        caller.caller_life += 1


def play(
    name: str, *, seed: int = 1, hours: float | None = None, troubles: Sequence[Trouble] = (), **more: Any
) -> Report:
    """A scenario of the library, or a file, from its start to its end."""
    return World(Options(scenario=load_scenario(name), seed=seed, hours=hours, troubles=tuple(troubles), **more)).run()


def end_of(options: Options) -> datetime:
    return (options.scenario.starts_at or DEFAULT_START) + timedelta(seconds=options.duration_s)
