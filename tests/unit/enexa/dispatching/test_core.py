"""A whole site on a manual clock: what is sent, when, and what an outage does to it."""

from datetime import timedelta
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from services.enexa.dispatching.core import SiteCore, Step
from services.enexa.dispatching.ledger import FINAL
from services.enexa.dispatching.triggers import Trigger
from shared.contract.config import Buffering
from shared.contract.dispatch import CommandBase, CommandStatus, SetBatteryPower, SetGridLimit, SetSocWindow
from shared.contract.reads import CommandRecord, SiteState
from shared.contract.schedule import Zone
from shared.contract.telemetry import Mode
from shared.moment import Moment
from tests.unit.enexa.dispatching.scene import CONFIG, NOW, START, ack, config, sample, schedule

CHARGING: dict[str, Any] = {"setpoint_kw": -40.0, "soc_target_pct": 60.1, "zone": Zone.CHEAP, "reason": "cheap_slot"}
S = CommandStatus


class World:
    """A site whose middleware answers at once, or not at all."""

    def __init__(self) -> None:
        self.core = SiteCore(CONFIG, epoch=7)
        self.now = NOW
        self.up = True
        self.sent: list[tuple[float, CommandBase]] = []
        self.asked: list[float] = []
        self.records: dict[str, CommandRecord] = {}
        self.known: set[str] = set()
        self.in_force: CommandBase | None = None
        self.plans = 0
        self.soc_pct = 60.0
        self.ev_kw = 0.0
        self.plan_of = CHARGING

    @property
    def second(self) -> float:
        return self.now.s - NOW.s

    def run(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now = self.now.later(1.0)
            self._second()

    def _second(self) -> None:
        power = self.in_force.params.power_kw if isinstance(self.in_force, SetBatteryPower) else None
        active = self.in_force.command_id if self.in_force else None
        self.core.on_sample(
            self.now,
            sample(
                self.now.at,
                soc_pct=self.soc_pct,
                battery_kw=power or 0.0,
                applied_kw=power,
                active=active,
                ev_kw=self.ev_kw,
            ),
        )
        step = self.core.step(self.now)
        self.records.update({each.command_id: each for each in step.changed})
        if step.replan is not None:
            self._plan()
        self._carry_out(step)

    def _plan(self) -> None:
        self.plans += 1
        self.core.triggers.planning(self.now)
        self.core.on_schedule(self.now, schedule(version=self.plans, **self.plan_of))

    def _carry_out(self, step: Step) -> None:
        if step.fetch_state and self.up:
            self.core.on_state(self.now, self._state())
        if step.orders.ask is not None:
            self.asked.append(self.second)
            self._answer_asking(step.orders.ask)
        command = step.orders.send
        if command is None:
            return
        self.sent.append((self.second, command))
        if not self.up:
            self.core.on_send_failed(self.now, command.command_id or "")
            return
        self.known.add(command.command_id or "")
        if isinstance(command, SetBatteryPower):
            self.in_force = command
            self.core.on_ack(self.now, ack(command, applied_kw=command.params.power_kw))
        else:
            self.core.on_ack(self.now, ack(command))

    def _answer_asking(self, command_id: str) -> None:
        if not self.up:
            self.core.on_ask_failed(self.now, command_id)
            return
        assert command_id not in self.known
        self.core.on_told(self.now, command_id, None)

    def _state(self) -> SiteState:
        return SiteState(
            site_id="SITE001",
            mode=Mode.ONLINE,
            telemetry=sample(self.now.at + timedelta(milliseconds=1), soc_pct=self.soc_pct),
            image_age_s=0.0,
            watchdog_s=10.0,
            buffer=Buffering(),
        )

    def setpoints(self) -> list[tuple[float, float]]:
        return [(at, each.params.power_kw) for at, each in self.sent if isinstance(each, SetBatteryPower)]


def test_limits_go_first_then_the_setpoint_and_it_is_verified() -> None:
    world = World()
    world.run(12)

    kinds = [type(each) for _, each in world.sent]
    assert kinds == [SetGridLimit, SetSocWindow, SetBatteryPower]
    assert {each.status for each in world.records.values()} == {S.VERIFIED}


def test_a_setpoint_is_refreshed_before_it_expires_and_not_sent_otherwise() -> None:
    world = World()
    world.run(600)

    times = [at for at, _ in world.setpoints()]
    assert 9 <= len(times) <= 12
    assert max(later - earlier for earlier, later in pairwise(times)) <= 62
    assert {each.status for each in world.records.values() if each.requested_kw is not None} <= {S.VERIFIED, S.APPLIED}


def test_setpoints_keep_their_distance_however_wild_the_car_is() -> None:
    world = World()
    for second in range(300):
        world.ev_kw = 150.0 if second % 2 else 0.0
        world.run(1)

    times = [at for at, _ in world.setpoints()]
    assert min(later - earlier for earlier, later in pairwise(times)) >= 5


def test_every_command_carries_the_epoch_and_a_growing_number() -> None:
    world = World()
    world.run(300)

    numbers = [(each.epoch, each.seq) for _, each in world.sent]
    assert numbers == sorted(set(numbers), key=lambda pair: pair[1] or 0)
    assert {epoch for epoch, _ in numbers} == {7}


def test_a_setpoint_is_valid_for_ninety_seconds_from_when_it_left() -> None:
    world = World()
    world.run(100)

    for at, each in world.sent:
        assert (each.timestamp - START).total_seconds() == at
        if isinstance(each, SetBatteryPower):
            assert each.valid_until == each.timestamp + timedelta(seconds=90)


def test_after_an_outage_one_setpoint_computed_afterwards_is_sent_and_limits_are_delivered_in_order() -> None:
    world = World()
    world.run(30)
    world.up, outage_began = False, world.second
    for version in range(2, 7):
        world.core.on_config(config(version=version, grid=CONFIG.grid.__class__(import_limit_kw=80.0 - version)))
        world.ev_kw = 20.0 * version
        world.run(120)
    world.up, outage_ended = True, world.second
    world.ev_kw = 0.0
    world.run(90)

    after = [each for at, each in world.sent if at > outage_ended]
    limits = [each.params.import_kw for each in after if isinstance(each, SetGridLimit)]
    first_setpoint = next(each for each in after if isinstance(each, SetBatteryPower))
    assert limits == [78.0, 77.0, 76.0, 75.0, 74.0]
    assert first_setpoint.timestamp >= START + timedelta(seconds=outage_ended)
    setpoints_of_outage = [
        each
        for each in world.records.values()
        if each.requested_kw is not None and outage_began < (each.planned_at - START).total_seconds() <= outage_ended
    ]
    assert {each.status for each in setpoints_of_outage} <= {S.SUPERSEDED, S.EXPIRED}


def test_attempts_back_off_1_2_4_to_60_seconds() -> None:
    world = World()
    world.run(5)
    world.up = False
    world.core.on_config(config(version=2, grid=CONFIG.grid.__class__(import_limit_kw=70.0)))
    world.run(400)

    attempts = [at for at, _ in world.sent if at > 5.0] + world.asked
    waits = [later - earlier for earlier, later in pairwise(sorted(attempts))]
    assert waits[:8] == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]


