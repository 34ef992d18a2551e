"""When a new plan is wanted: edges at once, deviations after a while, and not again for what a plan already knows."""

import msgspec
import pytest

from services.enexa.dispatching.triggers import OFF_PLAN_FOR_S, Trigger, Triggers
from shared.contract.telemetry import Charger, Telemetry
from shared.moment import Moment
from tests.unit.enexa.dispatching.scene import CONFIG, NOW, sample, schedule


def seen(now: Moment, ev_kw: float, soc_pct: float = 60.0) -> Telemetry:
    charger = Charger(plugged=True, power_kw=ev_kw)
    return msgspec.structs.replace(sample(now.at, soc_pct=soc_pct), chargers=(charger,))


class Watched:
    """Triggers after their first plan, fed once a second."""

    def __init__(self) -> None:
        self.triggers = Triggers()
        self.now = NOW
        self.triggers.planning(NOW)
        self.plan = schedule()

    def feed(self, seconds: int, ev_kw: float, soc_pct: float = 60.0) -> list[Trigger]:
        """What was asked for in that time; each plan is made at once."""
        asked: list[Trigger] = []
        for _ in range(seconds):
            self.now = self.now.later(1.0)
            self.triggers.saw(self.now, seen(self.now, ev_kw, soc_pct), CONFIG, self.plan)
            due = self.triggers.due(self.now)
            if due is not None and due is not Trigger.SLOT_ROLL:
                asked.append(due)
                self.triggers.planning(self.now)
        return asked


def test_a_car_that_draws_more_than_planned_asks_for_one_plan_and_not_for_one_a_minute() -> None:
    watched = Watched()
    assert watched.feed(300, ev_kw=80.0) == [Trigger.DEMAND_OFF_PLAN]
    assert watched.feed(300, ev_kw=82.0) == []
    assert watched.feed(300, ev_kw=60.0) == [Trigger.DEMAND_OFF_PLAN]


@pytest.mark.parametrize("ev_kw", [0.0, 3.0])
def test_demand_that_is_as_planned_asks_for_nothing(ev_kw: float) -> None:
    assert Watched().feed(300, ev_kw=ev_kw) == []


def test_a_short_deviation_asks_for_nothing() -> None:
    watched = Watched()
    assert watched.feed(int(OFF_PLAN_FOR_S) - 5, ev_kw=80.0) == []
    assert watched.feed(300, ev_kw=0.0) == []
