"""The live page's view of a site: one frame per second with flows, strings, plan, control, links and age.

A frame never guesses. A reading that is missing is None and shown as a dash; a sample that is old says how old it is.
"""

from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from services.enexa.insight.balance import BalanceCheck, check, ev_kw, grid_kw
from services.enexa.insight.facts import IntentFacts, Link, LinkState, SiteFacts
from services.enexa.insight.headline import headline
from shared.contract.config import SiteConfig
from shared.contract.reads import Alert
from shared.contract.schedule import ScheduleSlot, SiteSchedule
from shared.contract.telemetry import BatteryUnit, Mode, Telemetry
from shared.contract.wire import Quality

LIVE_WITHIN_S = 5.0
LOST_AFTER_S = 60.0
STATUS_LIVE_WITHIN_S = 30.0
FLOWING_KW = 0.05
ALERTS_SHOWN = 5


class Freshness(StrEnum):
    """How far the newest sample may be taken for the present."""

    LIVE = "live"
    STALE = "stale"
    LOST = "lost"
    NONE = "none"


class Tone(StrEnum):
    """How a state is to be read from across the room; never by colour alone."""

    GOOD = "good"
    NOTICE = "notice"
    BAD = "bad"
    NEUTRAL = "neutral"


MODES: dict[Mode, tuple[Tone, str]] = {
    Mode.ONLINE: (Tone.GOOD, "Enexa's plan is in force."),
    Mode.SUSPECT: (Tone.NOTICE, "Amperio misses Enexa and waits before acting alone."),
    Mode.AUTONOMOUS: (Tone.NOTICE, "Amperio acts alone on the last known schedule."),
    Mode.RESYNC: (Tone.NOTICE, "Connected again; a fresh plan is being verified."),
    Mode.SAFE: (Tone.NOTICE, "Conservative limits: reactive rule, no plan in force."),
    Mode.DEVICE_LOST: (Tone.BAD, "Amperio has no valid data from the ChargePost."),
    Mode.LOCKED: (Tone.BAD, "Locked on site; only a person there can unlock it."),
}


class StringView(Struct, frozen=True, kw_only=True):
    """One battery string; power positive while discharging."""

    label: str
    soc_pct: float | None
    power_kw: float | None
    temp_max_c: float | None
    charge_max_kw: float | None
    discharge_max_kw: float | None
    suspect: bool


class ChargerView(Struct, frozen=True, kw_only=True):
    """One outlet and the car at it."""

    label: str
    state: str
    plugged: bool
    power_kw: float | None
    ev_soc_pct: float | None
    session_kwh: float | None
    limit_kw: float | None
    suspect: bool


class Flow(Struct, frozen=True, kw_only=True):
    """Power at one node of the picture; `direction` 1 = into the bus, -1 = out of it, 0 = at rest."""

    node: str
    power_kw: float | None
    direction: int


class PlanView(Struct, frozen=True, kw_only=True):
    """The slot in force, and the next one's price."""

    version: int
    slot_start: datetime
    slot_end: datetime
    setpoint_kw: float
    soc_target_pct: float
    reserve_pct: float
    import_gate_kw: float
    price_eur_per_mwh: float
    zone: str
    reason: str
    marginal_eur_per_kwh: float
    next_price_eur_per_mwh: float | None
    made_at: datetime | None
    valid_until: datetime


class ControlView(Struct, frozen=True, kw_only=True):
    """Wished, applied and measured battery power of this second."""

    wish_kw: float | None
    applied_kw: float | None
    measured_kw: float | None
    limited_by: tuple[str, ...]
    active_command_id: str | None


class BufferView(Struct, frozen=True, kw_only=True):
    """Depth of the middleware's outbox as it last told; `age_s` is the age of that word."""

    samples: int | None
    events: int | None
    oldest_age_s: float | None
    capacity_used_pct: float | None
    age_s: float | None


