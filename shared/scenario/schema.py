"""What a scenario file may say: a site, sessions and profiles, a timeline of events, and what must be true.

A scenario without `starts_at` runs on whatever date the clock shows: its sessions and profiles are given in local
times of day (Europe/Berlin) and repeat every local day. Times in the timeline count from the start of the run.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, TypeAlias

from msgspec import Meta, Struct

Seconds = Annotated[float, Meta(ge=0.0, le=366 * 86_400.0)]
Pct = Annotated[float, Meta(ge=0.0, le=100.0)]
Kw = Annotated[float, Meta(ge=0.0, le=1_000.0)]
Kwh = Annotated[float, Meta(gt=0.0, le=1_000.0)]
Name = Annotated[str, Meta(min_length=1, max_length=80)]
LocalTime = Annotated[str, Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d(:[0-5]\d)?$")]
CurvePoint: TypeAlias = tuple[Pct, Kw]


class Plain(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file: a name nobody knows is a mistake and not an extension."""


class Car(Plain, frozen=True, kw_only=True):
    """A car's wishes: it takes what its curve allows until `soc_target_pct`, and leaves after `stay_s` at the latest.

    `curve` is power against state of charge, straight lines between the points; empty means the usual taper of
    a car of `max_kw`. `patience_s` is how long it waits for a free outlet. `leaves_when_full` frees the outlet early.
    """

    capacity_kwh: Kwh
    soc_start_pct: Pct
    soc_target_pct: Pct = 80.0
    max_kw: Kw = 150.0
    stay_s: Seconds = 3600.0
    patience_s: Seconds = 1200.0
    leaves_when_full: bool = False
    outlet: Annotated[int, Meta(ge=1, le=2)] | None = None
    curve: tuple[CurvePoint, ...] = ()

    def __post_init__(self) -> None:
        if self.soc_target_pct <= self.soc_start_pct:
            raise ValueError(f"soc_target_pct {self.soc_target_pct} must lie above soc_start_pct {self.soc_start_pct}")
        if any(later[0] <= earlier[0] for earlier, later in zip(self.curve, self.curve[1:], strict=False)):
            raise ValueError("the points of a curve must rise in state of charge")

    @property
    def energy_kwh(self) -> float:
        """What the car asks for at the DC outlet."""
        return self.capacity_kwh * (self.soc_target_pct - self.soc_start_pct) / 100.0


class DailySession(Car, frozen=True, kw_only=True):
    """A car that comes at this local time on every day."""

    local_time: LocalTime


class Session(Car, frozen=True, kw_only=True):
    """A car that comes once, at an instant."""

    start_at: datetime


