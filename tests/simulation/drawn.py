"""A run drawn from a seed: a stretch of a day with cars, and troubles on every link, program and device.

A safety run has troubles to its end; a liveness run has fair weather for its last ten minutes, after which everything
must be as if nothing had happened.
"""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from emulator.device.faults import CATALOGUE, Layer
from shared.scenario.load import load_scenario
from shared.scenario.schema import EvArrives, Event, FaultBegins, Scenario
from tests.simulation.catalogue import FIELD, SIDES, UP, sides_of
from tests.simulation.weather import OF_A_DISK, OF_A_PROGRAM, Kind, Place, Trouble
from tests.simulation.world import Options

FAIR_END_S = 900.0
CALM_START_S = 30.0
LASTS_S = (5.0, 20.0, 45.0, 70.0, 180.0, 600.0)
PER_HOUR = 12
HORIZON_H = 12.0
"""What these runs try is not how far a plan looks; at the 36 h of a site a third of their time would be planning."""

LINK_KINDS = tuple(kind for kind in Kind if UP in sides_of(kind))
FIELD_KINDS = tuple(kind for kind in Kind if FIELD in sides_of(kind))
WHOLE = frozenset({Kind.CUT, Kind.HANG, Kind.HALF_OPEN, Kind.CERTIFICATE})
"""They hold for everything while they last; the others strike a message here and there."""
PROGRAM_KINDS = tuple(sorted(OF_A_PROGRAM - {Kind.DEVICE, Kind.GRID_LIMIT}))
DISK_RATIO = 0.4
"""The share of runs whose plan may trouble the disk; they keep files and take longer."""
DRIFT_RATIO = 0.05
"""A clock that gains (or loses) three seconds a minute."""
CLOCK_STEPS_S = (-3600.0, -61.0, -5.0, 5.0, 61.0, 240.0)
PEER_PLACES = (Place.AMPERIO_ENEXA, Place.TO_ENEXA, Place.TO_AMPERIO)
NOT_DRAWN = frozenset(
    {
        # Emergency stops never recover by themselves; the others make the device lie about what the rules judge by.
        "estop", "crash_sensor", "deep_drain", "meter_sign_flipped", "words_swapped", "scale_changed", "register_value",
        "setpoint_inverted", "counter_reset", "occupied", "watchdog_skewed", "bytes_swapped", "duplicate_address",
        "second_master", "error_flags_corrupted",
    }
)  # fmt: skip
DEVICE_FAULTS = tuple(
    name for name, kind in CATALOGUE.items() if kind.layer is not Layer.WIRE and name not in NOT_DRAWN
)
"""Wire faults are the socket server's to play; on this in-memory link the weather plays their like."""


def drawn(seed: int, *, hours: float = 2.0, liveness: bool = True) -> Options:
    """The run of a seed."""
    chance = random.Random(f"drawn:{seed}")
    duration_s = hours * 3600.0
    until_s = duration_s - FAIR_END_S if liveness else duration_s
    count = max(2, round(PER_HOUR * hours))
    with_disk = chance.random() < DISK_RATIO
    device: list[Event] = []
    troubles: list[Trouble] = []
    for _ in range(count):
        at_s = float(chance.randrange(int(CALM_START_S), max(int(until_s) - 5, int(CALM_START_S) + 1)))
        for_s = min(chance.choice(LASTS_S), until_s - at_s)
        roll = chance.random()
        if roll < 0.5:
            troubles.append(_on_link(chance, at_s, for_s))
        elif roll < 0.75:
            troubles.append(_of_program(chance, at_s, for_s, with_disk=with_disk))
        else:
            device.append(FaultBegins(at_s=at_s, fault=chance.choice(DEVICE_FAULTS), for_s=max(for_s, 1.0)))
    knots = [_knot(chance, until_s) for _ in range(max(1, round(hours / 2.0)))] if until_s > KNOT_S else []
    troubles += (each for knot in knots for each in knot.troubles)
    device += (each for knot in knots for each in knot.device)
    scenario = Scenario(
        name="reference_day",
        story=f"Drawn from seed {seed}.",
        seed=seed,
        starts_at=datetime(2024, 6, 15, tzinfo=UTC) + timedelta(minutes=15 * chance.randrange(96)),
        duration_s=duration_s,
        soc_start_pct=float(chance.randrange(20, 86)),
        price_eur_per_mwh=load_scenario("reference_day").price_eur_per_mwh,
        timeline=(*_cars(chance, duration_s), *device),
    )
    return Options(scenario=scenario, seed=seed, troubles=tuple(troubles), plan_scenarios=1, plan_horizon_h=HORIZON_H)


class Knot(Struct, frozen=True):
    """Troubles that have to come together, to the second, or an edge is hardly ever gone through."""

    troubles: tuple[Trouble, ...]
    device: tuple[FaultBegins, ...] = ()


def _knot(chance: random.Random, until_s: float) -> Knot:
    at_s = float(chance.randrange(int(CALM_START_S), int(until_s - KNOT_S) + 1))
    return KNOTS[chance.randrange(len(KNOTS))](at_s, chance.uniform(0.0, 4.0))


def _cut(at_s: float, for_s: float) -> Trouble:
    return Trouble(kind=Kind.CUT, place=Place.AMPERIO_ENEXA, at_s=at_s, for_s=for_s)


def _field_cut(at_s: float, for_s: float) -> Trouble:
    return Trouble(kind=Kind.CUT, place=Place.AMPERIO_CHARGEPOST, at_s=at_s, for_s=for_s)


def _lock(at_s: float, for_s: float) -> Trouble:
    return Trouble(kind=Kind.LOCK, place=Place.AMPERIO, at_s=at_s, for_s=for_s)