class Frame(Struct, frozen=True, kw_only=True):
    """All that the live page shows at one instant."""

    site_id: str
    name: str
    at: datetime
    speed: float
    freshness: Freshness
    sample_at: datetime | None
    age_s: float | None
    headline: str
    mode: str | None
    mode_tone: Tone
    mode_text: str
    station_state: str | None
    flows: tuple[Flow, ...]
    soc_pct: float | None
    battery_kw: float | None
    strings: tuple[StringView, ...]
    chargers: tuple[ChargerView, ...]
    ev_kw: float | None
    import_limit_kw: float | None
    clearance_kw: float | None
    request_kw: float | None
    frequency_hz: float | None
    power_factor: float | None
    soc_min_pct: float | None
    soc_reserve_pct: float | None
    soc_max_pct: float | None
    price_eur_per_mwh: float | None
    plan: PlanView | None
    intent: IntentFacts | None
    control: ControlView
    watchdog_s: float | None
    watchdog_limit_s: float | None
    external_control: bool | None
    buffer: BufferView
    links: tuple[Link, ...]
    balance: BalanceCheck
    balance_alarm: str | None
    warnings: tuple[str, ...]
    errors: tuple[str, ...]
    alerts: tuple[Alert, ...]
    alerts_open_count: int
    commands_revision: str


def frame(facts: SiteFacts) -> Frame:
    """The view of a site now; every part stands on its own facts, so one missing thing blanks only itself."""
    sample = facts.latest.sample if facts.latest else Telemetry(site_id=facts.site_id, timestamp=facts.at)
    age_s = _age_s(facts)
    fresh = freshness(age_s, facts.speed)
    plan = plan_now(facts.schedule, facts.at)
    mode = sample.station.mode if facts.latest else None
    tone, mode_text = MODES[mode] if mode else (Tone.NEUTRAL, "The site has not told its mode.")
    config = facts.config
    open_alerts = tuple(alert for alert in facts.alerts if alert.cleared_at is None)
    return Frame(
        site_id=facts.site_id,
        name=facts.name,
        at=facts.at,
        speed=facts.speed,
        freshness=fresh,
        sample_at=facts.latest.sample.timestamp if facts.latest else None,
        age_s=age_s,
        headline=headline(sample if fresh in (Freshness.LIVE, Freshness.STALE) else None, _reason(facts, plan), age_s),
        mode=mode,
        mode_tone=tone,
        mode_text=mode_text,
        station_state=sample.station.state,
        flows=flows(sample, config),
        soc_pct=sample.battery.soc_pct,
        battery_kw=sample.battery.power_kw,
        strings=strings(sample),
        chargers=chargers(sample),
        ev_kw=ev_kw(sample),
        import_limit_kw=config.grid.import_limit_kw if config else None,
        clearance_kw=sample.grid.clearance_kw,
        request_kw=sample.grid.request_kw,
        frequency_hz=sample.grid.frequency_hz,
        power_factor=sample.grid.power_factor,
        soc_min_pct=config.battery.soc_min_pct if config else None,
        soc_reserve_pct=config.battery.soc_reserve_pct if config else None,
        soc_max_pct=config.battery.soc_max_pct if config else None,
        price_eur_per_mwh=plan.price_eur_per_mwh if plan else facts.price_eur_per_mwh,
        plan=plan,
        intent=facts.intent,
        control=ControlView(
            wish_kw=sample.control.wish_kw,
            applied_kw=sample.control.applied_kw,
            measured_kw=sample.battery.power_kw,
            limited_by=tuple(sample.control.limited_by),
            active_command_id=sample.active_command_id,
        ),
        watchdog_s=sample.station.watchdog_s,
        watchdog_limit_s=float(config.safety.watchdog_s) if config else None,
        external_control=sample.station.external_control,
        buffer=buffer(facts, sample),
        links=links(facts, fresh, age_s),
        balance=check(sample),
        balance_alarm=facts.balance_alarm,
        warnings=sample.station.warnings,
        errors=sample.station.errors,
        alerts=open_alerts[:ALERTS_SHOWN],
        alerts_open_count=len(open_alerts),
        commands_revision=_revision(facts),
    )


