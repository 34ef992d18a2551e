"""Every kind of fault in one table: where it acts, which rule must fire, and by when.

A rule fires when one of its signals is seen. Signals are what the programs and the station show: states of the second
(`amperio.not_online`) and things that just happened (`enexa.token_granted`); `watch.py` collects them. `after_s` says
how long a fault has to last before its rule applies. A kind without a row of its own is a gap, and a test finds it.
Faults of the station itself are the emulator's catalogue; what must hold under them are the invariants.
"""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from tests.simulation.weather import Kind, Place

UP, DOWN, FIELD = "to Enexa", "to Amperio", "field"
SIDES: Mapping[Place, tuple[str, ...]] = {
    Place.AMPERIO_ENEXA: (UP, DOWN),
    Place.TO_ENEXA: (UP,),
    Place.TO_AMPERIO: (DOWN,),
    Place.AMPERIO_CHARGEPOST: (FIELD,),
    Place.ENEXA: ("Enexa",),
    Place.AMPERIO: ("Amperio",),
    Place.CHARGEPOST: ("ChargePost",),
}
ACTOR = {UP: Place.AMPERIO, DOWN: Place.ENEXA, FIELD: Place.AMPERIO, "Amperio": Place.AMPERIO, "Enexa": Place.ENEXA}
"""Whose rule it is; while that program is down or paused nobody can ask anything of it."""

CALL_S = 7.0
"""A call's timeout of 5 s, and two cycles to act on it."""
TRIPPED_S = 13.0
"""The watchdog's 10 s, the last beat before it, and two cycles."""


class Rule(Struct, frozen=True, kw_only=True):
    """What must be seen after a fault has acted."""

    kind: str
    side: str
    must: str
    signals: frozenset[str]
    within_s: float
    after_s: float = 0.0
    """Shorter faults need not show it."""
    plus_length: bool = False
    """`within_s` counts from the end of the fault."""

    @property
    def name(self) -> str:
        return f"{self.kind} {self.side}"


def _rule(
    kind: str,
    side: str,
    must: str,
    signals: Iterable[str],
    within_s: float,
    *,
    after_s: float = 0.0,
    ends: bool = False,
) -> Rule:
    return Rule(
        kind=kind,
        side=side,
        must=must,
        signals=frozenset(signals),
        within_s=within_s,
        after_s=after_s,
        plus_length=ends,
    )


LOST = (
    Kind.CUT, Kind.CERTIFICATE, Kind.HANG, Kind.HALF_OPEN, Kind.RESET, Kind.DROP_REQUEST, Kind.DROP_REPLY,
    Kind.TRUNCATE, Kind.CORRUPT, Kind.GARBAGE, Kind.STATUS_403, Kind.STATUS_429, Kind.STATUS_500, Kind.STATUS_503,
)  # fmt: skip
LATE = (Kind.DELAY, Kind.REORDER, Kind.DUPLICATE)
FIELD_LOST = (
    Kind.CUT, Kind.HANG, Kind.HALF_OPEN, Kind.RESET, Kind.DROP_REQUEST, Kind.DROP_REPLY, Kind.DELAY, Kind.REORDER,
    Kind.TRUNCATE, Kind.CORRUPT, Kind.GARBAGE,
)  # fmt: skip
SUSPECTS = ("amperio.not_online", "amperio.mode_changed")
DOUBTS = ("amperio.doubts", "amperio.link_down", "amperio.not_online", "amperio.mode_changed")
OUT_OF_CONTROL = ("amperio.control_lost", "station.own_control", "amperio.link_down", "amperio.not_online")

