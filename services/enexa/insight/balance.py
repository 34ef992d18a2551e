"""Does the site's energy balance close, and for how long has it not: the alarm for a wrong sign or a lying meter.

The identity is the ChargePost's own: `import - export + pv + battery = EV + own consumption` with the battery's
discharge positive. Conversion losses are inside own consumption, so no efficiency enters here. Three meters that
sample one frame apart miss it for a second at each ramp; therefore only a miss that lasts raises the alarm.
"""

from collections.abc import Iterable
from enum import StrEnum

from msgspec import Struct

from shared.contract.telemetry import Telemetry
from shared.energy.balance import Flows, imbalance_kw
from shared.moment import Moment, moment_at

TOLERANCE_KW = 2.0
TOLERANCE_RATIO = 0.05
RAISE_AFTER_S = 10.0
CLEAR_AFTER_S = 10.0


class Closure(StrEnum):
    """What can be said of one sample's balance."""

    CLOSED = "closed"
    OPEN = "open"
    UNKNOWN = "unknown"


class BalanceCheck(Struct, frozen=True, kw_only=True):
    """One sample's balance; `missing` names the readings without which nothing can be said."""

    closure: Closure
    imbalance_kw: float | None = None
    tolerance_kw: float | None = None
    missing: tuple[str, ...] = ()


class BalanceAlarm(Struct, frozen=True, kw_only=True):
    """A fact for the alert book: the balance does not close (`raised`), or it closes again."""

    raised: bool
    imbalance_kw: float
    sentence: str


def grid_kw(sample: Telemetry) -> float | None:
    """Import minus export; None where the meter gave no import."""
    if sample.grid.import_kw is None:
        return None
    return sample.grid.import_kw - (sample.grid.export_kw or 0.0)


def ev_kw(sample: Telemetry) -> float | None:
    """Sum over the outlets; None where there is none, or one of them gave no power."""
    powers = [charger.power_kw for charger in sample.chargers]
    if not powers or any(power is None for power in powers):
        return None
    return sum(power for power in powers if power is not None)


def check(sample: Telemetry) -> BalanceCheck:
    """Close the balance of one sample, if every reading that it needs is there."""
    grid, battery, chargers, load = grid_kw(sample), sample.battery.power_kw, ev_kw(sample), sample.aux_kw
    if grid is None or battery is None or chargers is None or load is None:
        readings = {"grid": grid, "battery": battery, "chargers": chargers, "own consumption": load}
        missing = tuple(name for name, value in readings.items() if value is None)
        return BalanceCheck(closure=Closure.UNKNOWN, missing=missing)
    flows = Flows(
        grid_kw=grid,
        battery_kw=battery,
        charger_kw=chargers,
        load_kw=load,
        pv_kw=sample.pv_kw or 0.0,
    )
    off_kw = imbalance_kw(flows)
    tolerance_kw = max(TOLERANCE_KW, TOLERANCE_RATIO * _turnover_kw(flows))
    closure = Closure.CLOSED if abs(off_kw) <= tolerance_kw else Closure.OPEN
    return BalanceCheck(closure=closure, imbalance_kw=off_kw, tolerance_kw=tolerance_kw)


def _turnover_kw(flows: Flows) -> float:
    """The larger of what flows in and what flows out; a meter's error grows with it."""
    inward_kw = outward_kw = 0.0
    for each in (flows.grid_kw, flows.battery_kw, flows.pv_kw, -flows.charger_kw, -flows.load_kw):
        if each > 0.0:
            inward_kw += each
        else:
            outward_kw -= each
    return max(inward_kw, outward_kw)


class BalanceWatch:
    """Raise once when the balance stays open, clear once when it stays closed; unknown samples say neither."""

    def __init__(self) -> None:
        self.raised = False
        self._turned_at: Moment | None = None

    def step(self, now: Moment, sample: Telemetry) -> BalanceAlarm | None:
        seen = check(sample)
        if seen.closure is Closure.UNKNOWN or seen.imbalance_kw is None:
            return None
        if (seen.closure is Closure.OPEN) == self.raised:
            self._turned_at = None
            return None
        if self._turned_at is None:
            self._turned_at = now
        if now.since(self._turned_at) < (CLEAR_AFTER_S if self.raised else RAISE_AFTER_S):
            return None
        self.raised = not self.raised
        self._turned_at = None
        return BalanceAlarm(
            raised=self.raised, imbalance_kw=seen.imbalance_kw, sentence=_sentence(self.raised, seen.imbalance_kw)
        )


def standing_alarm(samples: Iterable[Telemetry]) -> str | None:
    """The alarm that stands after these samples of the recent past, in order of time; None where the balance closes."""
    watch, standing = BalanceWatch(), None
    for sample in samples:
        alarm = watch.step(moment_at(sample.timestamp, sample.timestamp.timestamp()), sample)
        if alarm is not None:
            standing = alarm.sentence if alarm.raised else None
    return standing


def _sentence(raised: bool, off_kw: float) -> str:
    if not raised:
        return "The energy balance closes again."
    side = "more flows into the bus than leaves it" if off_kw > 0 else "more leaves the bus than flows into it"
    return f"The energy balance does not close: {side}, by {abs(off_kw):.1f} kW. A sign or a meter is wrong."
