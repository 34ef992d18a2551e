"""Coming back after an outage: four steps in order, interrupted at any of them, and a record of each run."""

from typing import Any

import msgspec
import pytest

from services.enexa.dispatching.core import SiteCore, Step
from services.enexa.dispatching.reconcile import ORDER, Metrics, ReconcileView, StepName, StepState, ended_by_restart
from shared.contract.dispatch import CommandBase, SetBatteryPower
from tests.unit.enexa.dispatching.scene import CONFIG
from tests.unit.enexa.dispatching.test_core import World

RECONNECTIONS_PER_STEP = 50


class Reconnecting(World):
    """A site whose procedure can be held at a step, and whose platform can be killed."""

    def __init__(self) -> None:
        super().__init__()
        self.held: StepName | None = None
        self.views: dict[str, ReconcileView] = {}
        self.trace: list[tuple[str, Any]] = []
        self.epoch = 7

    @property
    def running(self) -> StepName | None:
        known = self.core.reconciliation
        return known.step if known is not None else None

    def _second(self) -> None:
        if self.second % 5 == 0:
            self.core.on_link(self.now, up=self.up)
        super()._second()
        self._remember()

    def _plan(self) -> None:
        if self.held is not StepName.REPLAN:
            super()._plan()
            self.trace.append(("planned", self.now.at))

    def _carry_out(self, step: Step) -> None:
        if step.fetch_state and self.up and self.held is not StepName.STATE_SYNC:
            self.trace.append(("state", self.now.at))
        if self.held is StepName.STATE_SYNC:
            step = msgspec.structs.replace(step, fetch_state=False)
        sent = len(self.sent)
        super()._carry_out(step)
        self.trace += [("sent", each) for _, each in self.sent[sent:]]
        if self.held is StepName.REDISPATCH:
            self.in_force = None

    def _remember(self) -> None:
        if self.core.reconciliation is not None:
            view = self.core.reconciliation.view
            self.views[view.record_id] = view

    def reach(self, wanted: StepName) -> None:
        """Come back from an outage and stop at a step."""
        self.up = False
        self.run(65)
        self.held, self.up = wanted, True
        self.trace.clear()
        for _ in range(200):
            self.run(1)
            known = self.core.reconciliation
            if known is not None and self.running is wanted and known.view.cause != "the platform was restarted":
                return
        raise AssertionError(f"{wanted} was not reached: {self.running}")

    def kill(self) -> None:
        """The platform dies and starts on what it had stored, as `platform.py` does."""
        for key, view in self.views.items():
            if view.finished_at is None:
                self.views[key] = ended_by_restart(view, self.now)
        latest, schedule = self.core.latest, self.core.schedule
        open_records = [each for each in self.records.values() if each.status.value in OPEN]
        self.epoch += 1
        self.core = SiteCore(CONFIG, epoch=self.epoch, resume=open_records)
        self.core.latest, self.core.schedule = latest, schedule
        self.known.clear()
        self.trace.clear()

    def _answer_asking(self, command_id: str) -> None:
        # After a restart the middleware may know what the platform asks about.
        if self.up:
            self.core.on_told(self.now, command_id, None)
        else:
            self.core.on_ask_failed(self.now, command_id)


OPEN = ("planned", "sent", "unknown", "acknowledged", "applied")


def check_order(world: Reconnecting) -> None:
    """State, then plan, then dispatch; and nothing sent was computed before the plan."""
    names = [name for name, _ in world.trace]
    assert "sent" in names, names
    # A plan may also have been made while the link was away; the one that counts is made from the state afterwards.
    planned = names.index("planned", names.index("state"))
    assert planned < names.index("sent")
    made_at = world.trace[planned][1]
    sent: list[CommandBase] = [each for name, each in world.trace if name == "sent"]
    assert all(each.timestamp >= made_at for each in sent if isinstance(each, SetBatteryPower))


@pytest.mark.parametrize("step", ORDER)
@pytest.mark.parametrize("how", ["outage", "kill"])
def test_b14_interrupted_at_any_step_the_next_run_keeps_the_order_200_times(step: StepName, how: str) -> None:
    world = Reconnecting()
    world.run(20)
    for _ in range(RECONNECTIONS_PER_STEP // 2):
        world.reach(step)
        assert world.core.reconciliation is not None
        interrupted = world.core.reconciliation.view.record_id
        if how == "kill":
            world.kill()
        else:
            world.up = False
            world.run(30)
            world.trace.clear()
        world.held, world.up = None, True
        world.run(90)

        view = world.views[interrupted]
        assert view.interrupted
        assert [each.state for each in view.steps].count(StepState.INTERRUPTED.value) == 1
        assert view.finished_at is not None
        check_order(world)
        assert world.running is StepName.HISTORY


def test_the_record_says_what_was_expected_found_verified_and_recomputed() -> None:
    world = Reconnecting()
    world.run(20)
    world.soc_pct = 52.0
    world.reach(StepName.HISTORY)
    world.run(20)
    running = world.core.reconciliation
    assert running is not None
    before = Metrics(coverage_pct=0.0, import_kwh=0.0, cost_eur=0.0)
    after = Metrics(coverage_pct=100.0, import_kwh=1.5, cost_eur=0.2)
    running.measured(before=before)
    running.measured(before=after, after=after)
    running.missed(samples=0, events=3, sessions=1)
    running.history_complete(world.now, "done")

    view = running.view
    assert view.actual_soc_pct == 52.0
    assert view.expected_soc_pct is not None
    assert view.commands_verified
    assert (view.metrics_before, view.metrics_after) == (before, after)
    assert (view.missed_events, view.missed_sessions, view.schedule_version) == (3, 1, world.plans)
    assert [each.state for each in view.steps] == [StepState.DONE.value] * 4
    assert view.finished_at == world.now.at
