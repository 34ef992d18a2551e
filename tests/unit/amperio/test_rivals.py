"""Another master on the same registers is noticed, told, opposed three times at most, and then left alone (C14)."""

from collections.abc import Callable
from itertools import pairwise

import pytest

from services.amperio.site.rivals import ASSERT_EVERY_S, ASSERTIONS_MAX, YIELD_S
from shared.chargepost.layout import RegisterWrite
from shared.chargepost.registers import MANAGEMENT
from shared.chargepost.states import GridMode
from shared.contract.events import Event, EventKind, Severity
from tests.unit.amperio.bench import Bench

Write = Callable[[], RegisterWrite]
RIVAL = 7.0


def request() -> RegisterWrite:
    return MANAGEMENT.write(request_kw=RIVAL)


def intrusions(bench: Bench) -> list[Event]:
    return [event for event in bench.events if event.kind is EventKind.FOREIGN_WRITE]


def fight(bench: Bench, seconds: int, write: Write) -> list[int]:
    """A rival writes every second; the seconds in which we wrote the same register."""
    ours = []
    for second in range(seconds):
        assert bench.rig.write(write()) == 0
        before = len(bench.written(*write().names))
        bench.seconds(1)
        if len(bench.written(*write().names)) > before:
            ours.append(second)
    return ours


@pytest.mark.parametrize(
    ("write", "register"),
    [
        (request, "management.request_kw"),
        (lambda: MANAGEMENT.write(grid_mode=GridMode.MANUAL), "management.grid_mode"),
        (lambda: MANAGEMENT.write(clearance_kw=20.0), "management.clearance_kw"),
    ],
)
def test_goal_c14_what_somebody_else_wrote_is_told_within_ten_seconds_and_asserted_again(
    write: Write, register: str
) -> None:
    bench = Bench().online(-30.0, -30.0).seconds(20)
    bench.rig.write(write())
    bench.seconds(10)

    (told,) = intrusions(bench)
    assert (told.facts["register"], told.facts["yielded"]) == (register, False)
    management = bench.rig.read(MANAGEMENT)
    assert (management.clearance_kw, management.grid_mode) == (83.5, GridMode.AUTOMATIC)
    assert management.request_kw == pytest.approx(30.0, abs=2.0)


def test_goal_c14_a_fight_over_a_setpoint_ends_after_three_rounds_and_is_slow() -> None:
    bench = Bench().online(-30.0, -30.0).seconds(20)

    ours = fight(bench, 120, request)

    assert len(ours) == ASSERTIONS_MAX
    assert all(later - earlier >= ASSERT_EVERY_S for earlier, later in pairwise(ours))
    assert intrusions(bench)[-1].severity is Severity.CRITICAL
    assert bench.agent.rivals.yields(bench.now)
    assert bench.rig.read(MANAGEMENT).request_kw == RIVAL


def test_goal_c14_after_five_quiet_minutes_the_setpoint_is_ours_again() -> None:
    bench = Bench().online(-30.0, -30.0).seconds(20)
    fight(bench, 60, request)

    bench.seconds(int(YIELD_S) + 5)

    assert not bench.agent.rivals.present(bench.now)
    assert bench.rig.read(MANAGEMENT).request_kw == pytest.approx(30.0, abs=2.0)


def test_goal_c14_a_limit_never_yields_and_is_not_fought_over_faster_than_every_five_seconds() -> None:
    bench = Bench().online(-30.0, -30.0).seconds(20)

    ours = fight(bench, 60, lambda: MANAGEMENT.write(clearance_kw=87.0))

    assert 8 <= len(ours) <= 12
    bench.seconds(7)
    assert bench.rig.read(MANAGEMENT).clearance_kw == 83.5


def test_a_command_that_is_left_to_somebody_else_is_not_called_applied() -> None:
    bench = Bench().online(-30.0, -30.0).seconds(20)
    fight(bench, 60, request)

    ack = bench.send(bench.battery(-50.0))
    bench.seconds(20)

    assert ack.applied_kw is None
    assert bench.record(ack.command_id).status == "failed"


@pytest.mark.parametrize("fault", ["reboot", "control_lost_silently", "torn_32_bit"])
def test_what_the_station_does_itself_is_nobody_elses_doing(fault: str) -> None:
    bench = Bench().online(-30.0, -30.0).seconds(20)
    bench.rig.plug(max_kw=120.0)
    if fault == "reboot":
        bench.rig.post.reboot()
    else:
        bench.rig.post.begin_fault(fault)
    bench.seconds(120)

    assert not intrusions(bench)


def test_our_own_commands_are_nobody_elses_doing() -> None:
    bench = Bench().online(-30.0, -30.0)
    bench.rig.plug(max_kw=120.0)
    for power_kw in (10.0, -10.0, 55.5, 0.0):
        bench.seconds(20)
        bench.send(bench.battery(power_kw))
    bench.seconds(20)

    assert not intrusions(bench)