class DailyProfile(Plain, frozen=True, kw_only=True):
    """A curve over the local day, from 00:00 in equal steps; a step is held, or joined by lines from mid-step on."""

    step_s: Annotated[float, Meta(gt=0.0, le=86_400.0)]
    values: Annotated[tuple[float, ...], Meta(min_length=1)]
    linear: bool = False

    def at(self, second_of_day: float) -> float:
        """The value at this second of the local day; the day wraps around."""
        count = len(self.values)
        if not self.linear:
            return self.values[int(second_of_day // self.step_s) % count]
        place = second_of_day / self.step_s - 0.5
        left = int(place // 1)
        share = place - left
        return self.values[left % count] * (1.0 - share) + self.values[(left + 1) % count] * share


class EvArrives(Car, frozen=True, kw_only=True, tag_field="event", tag="ev_arrives"):
    at_s: Seconds


class EvLeaves(Plain, frozen=True, kw_only=True, tag_field="event", tag="ev_leaves"):
    """The driver pulls the plug, whatever the car does."""

    at_s: Seconds
    outlet: Annotated[int, Meta(ge=1, le=2)]


class FaultBegins(Plain, frozen=True, kw_only=True, tag_field="event", tag="fault"):
    """A fault of the emulator's catalogue (`chargepost faults` prints it); without `for_s` it stays until cleared."""

    at_s: Seconds
    fault: Name
    for_s: Seconds | None = None
    options: Mapping[str, float] = {}


class FaultEnds(Plain, frozen=True, kw_only=True, tag_field="event", tag="fault_cleared"):
    at_s: Seconds
    fault: Name


class AmbientChanges(Plain, frozen=True, kw_only=True, tag_field="event", tag="ambient"):
    at_s: Seconds
    ambient_c: Annotated[float, Meta(ge=-40.0, le=60.0)]


class LinkFails(Plain, frozen=True, kw_only=True, tag_field="event", tag="link_cut"):
    """Played by the relay between two programs, not by the device."""

    at_s: Seconds
    link: Name
    for_s: Seconds


class LinkHangs(Plain, frozen=True, kw_only=True, tag_field="event", tag="link_hang"):
    at_s: Seconds
    link: Name
    for_s: Seconds


class LinkSlow(Plain, frozen=True, kw_only=True, tag_field="event", tag="link_delay"):
    at_s: Seconds
    link: Name
    for_s: Seconds
    delay_s: Annotated[float, Meta(gt=0.0, le=60.0)]


class ProgramRestarts(Plain, frozen=True, kw_only=True, tag_field="event", tag="restart"):
    """One of the three programs is killed and started again after `for_s`."""

    at_s: Seconds
    program: Name
    for_s: Seconds = 0.0


class TroubleBegins(Plain, frozen=True, kw_only=True, tag_field="event", tag="trouble"):
    """Whatever else befalls a link or a program: a kind of the fault plan, at a place, with its strength.

    `chance` is per message; `amount` is seconds of delay, seconds of a clock step, or a drift. Played where both twins
    run on one clock (`make sim`).
    """

    at_s: Seconds
    kind: Name
    place: Name
    for_s: Seconds = 0.0
    chance: Annotated[float, Meta(gt=0.0, le=1.0)] = 1.0
    amount: Annotated[float, Meta(ge=-366 * 86_400.0, le=366 * 86_400.0)] = 0.0


class GridOperatorDims(Plain, frozen=True, kw_only=True, tag_field="event", tag="grid_limit"):
    """The grid operator caps the import (section 14a) for a while; it is told to the middleware."""

    at_s: Seconds
    limit_kw: Kw
    for_s: Seconds


Event: TypeAlias = (
    EvArrives
    | EvLeaves
    | FaultBegins
    | FaultEnds
    | AmbientChanges
    | LinkFails
    | LinkHangs
    | LinkSlow
    | ProgramRestarts
    | TroubleBegins
    | GridOperatorDims
)


class Expectation(Plain, frozen=True, kw_only=True):
    """Something that must be true of a run, judged by the same code wherever the scenario is played."""

    that: Name
    never_above: float | None = None
    never_below: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    equals: float | str | bool | None = None
    within_s: Seconds | None = None
    of: Name | None = None


class DrawnFaults(Plain, frozen=True, kw_only=True):
    """Faults by chance, the same for the same seed: how often, for how long on average, and which."""

    per_hour: Annotated[float, Meta(gt=0.0, le=3_600.0)]
    mean_s: Annotated[float, Meta(gt=0.0, le=86_400.0)] = 60.0
    faults: Annotated[tuple[Name, ...], Meta(min_length=1)]


class ProfileFiles(Plain, frozen=True, kw_only=True):
    """Names of CSV files beside the scenario or in the library: `step_s` in the name's columns, see `load.py`."""

    price: Name | None = None
    pv: Name | None = None


class Chapter(Plain, frozen=True, kw_only=True):
    """A part of a story that is told while it plays; with `local_time` every clock leaps ahead to it as it begins."""

    at_s: Seconds
    title: Name
    caption: str
    local_time: LocalTime | None = None


class Scenario(Plain, frozen=True, kw_only=True):
    """One story. `price_eur_per_mwh` and `pv_ratio` (of the peak power) may stand inline or in profile files."""

    name: Name
    story: str
    seed: int = 1
    station: Name = "chargepost"
    starts_at: datetime | None = None
    duration_s: Seconds = 86_400.0
    timezone: Name = "Europe/Berlin"
    ambient_c: float = 20.0
    soc_start_pct: Pct | None = None
    site: Mapping[str, Mapping[str, float | bool | str]] = {}
    profiles: ProfileFiles = ProfileFiles()
    price_eur_per_mwh: DailyProfile | None = None
    pv_ratio: DailyProfile | None = None
    sessions: tuple[DailySession, ...] = ()
    dated_sessions: tuple[Session, ...] = ()
    timeline: tuple[Event, ...] = ()
    chapters: tuple[Chapter, ...] = ()
    speed: Annotated[float, Meta(gt=0.0, le=3_600.0)] | None = None
    """Clock seconds per real second that suit an audience; a demo may say another."""
    drawn_faults: DrawnFaults | None = None
    expect: tuple[Expectation, ...] = ()