LINK_RULES: tuple[Rule, ...] = (
    _rule(
        Kind.REFUSE, FIELD, "Amperio writes it down as refused, and its cycle goes on", ("amperio.cycled",), 2.0
    ),
    *(_rule(kind, UP, "Amperio counts a failed exchange and is suspicious", SUSPECTS, CALL_S) for kind in LOST),
    _rule(
        Kind.STATUS_401, UP, "Amperio asks for one new token, else it is suspicious",
        (*SUSPECTS, "enexa.token_granted"), CALL_S,
    ),
    *(_rule(kind, UP, "the call ends in time, and stores once", ("to_enexa.ended",), CALL_S) for kind in LATE),
    *(
        _rule(kind, DOWN, "Enexa hears of it, and asks or repeats", ("enexa.call_failed", "enexa.call_refused"), CALL_S)
        for kind in (*LOST, Kind.STATUS_401)
    ),
    *(_rule(kind, DOWN, "the call ends in time, and acts once", ("to_amperio.ended",), CALL_S) for kind in LATE),
    *(
        _rule(kind, FIELD, "Amperio believes no byte and reconnects", ("amperio.connection_dropped",), 3.0)
        for kind in FIELD_LOST
    ),
)  # fmt: skip

PROGRAM_RULES: tuple[Rule, ...] = (
    _rule(Kind.KILL, "Amperio", "it starts again where its disk stands", ("amperio.started",), 3.0, ends=True),
    _rule(Kind.KILL, "Amperio", "the station takes control back", ("station.own_control",), TRIPPED_S, after_s=14.0),
    _rule(Kind.KILL, "Enexa", "it starts again where its store stands", ("enexa.started",), 3.0, ends=True),
    _rule(Kind.KILL, "ChargePost", "it starts again with its counters", ("station.started",), 3.0, ends=True),
    _rule(Kind.PAUSE, "Amperio", "its cycle goes on", ("amperio.cycled",), 3.0, ends=True),
    _rule(Kind.PAUSE, "Amperio", "the station takes control back", ("station.own_control",), TRIPPED_S, after_s=14.0),
    _rule(Kind.PAUSE, "Enexa", "Amperio counts failed exchanges", SUSPECTS, CALL_S, after_s=8.0),
    _rule(Kind.POWER_CUT, "Amperio", "it starts again on what was synced", ("amperio.started",), 3.0, ends=True),
    _rule(Kind.CLOCK_STEP, "Amperio", "its cycle goes on, whatever the date", ("amperio.cycled",), 2.0),
    _rule(Kind.CLOCK_STEP, "Enexa", "it goes on, whatever the date", ("enexa.stepped",), 2.0),
    _rule(Kind.CLOCK_DRIFT, "Amperio", "its cycle goes on, whatever the date", ("amperio.cycled",), 2.0),
    _rule(Kind.CLOCK_DRIFT, "Enexa", "it goes on, whatever the date", ("enexa.stepped",), 2.0),
    _rule(Kind.DISK_FULL, "Amperio", "it tells that it cannot store", ("amperio.store_failing",), 3.0, after_s=3.0),
    _rule(Kind.DISK_ERROR, "Amperio", "it tells that it cannot store", ("amperio.store_failing",), 3.0, after_s=3.0),
    _rule(Kind.DISK_HANG, "Amperio", "the station takes control back", ("station.own_control",), 16.0, after_s=16.0),
    _rule(Kind.LOCK, "Amperio", "the station takes control back", ("station.own_control",), TRIPPED_S, after_s=14.0),
    _rule(Kind.GRID_LIMIT, "Amperio", "the station imports no more than that", ("station.within_limit",), 4.0),
    _rule(Kind.TOKENS_LOST, "Enexa", "Amperio asks for a new token", ("enexa.token_granted",), 5.0),
)  # fmt: skip

RULES: tuple[Rule, ...] = (*LINK_RULES, *PROGRAM_RULES)


def rules_for(kind: str, side: str) -> tuple[Rule, ...]:
    """What must be seen after this kind has acted on this side."""
    return _BY_NAME.get((kind, side), ())


def sides_of(kind: Kind) -> frozenset[str]:
    """Where a kind may act."""
    return frozenset(rule.side for rule in RULES if rule.kind == kind)


_BY_NAME: dict[tuple[str, str], tuple[Rule, ...]] = {}
for _each in RULES:
    _BY_NAME[_each.kind, _each.side] = (*_BY_NAME.get((_each.kind, _each.side), ()), _each)