def _age_s(facts: SiteFacts) -> float | None:
    """Age by the sample's own time; a sample from a clock that runs ahead is not younger than new."""
    if facts.latest is None:
        return None
    return max(0.0, (facts.at - facts.latest.sample.timestamp).total_seconds())


def freshness(age_s: float | None, speed: float = 1.0) -> Freshness:
    """On a fast clock the same real delay is more clock time, so the limits grow with the speed."""
    if age_s is None:
        return Freshness.NONE
    if age_s <= LIVE_WITHIN_S * max(1.0, speed / 2):
        return Freshness.LIVE
    return Freshness.STALE if age_s <= LOST_AFTER_S * max(1.0, speed / 2) else Freshness.LOST


def flows(sample: Telemetry, config: SiteConfig | None) -> tuple[Flow, ...]:
    """One flow per node of the picture; PV only where the site has it."""
    nodes: list[tuple[str, float | None]] = [("grid", grid_kw(sample))]
    if sample.pv_kw is not None or (config is not None and config.pv is not None):
        nodes.append(("pv", sample.pv_kw))
    units = sample.battery.units or (BatteryUnit(power_kw=sample.battery.power_kw),)
    nodes += [(f"string{index}", unit.power_kw) for index, unit in enumerate(units, start=1)]
    nodes += [(f"charger{index}", _out(each.power_kw)) for index, each in enumerate(sample.chargers, start=1)]
    nodes.append(("own", _out(sample.aux_kw)))
    return tuple(Flow(node=node, power_kw=power, direction=_direction(power)) for node, power in nodes)


def _out(power_kw: float | None) -> float | None:
    return None if power_kw is None else -power_kw


def _direction(power_kw: float | None) -> int:
    if power_kw is None or abs(power_kw) < FLOWING_KW:
        return 0
    return 1 if power_kw > 0 else -1


def strings(sample: Telemetry) -> tuple[StringView, ...]:
    return tuple(
        StringView(
            label=f"Battery {index}",
            soc_pct=unit.soc_pct,
            power_kw=unit.power_kw,
            temp_max_c=unit.temp_max_c,
            charge_max_kw=unit.charge_max_kw,
            discharge_max_kw=unit.discharge_max_kw,
            suspect=_suspect(sample, f"battery.units[{index - 1}]"),
        )
        for index, unit in enumerate(sample.battery.units, start=1)
    )


def chargers(sample: Telemetry) -> tuple[ChargerView, ...]:
    return tuple(
        ChargerView(
            label=f"Charger {index}",
            state=each.state or "unknown",
            plugged=bool(each.plugged),
            power_kw=each.power_kw,
            ev_soc_pct=each.ev_soc_pct,
            session_kwh=each.session_kwh,
            limit_kw=each.limit_kw,
            suspect=_suspect(sample, f"chargers[{index - 1}]"),
        )
        for index, each in enumerate(sample.chargers, start=1)
    )


def _suspect(sample: Telemetry, prefix: str) -> bool:
    """Whether any reading under `prefix` is stale or unknown by its own quality mark."""
    dotted = prefix.replace("[", ".").replace("]", "")
    marks = (mark for field, mark in sample.quality.items() if field.startswith((prefix, dotted)))
    return any(mark in (Quality.STALE, Quality.UNKNOWN) for mark in marks)


def slot_in_force(schedule: SiteSchedule | None, at: datetime) -> tuple[ScheduleSlot, datetime] | None:
    """The slot that contains `at` and its end; None outside the schedule's validity."""
    if schedule is None or not schedule.valid_from <= at < schedule.valid_until:
        return None
    starts = [slot.start for slot in schedule.slots] + [schedule.valid_until]
    for slot, start, end in zip(schedule.slots, starts, starts[1:], strict=False):
        if start <= at < end:
            return slot, end
    return None


