"""What may go wrong between and inside the programs: one typed, seeded plan, and what of it is in force now.

A `Trouble` is one row of the plan: a kind, a place (a link or a program), a time, a length and a strength. Kinds of a
link change messages with a probability while they last; kinds of a program act once. The plan comes from a scenario's
timeline, from a seed, or from both. Nothing here knows about twins or devices.
"""

import random
from collections.abc import Iterable, Iterator
from enum import StrEnum

from msgspec import Struct

from shared.errors import BadInput
from shared.scenario.schema import (
    GridOperatorDims,
    LinkFails,
    LinkHangs,
    LinkSlow,
    ProgramRestarts,
    Scenario,
    TroubleBegins,
)


class Kind(StrEnum):
    """Every kind of trouble that is not the device's own."""

    CUT = "cut"
    CERTIFICATE = "certificate"
    HANG = "hang"
    HALF_OPEN = "half_open"
    RESET = "reset"
    DELAY = "delay"
    REORDER = "reorder"
    DROP_REQUEST = "drop_request"
    DROP_REPLY = "drop_reply"
    DUPLICATE = "duplicate"
    TRUNCATE = "truncate"
    CORRUPT = "corrupt"
    GARBAGE = "garbage"
    REFUSE = "refuse"
    STATUS_401 = "status_401"
    STATUS_403 = "status_403"
    STATUS_429 = "status_429"
    STATUS_500 = "status_500"
    STATUS_503 = "status_503"
    KILL = "kill"
    PAUSE = "pause"
    POWER_CUT = "power_cut"
    CLOCK_STEP = "clock_step"
    CLOCK_DRIFT = "clock_drift"
    DISK_FULL = "disk_full"
    DISK_ERROR = "disk_error"
    DISK_HANG = "disk_hang"
    TOKENS_LOST = "tokens_lost"
    LOCK = "lock"
    GRID_LIMIT = "grid_limit"
    DEVICE = "device"


class Place(StrEnum):
    """Links and programs. `amperio_enexa` carries both conversations; the other two are one direction each."""

    AMPERIO_ENEXA = "amperio_enexa"
    TO_ENEXA = "to_enexa"
    TO_AMPERIO = "to_amperio"
    AMPERIO_CHARGEPOST = "amperio_chargepost"
    ENEXA = "enexa"
    AMPERIO = "amperio"
    CHARGEPOST = "chargepost"


LINKS = frozenset({Place.AMPERIO_ENEXA, Place.TO_ENEXA, Place.TO_AMPERIO, Place.AMPERIO_CHARGEPOST})
PROGRAMS = frozenset(Place) - LINKS
OF_A_DISK = frozenset({Kind.DISK_FULL, Kind.DISK_ERROR, Kind.DISK_HANG, Kind.POWER_CUT})
OF_A_PROGRAM = OF_A_DISK | {
    Kind.KILL, Kind.PAUSE, Kind.CLOCK_STEP, Kind.CLOCK_DRIFT, Kind.TOKENS_LOST, Kind.LOCK,
    Kind.GRID_LIMIT, Kind.DEVICE,
}  # fmt: skip
STATUS_OF = {
    Kind.STATUS_401: 401, Kind.STATUS_403: 403, Kind.STATUS_429: 429, Kind.STATUS_500: 500, Kind.STATUS_503: 503,
}  # fmt: skip


class Trouble(Struct, frozen=True, kw_only=True):
    """One row. `chance` is per message; `amount` is seconds of delay, seconds of a clock step, or unused."""

    kind: Kind
    place: Place
    at_s: float
    for_s: float = 0.0
    chance: float = 1.0
    amount: float = 0.0
    fault: str = ""
    """The device's own name of it, for kind `device`."""

    @property
    def until_s(self) -> float:
        return self.at_s + self.for_s

    @property
    def name(self) -> str:
        """What an expectation calls it in `of`."""
        if self.kind is Kind.DEVICE:
            return self.fault
        if self.kind in (Kind.CUT, Kind.HANG, Kind.DELAY):
            return f"link_{self.kind.value}"
        return "restart" if self.kind is Kind.KILL else self.kind.value