def _locked_again_and_again(at_s: float, late_s: float) -> Knot:
    """Right after it is unlocked, when it is safe and no more."""
    return Knot((_lock(at_s, 20.0), _lock(at_s + 21.0 + late_s / 2.0, 10.0)))


def _locked_before_an_order(at_s: float, late_s: float) -> Knot:
    """After an outage it has heard Enexa again, and the station takes no order from it yet."""
    refused = Trouble(kind=Kind.REFUSE, place=Place.AMPERIO_CHARGEPOST, at_s=at_s, for_s=200.0)
    return Knot((_cut(at_s, 100.0), refused, _lock(at_s + 175.0 + late_s, 10.0)))


def _locked_in_suspicion(at_s: float, late_s: float) -> Knot:
    return Knot((_cut(at_s, 50.0), _lock(at_s + 15.0 + late_s, 15.0)))


def _locked_alone(at_s: float, late_s: float) -> Knot:
    return Knot((_cut(at_s, 150.0), _lock(at_s + 90.0 + late_s, 20.0)))


def _locked_without_a_station(at_s: float, late_s: float) -> Knot:
    return Knot((_field_cut(at_s, 40.0), _lock(at_s + 20.0 + late_s, 20.0)))


def _station_lost_in_suspicion(at_s: float, late_s: float) -> Knot:
    return Knot((_cut(at_s, 55.0), _field_cut(at_s + 10.0 + late_s, 20.0)))


def _station_lost_alone(at_s: float, late_s: float) -> Knot:
    return Knot((_cut(at_s, 150.0), _field_cut(at_s + 80.0 + late_s, 20.0)))


def _station_lost_again(at_s: float, late_s: float) -> Knot:
    """Once more within the seconds in which a middleware that has it back is safe and has no plan yet."""
    return Knot((_cut(at_s, 90.0), _field_cut(at_s + 20.0, 20.0), _field_cut(at_s + 42.0 + late_s, 20.0)))


def _date_after_the_schedule(at_s: float, late_s: float) -> Knot:
    """The date leaves the schedule behind, and then Enexa is gone: alone and without one, or only then without."""
    ahead_s = (HORIZON_H + 1.0) * 3600.0
    step = Trouble(kind=Kind.CLOCK_STEP, place=Place.AMPERIO, at_s=at_s, for_s=240.0, amount=ahead_s)
    return Knot((step, _cut(at_s + 5.0 + late_s, 120.0)))


def _schedule_ends_alone(at_s: float, late_s: float) -> Knot:
    ahead_s = (HORIZON_H + 1.0) * 3600.0
    step = Trouble(kind=Kind.CLOCK_STEP, place=Place.AMPERIO, at_s=at_s + 90.0, for_s=60.0, amount=ahead_s)
    return Knot((_cut(at_s + late_s, 180.0), step))


def _reboot_without_a_master(at_s: float, late_s: float) -> Knot:
    kill = Trouble(kind=Kind.KILL, place=Place.AMPERIO, at_s=at_s, for_s=30.0)
    return Knot((kill,), (FaultBegins(at_s=at_s + 18.0 + late_s, fault="reboot", for_s=1.0),))


KNOT_S = 300.0
"""The longest knot, and time to get well."""
KNOTS: tuple[Callable[[float, float], Knot], ...] = (
    _locked_again_and_again,
    _locked_before_an_order,
    _locked_in_suspicion,
    _locked_alone,
    _locked_without_a_station,
    _station_lost_in_suspicion,
    _station_lost_alone,
    _station_lost_again,
    _date_after_the_schedule,
    _schedule_ends_alone,
    _reboot_without_a_master,
)


def _on_link(chance: random.Random, at_s: float, for_s: float) -> Trouble:
    if chance.random() < 0.3:
        place, kind = Place.AMPERIO_CHARGEPOST, chance.choice(FIELD_KINDS)
    else:
        place, kind = chance.choice(PEER_PLACES), chance.choice(LINK_KINDS)
    whole = kind in WHOLE
    return Trouble(
        kind=kind,
        place=place,
        at_s=at_s,
        for_s=for_s,
        chance=1.0 if whole else chance.choice((0.1, 0.5, 1.0)),
        amount=chance.choice((0.3, 2.0, 4.5, 8.0)) if kind in (Kind.DELAY, Kind.REORDER) else 0.0,
    )


def _of_program(chance: random.Random, at_s: float, for_s: float, *, with_disk: bool) -> Trouble:
    kinds = PROGRAM_KINDS if with_disk else tuple(kind for kind in PROGRAM_KINDS if kind not in OF_A_DISK)
    kind = chance.choice(kinds)
    twins = tuple(place for place in (Place.AMPERIO, Place.ENEXA) if SIDES[place][0] in sides_of(kind))
    amount = 0.0
    if kind in (Kind.KILL, Kind.POWER_CUT):
        for_s = min(chance.choice((1.0, 5.0, 30.0)), for_s)
    elif kind is Kind.CLOCK_STEP:
        amount = chance.choice(CLOCK_STEPS_S)
    elif kind is Kind.CLOCK_DRIFT:
        amount = chance.choice((-DRIFT_RATIO, DRIFT_RATIO))
    return Trouble(kind=kind, place=chance.choice(twins), at_s=at_s, for_s=for_s, amount=amount)


def _cars(chance: random.Random, duration_s: float) -> list[Event]:
    return [
        EvArrives(
            at_s=float(chance.randrange(int(duration_s))),
            capacity_kwh=float(chance.randrange(40, 110)),
            soc_start_pct=float(chance.randrange(8, 50)),
            soc_target_pct=float(chance.randrange(55, 96)),
            max_kw=float(chance.randrange(40, 260)),
            stay_s=float(chance.randrange(600, 3000)),
        )
        for _ in range(max(1, round(duration_s / 1800.0)))
    ]