def plan_now(schedule: SiteSchedule | None, at: datetime) -> PlanView | None:
    found = slot_in_force(schedule, at)
    if schedule is None or found is None:
        return None
    slot, end = found
    after = next((each for each in schedule.slots if each.start >= end), None)
    return PlanView(
        version=schedule.version,
        slot_start=slot.start,
        slot_end=end,
        setpoint_kw=slot.setpoint_kw,
        soc_target_pct=slot.soc_target_pct,
        reserve_pct=slot.reserve_pct,
        import_gate_kw=slot.import_gate_kw,
        price_eur_per_mwh=slot.price_eur_per_mwh,
        zone=slot.zone,
        reason=slot.reason,
        marginal_eur_per_kwh=slot.marginal_eur_per_kwh,
        next_price_eur_per_mwh=after.price_eur_per_mwh if after else None,
        made_at=schedule.made_at,
        valid_until=schedule.valid_until,
    )


def _reason(facts: SiteFacts, plan: PlanView | None) -> str | None:
    """The gate that fired now explains the present better than the slot that was planned."""
    if facts.intent is not None:
        return facts.intent.reason
    return plan.reason if plan else None


def buffer(facts: SiteFacts, sample: Telemetry) -> BufferView:
    """The status report knows most; a sample carries at least the count."""
    status = facts.status
    if status is None or status.buffer is None:
        return BufferView(
            samples=sample.station.buffered_count, events=None, oldest_age_s=None, capacity_used_pct=None, age_s=None
        )
    age_s = max(0.0, (facts.at - status.timestamp).total_seconds()) if status.timestamp else None
    return BufferView(
        samples=status.buffer.samples,
        events=status.buffer.events,
        oldest_age_s=status.buffer.oldest_age_s,
        capacity_used_pct=status.buffer.capacity_used_pct,
        age_s=age_s,
    )


def links(facts: SiteFacts, fresh: Freshness, age_s: float | None) -> tuple[Link, ...]:
    """The chain from Enexa to the hardware, each with what is known of it."""
    states = {
        Freshness.LIVE: (LinkState.UP, "samples arrive"),
        Freshness.STALE: (LinkState.DEGRADED, "no fresh sample"),
        Freshness.LOST: (LinkState.DOWN, "no sample for over a minute"),
        Freshness.NONE: (LinkState.UNKNOWN, "no sample yet"),
    }
    state, detail = states[fresh]
    inward = Link(name="amperio_enexa", label="Amperio → Enexa", state=state, detail=detail, age_s=age_s)
    outward = facts.middleware or Link(
        name="enexa_amperio", label="Enexa → Amperio", state=LinkState.UNKNOWN, detail="not asked yet"
    )
    return (outward, inward, facts.modbus or _modbus(facts, fresh, age_s))


def _modbus(facts: SiteFacts, fresh: Freshness, age_s: float | None) -> Link:
    """Where Amperio's health is not at hand, its samples still tell whether the device answers."""
    name, label = "amperio_chargepost", "Amperio → ChargePost"
    mode = facts.latest.sample.station.mode if facts.latest else None
    if mode is None or fresh is not Freshness.LIVE:
        return Link(name=name, label=label, state=LinkState.UNKNOWN, detail="nothing recent heard", age_s=age_s)
    if mode is Mode.DEVICE_LOST:
        return Link(name=name, label=label, state=LinkState.DOWN, detail="no valid device data")
    return Link(name=name, label=label, state=LinkState.UP, detail="registers are read", age_s=age_s)


def _revision(facts: SiteFacts) -> str:
    """Changes whenever the shown log does, so that the page fetches it only then."""
    if not facts.commands:
        return "0"
    newest = facts.commands[0]
    return (
        f"{len(facts.commands)}-{newest.command_id}-{newest.status}-{sum(len(each.history) for each in facts.commands)}"
    )
