"""What makes a new plan necessary: edges of the world, and a world that leaves the plan (pure)."""

import math
from bisect import bisect_right
from enum import StrEnum

from shared.contract.config import SiteConfig
from shared.contract.schedule import SiteSchedule
from shared.contract.telemetry import Telemetry
from shared.energy.slots import slot_start
from shared.moment import Moment

SPACING_S = 60.0
"""Between two plans that only the course of things asks for."""
OFF_PLAN_FOR_S = 60.0
RENEW_BEFORE_END_S = 2 * 3600.0


class Trigger(StrEnum):
    """Why a plan was made."""

    START = "start"
    SLOT_ROLL = "slot_roll"
    PLUG = "plug"
    UNPLUG = "unplug"
    DEMAND_OFF_PLAN = "demand_off_plan"
    SOC_OFF_PLAN = "soc_off_plan"
    NEW_PRICES = "new_prices"
    CONFIG = "config"
    RECONNECTION = "reconnection"
    OPERATOR = "operator"
    GRID_LIMIT = "grid_limit"


URGENT = frozenset({Trigger.START, Trigger.CONFIG, Trigger.RECONNECTION, Trigger.OPERATOR})
"""These do not wait for the spacing."""


class Triggers:
    """Watches one site; `due` says whether and why to plan now."""

    def __init__(self) -> None:
        self._asked: Trigger | None = Trigger.START
        self._planned_s = float("-inf")
        self._slot_of_plan: float | None = None
        self._plugged: int | None = None
        self._clearance_kw: float | None = None
        self._ev_kw = 0.0
        self._ev_known_kw = 0.0
        """What the cars drew when the latest plan was asked for: it is in that plan, whatever the slot's mean says."""
        self._off_since_s: dict[Trigger, float] = {}

    def ask(self, trigger: Trigger) -> None:
        """An edge that somebody else saw; the most urgent one is kept."""
        if self._asked is None or (trigger in URGENT and self._asked not in URGENT):
            self._asked = trigger

    def saw(self, now: Moment, sample: Telemetry, config: SiteConfig, schedule: SiteSchedule | None) -> None:
        """Look for edges and deviations in a live sample."""
        self._watch_plugs(sample)
        self._watch_clearance(sample)
        if schedule is None:
            return
        index = slot_index(schedule, now)
        if index is None or now.at >= schedule.valid_until:
            return
        slot = schedule.slots[index]
        ev_kw = math.fsum(each.power_kw for each in sample.chargers if each.power_kw is not None)
        self._ev_kw = ev_kw
        off_kw = min(abs(ev_kw - slot.ev_kw), abs(ev_kw - self._ev_known_kw))
        off_demand = off_kw >= max(config.planner.demand_replan_kw, 0.1) and ev_kw > 0.0
        self._watch(now, Trigger.DEMAND_OFF_PLAN, off=off_demand)
        expected_pct = expected_soc_pct(schedule, now)
        soc_pct = sample.battery.soc_pct
        known = expected_pct is not None and soc_pct is not None
        off_soc = known and abs((soc_pct or 0.0) - (expected_pct or 0.0)) >= config.planner.soc_replan_pct
        self._watch(now, Trigger.SOC_OFF_PLAN, off=off_soc)

    def due(self, now: Moment) -> Trigger | None:
        """Why a plan is wanted now, or None; the caller answers with `planning` when it starts one."""
        slot = slot_start(now.at).timestamp()
        if self._asked is not None and (self._asked in URGENT or self._spaced(now)):
            return self._asked
        if self._slot_of_plan is not None and slot != self._slot_of_plan:
            return Trigger.SLOT_ROLL
        return None

    def planning(self, now: Moment) -> None:
        """A plan is being made from what is known now."""
        self._asked = None
        self._planned_s = now.s
        self._slot_of_plan = slot_start(now.at).timestamp()
        self._ev_known_kw = self._ev_kw
        self._off_since_s.clear()

    def _spaced(self, now: Moment) -> bool:
        return now.s - self._planned_s >= SPACING_S

    def _watch(self, now: Moment, trigger: Trigger, *, off: bool) -> None:
        if not off:
            self._off_since_s.pop(trigger, None)
            return
        since_s = self._off_since_s.setdefault(trigger, now.s)
        if now.s - since_s >= OFF_PLAN_FOR_S:
            self.ask(trigger)

    def _watch_plugs(self, sample: Telemetry) -> None:
        plugged = sum(1 for each in sample.chargers if each.plugged)
        if self._plugged is not None and plugged != self._plugged:
            self.ask(Trigger.PLUG if plugged > self._plugged else Trigger.UNPLUG)
        self._plugged = plugged

    def _watch_clearance(self, sample: Telemetry) -> None:
        shown_kw = sample.grid.clearance_kw
        if shown_kw is None:
            return
        if self._clearance_kw is not None and abs(shown_kw - self._clearance_kw) >= 1.0:
            self.ask(Trigger.GRID_LIMIT)
        self._clearance_kw = shown_kw


def slot_index(schedule: SiteSchedule, now: Moment) -> int | None:
    """The slot that began last; None before the first one."""
    index = bisect_right(schedule.slots, now.at, key=lambda slot: slot.start) - 1
    return index if index >= 0 else None


def expected_soc_pct(schedule: SiteSchedule, now: Moment) -> float | None:
    """Where the plan expects the state of charge now, between the targets of two slots."""
    index = slot_index(schedule, now)
    if index is None or index == 0 or now.at >= schedule.valid_until:
        return None
    before, slot = schedule.slots[index - 1], schedule.slots[index]
    share = min((now.at - slot.start).total_seconds() / 900.0, 1.0)
    return before.soc_target_pct + share * (slot.soc_target_pct - before.soc_target_pct)
