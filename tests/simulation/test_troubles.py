"""Runs drawn from seeds: troubles on every link and program, faults of the device, and no rule ever broken."""

import pytest

from shared.scenario.load import load_scenario
from tests.simulation.campaign import FAULTS_WANTED, campaign, fault_names
from tests.simulation.catalogue import RULES, sides_of
from tests.simulation.drawn import drawn
from tests.simulation.links import CALL_TIMEOUT_S
from tests.simulation.pieces import power_cuts
from tests.simulation.report import Report
from tests.simulation.weather import Kind, Place, Trouble
from tests.simulation.world import Options, World, play

pytestmark = [pytest.mark.simulation, pytest.mark.timeout(240)]

QUICK_SEEDS = range(1, 7)
QUICK_HOURS = 0.35
SOAK_SEEDS = 1000
OUTAGE = 90


def _held(report: Report, seed: int, hours: float) -> None:
    again = f"again: World(drawn({seed}, hours={hours})).run()"
    assert report.breach_count == 0, "\n".join((again, *report.lines()))
    assert report.samples.missing == 0, again


@pytest.mark.parametrize("seed", QUICK_SEEDS)
def test_whatever_happens_no_rule_breaks_and_afterwards_all_is_well(seed: int) -> None:
    world = World(drawn(seed, hours=QUICK_HOURS))

    report = world.run()

    _held(report, seed, QUICK_HOURS)
    samples = report.samples
    # Whatever is neither stored nor waiting was rejected by name, for its wrong date; none is missing. Where
    # the answer that named it was lost, the next one already confirms its number, and no dead letter tells of it.
    unnamed = samples.kept - samples.stored - samples.still_buffered - samples.rejected
    assert 0 <= unnamed <= 5
    assert world.amperio.agent.mode.value == "online"
    assert report.samples.still_buffered <= 2


@pytest.mark.soak
@pytest.mark.timeout(36_000)
def test_a_campaign_of_many_seeds_breaks_nothing_and_covers_everything() -> None:
    tally = campaign(range(1, SOAK_SEEDS + 1), hours=2.0, liveness=False, workers=2)

    told = "\n".join(tally.lines())
    assert not tally.broken, told
    assert not tally.missing_samples, told
    assert not [rule for rule in tally.rules.values() if rule.late], told
    assert not [name for name in fault_names() if tally.faults[name] < FAULTS_WANTED], told


@pytest.mark.soak
@pytest.mark.timeout(36_000)
def test_two_hundred_seeds_played_twice_are_the_same_to_the_byte() -> None:
    first, second = (campaign(range(1, 201), hours=2.0, liveness=False, workers=2) for _ in range(2))

    assert first.hashes == second.hashes
    assert not first.broken


@pytest.mark.soak
@pytest.mark.timeout(36_000)
@pytest.mark.parametrize("seed", range(1, 21))
def test_a_day_with_power_cuts_loses_nothing_that_was_acknowledged(seed: int) -> None:
    report = World(power_cuts(seed, 24.0)).run()

    assert report.breach_count == 0, "\n".join(report.lines())
    assert report.samples.missing == 0
    assert report.troubles["power_cut"] >= 38


@pytest.mark.parametrize("offset", [0, 7])
def test_a_middleware_killed_at_any_second_loses_no_number_and_declares_what_it_did_not_sample(offset: int) -> None:
    kill = Trouble(kind=Kind.KILL, place=Place.AMPERIO, at_s=100.0 + offset, for_s=20.0)

    report = play("reference_day", hours=0.08, troubles=(kill,))

    samples = report.samples
    assert report.breach_count == 0
    assert samples.missing == 0
    assert samples.declared_gaps == 1
    assert samples.kept == samples.stored == round(0.08 * 3600) - 20
    assert samples.numbered == samples.stored + samples.declared_gaps


def test_a_lost_reply_is_neither_a_lost_nor_a_double_sample() -> None:
    lossy = Trouble(kind=Kind.DROP_REPLY, place=Place.TO_ENEXA, at_s=60.0, for_s=120.0, chance=0.3)

    report = play("reference_day", hours=0.1, troubles=(lossy,))

    assert report.troubles["drop_reply"] > 0
    assert report.samples.kept == report.samples.stored, "the next answer confirms what the lost one had stored"
    assert report.samples.missing == 0


def test_a_silent_platform_is_no_reason_to_lose_control_of_the_station() -> None:
    cut = Trouble(kind=Kind.CUT, place=Place.AMPERIO_ENEXA, at_s=100.0, for_s=OUTAGE)
    world = World(Options(scenario=load_scenario("reference_day"), hours=0.1, troubles=(cut,)))
    tripped = []

    for _ in range(world.options.duration_s):
        world.tick()
        tripped.append(world.device.station.post.watchdog.state.value == "tripped")
    world.finish()

    assert not any(tripped)


def test_a_hanging_call_ends_after_its_timeout_and_not_before() -> None:
    hang = Trouble(kind=Kind.HANG, place=Place.TO_ENEXA, at_s=50.0, for_s=3.0)

    report = play("reference_day", hours=0.05, troubles=(hang,))

    assert report.troubles["hang"] >= 1
    assert report.mode_s["suspect"] >= 1
    assert report.mode_s["suspect"] <= 2 * CALL_TIMEOUT_S + 3.0


def test_every_kind_of_fault_has_a_rule_and_a_deadline() -> None:
    ruled = {rule.kind for rule in RULES}

    assert ruled == set(Kind) - {Kind.DEVICE}, "a kind without a rule is a fault that nobody has to notice"
    assert all(0.0 < rule.within_s <= 20.0 and rule.signals and rule.must for rule in RULES)
    assert all(sides_of(kind) for kind in set(Kind) - {Kind.DEVICE})


def test_a_rule_that_does_not_fire_breaks_the_run() -> None:
    """The referee of rules is tried against a middleware that cannot tell: its disk is full, and it keeps silent."""
    full = Trouble(kind=Kind.DISK_FULL, place=Place.AMPERIO, at_s=60.0, for_s=60.0)
    world = World(Options(scenario=load_scenario("reference_day"), hours=0.04, troubles=(full,)))
    world.amperio.lane.deaf = True

    report = world.run()

    assert [breach.rule for breach in report.breaches] == ["faults_wake_their_rules"]
    assert [rule.late for rule in report.rules] == [1]


def test_an_order_is_never_dropped_while_a_fetch_of_state_hangs() -> None:
    """Enexa restarts while calls to Amperio hang: the fetch of state was in the air when a command was due."""
    world = World(drawn(23, hours=0.6))

    report = world.run()

    _held(report, 23, 0.6)
    assert report.commands["verified"] >= 30
    assert report.commands_without_end <= 1


def test_a_dispatch_that_arrives_twice_acts_once_and_has_not_failed() -> None:
    twice = Trouble(kind=Kind.DUPLICATE, place=Place.TO_AMPERIO, at_s=30.0, for_s=300.0)

    report = play("reference_day", hours=0.1, troubles=(twice,))

    assert report.troubles["duplicate"] > 0
    assert "failed" not in report.commands
    assert report.commands["verified"] == report.middleware_commands["applied"]