def test_the_four_steps_run_in_order_and_nothing_is_sent_before_the_new_plan() -> None:
    world = World()
    world.run(30)
    world.up = False
    world.run(120)
    plans = world.plans
    world.up, back = True, world.second
    while world.core.reconciliation is None:
        world.run(1)
    world.run(30)

    running = world.core.reconciliation
    steps = running.view.steps
    assert [each.state for each in steps] == ["done", "done", "done", "running"]
    assert [each.at for each in steps] == sorted(each.at for each in steps if each.at is not None)
    assert world.plans > plans
    planned_at = steps[1].at
    assert planned_at is not None
    assert all(each.timestamp >= planned_at for at, each in world.sent if at > back)
    assert running.view.actual_soc_pct == 60.0
    assert running.view.commands_verified


def test_a_second_outage_interrupts_the_procedure_and_the_next_reconnection_begins_anew() -> None:
    world = World()
    world.run(30)
    for _ in range(2):
        world.up = False
        world.run(60)
        world.up = True
        world.run(90)

    assert world.core.reconciliation is not None
    assert world.core.reconciliation.view.record_id.endswith("r2")


def test_history_never_becomes_now() -> None:
    world = World()
    world.run(10)
    latest = world.core.latest

    assert not world.core.on_sample(world.now, sample(START - timedelta(hours=1)))
    assert world.core.latest is latest


def test_a_plan_is_wanted_at_start_and_at_every_slot() -> None:
    core = SiteCore(CONFIG, epoch=1)
    core.on_sample(NOW, sample())
    assert core.step(NOW).replan is Trigger.START
    core.triggers.planning(NOW)
    core.on_schedule(NOW, schedule(soc_target_pct=60.0))
    assert core.step(NOW).replan is None

    later = Moment(NOW.s + 900.0, START + timedelta(minutes=15))
    assert core.step(later).replan is Trigger.SLOT_ROLL


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 90), st.sampled_from([0.0, 40.0, 120.0])), max_size=8))
def test_whatever_the_link_does_every_command_ends_once_and_no_setpoint_is_sent_late(
    story: list[tuple[bool, int, float]],
) -> None:
    world = World()
    for up, seconds, ev_kw in story:
        world.up, world.ev_kw = up, ev_kw
        world.run(seconds)
    world.up = True
    world.run(200)

    for at, each in world.sent:
        assert (each.timestamp - START).total_seconds() == at
    newest = world.setpoints()[-1][0]
    for record in world.records.values():
        endings = [change for change in record.history if change.status in FINAL]
        assert len(endings) <= 1
        old = (record.planned_at - START).total_seconds() < newest - 60
        assert endings or not old, record


def test_telemetry_that_was_missing_for_a_minute_is_reconciled_when_it_is_back() -> None:
    world = World()
    world.run(30)
    plans = world.plans
    world.now = world.now.later(90.0)
    world.run(30)

    running = world.core.reconciliation
    assert running is not None
    assert (running.view.cause, running.view.outage_s) == ("telemetry is back", 91.0)
    assert world.plans > plans
    assert [each.state for each in running.view.steps[:3]] == ["done", "done", "done"]
