"""A bug stops the lane, the station takes control back, the lane begins again; after three it is held in safe mode."""

from pathlib import Path
from typing import Any

import pytest

from services.amperio.lane import CRASHES_MAX
from shared.contract.events import Event, EventKind
from shared.contract.operations import AMPERIO_HEALTH
from shared.contract.telemetry import Mode
from tests.integration.amperio.stage import SITE, Stage, eventually, playing

pytestmark = pytest.mark.timeout(120)  # real sockets, a real disk, and a machine that may be busy


class Bug:
    """Makes every step of the lane's agent fail while it is there; keeps the events that the lane told."""

    def __init__(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lane = stage.lane
        self.there = False
        self.events: list[Event] = []
        step, hold = self.lane.agent.step, self.lane.scribe.hold_events

        def broken(*given: Any) -> Any:
            assert not self.there, "a bug"
            return step(*given)

        def heard(events: Any) -> None:
            self.events += events
            hold(events)

        monkeypatch.setattr(self.lane.agent, "step", broken)
        monkeypatch.setattr(self.lane.scribe, "hold_events", heard)

    async def once(self) -> None:
        """Until the lane has stopped and begun again."""
        starts = self.lane.starts
        self.there = True
        await eventually(lambda: self.lane.starts > starts)
        self.there = False

    def alarms(self) -> list[str]:
        return [each.text for each in self.events if each.kind is EventKind.ALERT_RAISED]


def external(stage: Stage) -> bool:
    return bool(stage.station.post.levers.external)


def reads_since(stage: Stage, at_s: float) -> bool:
    """Whether the lane has read the station after `at_s` of the stage's clock; what it knew before a bug is old."""
    now = stage.clock.now()
    age_s = stage.lane.image_age_s(now)
    return age_s is not None and now.s - age_s > at_s


async def test_a_bug_stops_the_lane_the_station_takes_over_and_the_lane_begins_again_in_safe_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with playing(tmp_path, speed=10.0) as stage:
        bug = Bug(stage, monkeypatch)
        bug.there = True
        await eventually(lambda: not external(stage))

        health = await stage.call("viewer", AMPERIO_HEALTH)
        assert health.message.status != "ok"
        bug.there = False
        await eventually(lambda: external(stage) and stage.lane.agent.controlled)

        assert stage.lane.agent.mode is Mode.SAFE
        assert any("stopped on a bug" in text for text in bug.alarms())


async def test_after_three_bugs_the_site_is_held_in_safe_mode_with_an_alarm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with playing(tmp_path, speed=10.0) as stage:
        bug = Bug(stage, monkeypatch)
        for _ in range(CRASHES_MAX):
            assert not stage.lane.agent.guarded
            await bug.once()

        began_s = stage.clock.now().s
        await eventually(lambda: reads_since(stage, began_s) and stage.lane.agent.controlled)
        assert stage.lane.agent.guarded
        assert (stage.lane.agent.mode, stage.lane.agent.config) == (Mode.SAFE, None)
        assert "held in safe mode" in bug.alarms()[-1]
        for _ in range(20):
            stage.lane.exchanged(True)
        before_s = stage.clock.now().s
        await eventually(lambda: reads_since(stage, before_s + 12.0))
        assert stage.lane.agent.mode is Mode.SAFE, "good exchanges do not lead out of it"
        health = (await stage.call("viewer", AMPERIO_HEALTH)).message
        assert {each.name: each.ok for each in health.checks}[f"{SITE}.bugs"] is False


async def test_a_bug_in_safe_mode_too_leaves_the_station_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with playing(tmp_path, speed=10.0) as stage:
        bug = Bug(stage, monkeypatch)
        bug.there = True
        await eventually(lambda: stage.lane.starts == CRASHES_MAX + 2)
        bug.there = False
        began_s = stage.clock.now().s
        await eventually(lambda: not external(stage))
        await eventually(lambda: external(stage))

        assert stage.clock.now().s - began_s > 40.0, "a minute of silence first"