def troubles_of(scenario: Scenario) -> tuple[Trouble, ...]:
    """The part of a timeline that is not the device's to play."""
    return tuple(_rows(scenario))


def _rows(scenario: Scenario) -> Iterator[Trouble]:
    for event in scenario.timeline:
        if isinstance(event, LinkFails):
            yield Trouble(kind=Kind.CUT, place=place(event.link, LINKS), at_s=event.at_s, for_s=event.for_s)
        elif isinstance(event, LinkHangs):
            yield Trouble(kind=Kind.HANG, place=place(event.link, LINKS), at_s=event.at_s, for_s=event.for_s)
        elif isinstance(event, LinkSlow):
            yield Trouble(
                kind=Kind.DELAY,
                place=place(event.link, LINKS),
                at_s=event.at_s,
                for_s=event.for_s,
                amount=event.delay_s,
            )
        elif isinstance(event, ProgramRestarts):
            yield Trouble(kind=Kind.KILL, place=place(event.program, PROGRAMS), at_s=event.at_s, for_s=event.for_s)
        elif isinstance(event, GridOperatorDims):
            yield Trouble(
                kind=Kind.GRID_LIMIT, place=Place.AMPERIO, at_s=event.at_s, for_s=event.for_s, amount=event.limit_kw
            )
        elif isinstance(event, TroubleBegins):
            kind = kind_of(event.kind)
            where = place(event.place, PROGRAMS if kind in OF_A_PROGRAM else LINKS)
            yield Trouble(
                kind=kind,
                place=where,
                at_s=event.at_s,
                for_s=event.for_s,
                chance=event.chance,
                amount=event.amount,
            )


def kind_of(name: str) -> Kind:
    """BadInput where a scenario names a kind that does not exist."""
    try:
        return Kind(name)
    except ValueError:
        raise BadInput(f"there is no trouble '{name}'; choose one of {', '.join(Kind)}", given=name) from None


def place(name: str, among: frozenset[Place]) -> Place:
    """BadInput where a scenario names a link or program that does not exist."""
    if name not in among:
        raise BadInput(f"there is no '{name}'; choose one of {', '.join(sorted(among))}", given=name)
    return Place(name)


class Fate(Struct, frozen=True):
    """What becomes of one message; no kinds = nothing special."""

    kinds: frozenset[Kind] = frozenset()
    delay_s: float = 0.0


FAIR = Fate()


class Weather:
    """The troubles of one direction of one link; draws a fate for each message, from a seed of its own."""

    def __init__(self, troubles: Iterable[Trouble], places: frozenset[Place], seed: str) -> None:
        mine = (each for each in troubles if each.place in places and each.kind not in OF_A_PROGRAM)
        self._coming = sorted(mine, key=lambda each: each.at_s, reverse=True)
        self._active: list[Trouble] = []
        self._random = random.Random(seed)
        self._quiet_until_s = self._coming[-1].at_s if self._coming else float("inf")
        self.counts: dict[Kind, int] = {}
        """How many messages each kind really changed."""
        self.struck: set[Trouble] = set()
        """Rows of the plan that changed a message."""

    def fate(self, s: float) -> Fate:
        """What becomes of a message sent now."""
        if s < self._quiet_until_s:
            return FAIR
        self._advance(s)
        if not self._active:
            return FAIR
        drawn = [each for each in self._active if each.chance >= 1.0 or self._random.random() < each.chance]
        return self._fate(drawn) if drawn else FAIR

    def _advance(self, s: float) -> None:
        while self._coming and self._coming[-1].at_s <= s:
            self._active.append(self._coming.pop())
        self._active = [each for each in self._active if each.until_s > s]
        if not self._active:
            self._quiet_until_s = self._coming[-1].at_s if self._coming else float("inf")

    def _fate(self, drawn: list[Trouble]) -> Fate:
        late = (each.amount for each in drawn if each.kind in (Kind.DELAY, Kind.REORDER))
        return Fate(kinds=frozenset(each.kind for each in drawn), delay_s=max(late, default=0.0))

    def acted(self, kind: Kind) -> None:
        """A kind has changed a message: told by the link, which alone knows whether it did."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self.struck.update(each for each in self._active if each.kind is kind)
