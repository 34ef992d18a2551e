"""SiteAgent: one site's second, decided: an image and what arrived go in, writes and a sample come out.

    admission = agent.admit(now, command)              # refuse, repeat the first answer, or take in (then make durable)
    orders = agent.step(now, image, inbox)             # image None = the link is down
    settled = agent.settle(now, outcomes)              # what the registers say now, and what that means

Limits first, then control, then setpoints; and nothing is called applied before it was read back from a station that
obeys. No sockets, no clock: a simulation drives it as the lane does.
"""

from collections.abc import Iterable, Sequence
from math import isfinite

import msgspec
from msgspec import Struct

from services.amperio.site.autonomy import HANDS_OFF, OBEYS, Autonomy, ModeChange
from services.amperio.site.commissioning import unsafe_fallback_kw
from services.amperio.site.control import REACTIVE, Setpoint, Wish, settle
from services.amperio.site.desk import Desk, Pending
from services.amperio.site.events import Edges
from services.amperio.site.facts import Fact, fact
from services.amperio.site.fallback import slot_in_force
from services.amperio.site.floor import outlet_ceilings_kw
from services.amperio.site.image import SiteImage, image_of
from services.amperio.site.ledger import Admission, Entry, Ledger
from services.amperio.site.limits import CHARGEPOST, WATCHDOG_S, LimitsInForce, check_config, limits_in_force
from services.amperio.site.orders import Inbox, Keepsake, Orders, Outcome, Outcomes, Settled
from services.amperio.site.reads import CHECKS
from services.amperio.site.rivals import YIELD_S, Intrusion, Rivals
from services.amperio.site.telemetry import Told, blind_telemetry, telemetry_of
from services.amperio.site.translate import Wanted, check_bounds, writes_for
from services.amperio.site.trust import Trust, Trusted
from services.amperio.site.watchdog import Duty, Watchdog
from shared.chargepost.layout import RegisterWrite
from shared.chargepost.registers import Management
from shared.contract.config import ConfigAck, SiteConfig
from shared.contract.dispatch import ApplySchedule, DispatchCommand, SetChargerLimit, SetGridLimit, SetGridRequest, Test
from shared.contract.events import Event, EventKind, Severity
from shared.contract.schedule import ScheduleSlot
from shared.contract.telemetry import Mode, Telemetry
from shared.errors import LinkDown, Locked, NotNow, ReadbackMismatch
from shared.moment import Moment

CLOCK_STEP_S = 0.5
GUARDED_FOR_S = 3600.0
SAMPLE_TOLERANCE_RATIO = 0.3
"""A cycle that comes a little early still takes its sample."""


class _Cycle(Struct, kw_only=True):
    """What `step` leaves for `settle`."""

    image: SiteImage | None
    limits: LimitsInForce
    setpoint: Setpoint
    wanted: Wanted | None
    wish: Wish | None
    slot: ScheduleSlot | None


class SiteAgent:
    """Everything that one site decides."""

    def __init__(
        self, site_id: str, now: Moment, keepsake: Keepsake | None = None, entries: Iterable[Entry] = ()
    ) -> None:
        kept = keepsake or Keepsake()
        self.site_id = site_id
        self.config = kept.config
        self.image: SiteImage | None = None
        self.link_up = False
        self.trusted: Trusted | None = None
        self.last_sample: Telemetry | None = None
        self.ledger = Ledger(site_id, entries, fences=kept.fences, epoch=kept.epoch)
        self.desk = Desk(self.ledger, held=kept.held, energy_id=kept.energy_id, schedule=kept.schedule)
        self.autonomy = Autonomy(now, silent_after_s=self._fallback_after_s())
        self.watchdog = Watchdog(now, kept.config.safety.watchdog_s if kept.config else WATCHDOG_S)
        self._locked = False
        self._trust = Trust()
        self._edges = Edges(site_id, kept.sessions)
        self.rivals = Rivals()
        self._cycle: _Cycle | None = None
        self._kept = kept
        self._config_before: SiteConfig | None = None
        self._config_pending = False
        self._config_acks: list[ConfigAck] = []
        self._events: list[Event] = []
        self._facts: list[Fact] = []
        self._next_sample_s = now.s
        self._withheld: tuple[Duty, ...] = ()
        self._taken_in: Moment | None = None
        self._stepped_s = float("-inf")
        self.refused_version: int | None = None
        """The newest configuration, where it is not the one in force because it was rejected."""
        self.unsafe_fallback_kw: float | None = None
        """What the station would import without us, where that is more than the site's fallback allows."""
        self.guarded_until_s: float | None = None
        """While held in safe mode after repeated bugs."""
        for entry in self.ledger.open_entries():
            # Accepted before the restart and still without a final state: it may act if it is still valid.
            self.desk.release(now, entry.command_id)
        self.desk.fresh_plan = False

    # ---- what the outside asks ---------------------------------------------------------------------------------------

    @property
    def mode(self) -> Mode:
        return self.autonomy.mode

    @property
    def wants_plan(self) -> bool:
        """In resync only a plan fetched (or commanded) since then leads on."""
        return self.mode is Mode.RESYNC and not self.desk.fresh_plan

    @property
    def controlled(self) -> bool:
        """Whether the last image showed a station that obeys."""
        return self.image is not None and self.image.controlled

    @property
    def heartbeat_withheld(self) -> tuple[Duty, ...]:
        """Who keeps the heartbeat from being earned."""
        return self._withheld

    def clock_stepped(self, now: Moment, within_s: float) -> bool:
        """Whether the date was corrected so lately that what is dated may look wrong."""
        return now.s - self._stepped_s <= within_s

    @property
    def pending_count(self) -> int:
        return len(self.desk.waiting())

    def schedule_in_force(self, now: Moment) -> ScheduleSlot | None:
        return slot_in_force(now.at, self.desk.schedule, self.site_id)

    def admit(self, now: Moment, command: DispatchCommand) -> Admission:
        """Check a command and take it in as accepted; it acts once it is released through the inbox.

        Raises IdempotencyMismatch, InProgress, Locked, LinkDown, NotNow, StaleCommand, OutOfBounds, LimitExceeded.
        """
        repeated = self.ledger.repeated(command)
        if repeated is not None:
            return repeated
        if self._locked or self.mode is Mode.LOCKED:
            raise Locked("the site is locked on site; only a person there can unlock it", site_id=self.site_id)
        self.ledger.check_time(now, command)
        if not isinstance(command, Test) and (not self.link_up or self.mode is Mode.DEVICE_LOST):
            raise LinkDown("no link to the station; the command was not queued", retry_after_s=1.0)
        limits = self._limits(now)
        check_bounds(command, self.config, limits)
        if command.site_id != self.site_id:
            raise NotNow("the command is for another site")
        return self.ledger.open(now, command)

    @property
    def guarded(self) -> bool:
        """Whether the site is held in safe mode, without configuration and plan, after repeated bugs."""
        return self.guarded_until_s is not None

    def start_over(self, now: Moment, *, guarded: bool = False) -> None:
        """Begin in safe mode again, with everything that was kept: nobody knows what a bug left half done.

        `guarded` begins without configuration too, which may be what the bug feeds on, and stays there for an hour.
        """
        if guarded:
            self.guarded_until_s = now.s + GUARDED_FOR_S
            self._use_config(None)
            self._config_pending = False
        self.autonomy = Autonomy(now, silent_after_s=self._fallback_after_s())
        self.watchdog.forget_beat()
        self._cycle = None
        self.desk.fresh_plan = False

    def event(self, now: Moment, kind: EventKind, text: str, severity: Severity = Severity.INFO) -> Event:
        """An event that the shell saw: the link, the store."""
        return self._edges.event(now, kind, text, severity)

    # ---- one cycle ---------------------------------------------------------------------------------------------------

    def step(self, now: Moment, image: SiteImage | None, inbox: Inbox) -> Orders:
        """Look at the image and the inbox, decide; everything that follows is in the orders."""
        self.link_up = image is not None
        self._take_in(now, inbox)
        valid = self._see(now, image)
        changes = self.autonomy.observe(
            now,
            exchanges=() if self.guarded else inbox.exchanges,
            schedule_in_force=self.schedule_in_force(now) is not None,
            device_valid=valid,
            locked=self._locked,
        )
        self._changed_mode(now, changes)
        for command_id in inbox.released:
            self.desk.release(now, command_id)
        self.desk.expire(now)
        if inbox.intake_alive:
            self.watchdog.check_in(now, Duty.INTAKE)
        self._cycle = self._decide(now, image if valid else None)
        writes = self._writes(self._cycle)
        checks = CHECKS if self._cycle.wanted is not None and self._wants_checks() else ()
        return Orders(writes=writes, checks=checks, sample=self._sample(now, inbox.buffered_count))

    def _writes(self, cycle: _Cycle) -> tuple[RegisterWrite, ...]:
        """What differs, but for what is left to another master; whether a command is applied is judged without that."""
        if cycle.wanted is None or cycle.image is None:
            return ()
        return writes_for(msgspec.structs.replace(cycle.wanted, leave=self.rivals.leave), cycle.image)

    def _management_in_control(self, cycle: _Cycle) -> Management | None:
        return cycle.image.management if cycle.image is not None and cycle.image.controlled else None

    def settle(self, now: Moment, outcomes: Outcomes) -> Settled:
        """Close the cycle: what was read back decides about commands, configuration and the mode."""
        cycle = self._cycle
        assert cycle is not None, "settle without step"
        if any("management.watchdog_interval_s" in each.write.names and each.confirmed for each in outcomes.writes):
            self.watchdog.beaten(now)
        self._tell_failures(outcomes.writes)
        self.rivals.settled(outcomes.writes, self._management_in_control(cycle))
        if cycle.wanted is not None:
            after = _after(cycle.image, outcomes)
            self._settle_commands(now, cycle, after, outcomes.writes)
            self._settle_config(now, after, outcomes.writes)
            self._settle_plan(now, cycle, after)
        for entry in self.desk.take_closed():
            self._events.append(self._result_event(now, entry))
        self._facts += self.desk.facts
        self.desk.facts = []
        acks, self._config_acks = self._config_acks, []
        settled = Settled(
            entries=self.ledger.take_changes(),
            forgotten=self.ledger.forget(now),
            events=tuple(self._events),
            facts=tuple(self._facts),
            config_ack=acks[-1] if acks else None,
            keepsake=self._keepsake_if_changed(),
        )
        self._events, self._facts = [], []
        return settled

    # ---- taking in ---------------------------------------------------------------------------------------------------

    def _take_in(self, now: Moment, inbox: Inbox) -> None:
        self._note_clock_step(now)
        if self.guarded_until_s is not None and now.s >= self.guarded_until_s:
            self.guarded_until_s = None
        if inbox.config is not None and inbox.config != self.config and not self.guarded:
            self._take_config(now, inbox.config)
        if inbox.schedule is not None and inbox.schedule.site_id == self.site_id:
            self.desk.schedule = inbox.schedule
            if self.mode is Mode.RESYNC:
                self.desk.fresh_plan = True
        if inbox.operator is not None:
            self.desk.held = msgspec.structs.replace(self.desk.held, operator=inbox.operator)
            self._operator_event(now, "the grid operator's limit was set", limit_kw=inbox.operator.import_kw)
        elif inbox.operator_withdrawn:
            self.desk.held = msgspec.structs.replace(self.desk.held, operator=None)
            self._operator_event(now, "the grid operator's limit was withdrawn")
        if inbox.locked != self._locked:
            self._operator_event(now, "locked on site" if inbox.locked else "unlocked on site")
        self._locked = inbox.locked

    def _note_clock_step(self, now: Moment) -> None:
        """The date was corrected: durations are untouched, but whoever reads the data should know."""
        before, self._taken_in = self._taken_in, now
        step_s = 0.0 if before is None else (now.at - before.at).total_seconds() - now.since(before)
        if abs(step_s) >= CLOCK_STEP_S:
            text = f"the clock was set {'forward' if step_s > 0.0 else 'back'} by {abs(step_s):.1f} s"
            told = round(step_s, 3)
            self._stepped_s = now.s
            self._events.append(self._edges.event(now, EventKind.CLOCK_STEP, text, Severity.WARNING, step_s=told))
            self._facts.append(fact("clock_step", level="warning", step_s=told))

    def _operator_event(self, now: Moment, text: str, limit_kw: float | None = None) -> None:
        self._events.append(self._edges.event(now, EventKind.OPERATOR_ACTION, text, Severity.INFO, limit_kw=limit_kw))

    def _take_config(self, now: Moment, config: SiteConfig) -> None:
        refusal = check_config(config, self.site_id)
        if refusal is not None:
            self.refused_version = config.version
            self._config_acks.append(_config_ack(now, config, "rejected", refusal.reason))
            self._events.append(
                self._edges.event(
                    now, EventKind.CONFIG_REJECTED, refusal.reason, Severity.WARNING, version=config.version
                )
            )
            return
        if not self._config_pending:
            self._config_before = self.config
        self._use_config(config)
        self._config_pending = True

    def _use_config(self, config: SiteConfig | None) -> None:
        self.config = config
        self.autonomy.silent_after_s = self._fallback_after_s()
        self.watchdog.set_interval(config.safety.watchdog_s if config else WATCHDOG_S)

    def _fallback_after_s(self) -> float:
        return self.config.safety.fallback_after_s if self.config else 60.0

    def _see(self, now: Moment, image: SiteImage | None) -> bool:
        """Judge the image; False where the device cannot be said to have spoken."""
        if image is None:
            self.trusted = None
            return False
        before = self.image
        self.image = image
        self.trusted = self._trust.judge(now, image, beaten_s_ago=self.watchdog.beaten_s_ago(now))
        if not image.valid or not self.trusted.fresh:
            return False
        self._events += self._edges.between(now, image)
        if image.emergency_stop and not self._locked:
            # It never recovers by itself; the shell makes the lock durable.
            self._locked = True
            self._facts.append(fact("locked_by_emergency_stop", level="error"))
        if before is not None and before.controlled and not image.controlled:
            self.watchdog.forget_beat()
            self._facts.append(fact("control_lost", level="warning", tripped=image.tripped))
        undisturbed = before is not None and before.controlled and image.controlled
        for intrusion in self.rivals.observe(now, image.management, controlled=undisturbed):
            self._tell_intrusion(now, intrusion)
        self._check_fallback(now, image)
        self.watchdog.check_in(now, Duty.POLLER)
        return True

    def _tell_intrusion(self, now: Moment, intrusion: Intrusion) -> None:
        told = {"register": intrusion.register, "ours": intrusion.ours, "found": intrusion.found}
        text = f"somebody else wrote {intrusion.register}"
        if intrusion.yielded:
            text += f"; it is left to them for {YIELD_S:.0f} s"
        severity = Severity.CRITICAL if intrusion.yielded else Severity.WARNING
        self._events.append(
            self._edges.event(now, EventKind.FOREIGN_WRITE, text, severity, **told, yielded=intrusion.yielded)
        )
        self._facts.append(fact("foreign_write", level="warning", **told, yielded=intrusion.yielded))

    def _check_fallback(self, now: Moment, image: SiteImage) -> None:
        """What the station does without us must be safe too; at every start and as long as it is not."""
        unsafe_kw = unsafe_fallback_kw(image, self.config)
        if (unsafe_kw is None) is (self.unsafe_fallback_kw is None):
            return
        self.unsafe_fallback_kw = unsafe_kw
        if unsafe_kw is None:
            self._events.append(self._edges.event(now, EventKind.ALERT_CLEARED, "the station's own ceiling is safe"))
            return
        self._events.append(
            self._edges.event(
                now,
                EventKind.ALERT_RAISED,
                f"without control the station would import up to {unsafe_kw:g} kW: lower its register 520",
                Severity.WARNING,
                fallback_clearance_kw=unsafe_kw,
            )
        )

    def _changed_mode(self, now: Moment, changes: Sequence[ModeChange]) -> None:
        for change in changes:
            if change.after is Mode.RESYNC:
                self.desk.fresh_plan = False
            severity = Severity.INFO if change.after in (Mode.ONLINE, Mode.RESYNC) else Severity.WARNING
            text = f"{change.before} to {change.after}: {change.cause}"
            told = {"before": change.before.value, "mode": change.after.value, "cause": change.cause.value}
            self._events.append(self._edges.event(now, EventKind.MODE_CHANGED, text, severity, **told))
            self._facts.append(fact("mode_changed", **told))

    # ---- deciding ----------------------------------------------------------------------------------------------------

    def _limits(self, now: Moment) -> LimitsInForce:
        config = self.image.config if self.image else None
        return limits_in_force(
            now.at,
            self.mode,
            self.config,
            self.desk.held,
            fallback_clearance_kw=config.fallback_clearance_kw if config else None,
        )

    def _decide(self, now: Moment, image: SiteImage | None) -> _Cycle:
        limits = self._limits(now)
        slot = self.schedule_in_force(now)
        if image is None or self.mode in HANDS_OFF or self.trusted is None:
            return _Cycle(image=None, limits=limits, setpoint=REACTIVE, wanted=None, wish=None, slot=slot)
        wish = self._wish(now, slot)
        manual = self.config is not None and self.config.safety.control_mode == "manual"
        efficiency = min((each.efficiency for each in self.config.chargers), default=0.95) if self.config else 0.95
        setpoint = settle(wish, image, self.trusted, limits, manual=manual, charger_efficiency=efficiency)
        self.watchdog.check_in(now, Duty.CONTROL)
        guard(setpoint, limits)
        self.watchdog.check_in(now, Duty.LIMIT_GUARD)
        beat = self.watchdog.tick(now)
        self._tell_withheld(beat.missing)
        knows_window = self.config is not None or (
            image.config is not None and image.config.soc_reserve_pct is not None
        )
        wanted = Wanted(
            external=self.desk.held.external,
            manual=manual,
            clearance_kw=limits.import_max_kw,
            request_kw=setpoint.request_kw,
            unit_targets_kw=setpoint.unit_targets_kw,
            reserve_pct=limits.reserve_pct if knows_window else None,
            soc_max_pct=limits.soc_max_pct if knows_window else None,
            watchdog_s=limits.watchdog_s,
            beat=beat.due or not (image.controlled or beat.missing),
            charger_limits_kw=self._outlet_limits_kw(image, self.trusted, limits),
            charging_modes=self.desk.held.charging_modes,
            exact=bool(self.desk.waiting("energy")),
        )
        return _Cycle(image=image, limits=limits, setpoint=setpoint, wanted=wanted, wish=wish, slot=slot)

    def _outlet_limits_kw(
        self, image: SiteImage, trusted: Trusted, limits: LimitsInForce
    ) -> tuple[float | None, float | None]:
        """The commanded ceilings, and below the reserve what import leaves; afterwards they are given back."""
        held = self.desk.held
        ceilings_kw = outlet_ceilings_kw(image, trusted, limits, throttled=held.throttled)
        if ceilings_kw is None and not held.throttled:
            return held.charger_limits_kw
        asked = [CHARGEPOST.outlet_kw if limit_kw is None else limit_kw for limit_kw in held.charger_limits_kw]
        one, two = (min(each) for each in zip(asked, ceilings_kw or asked, strict=True))
        given_back = ceilings_kw is None and [each and each.ev_limit_kw for each in image.controls] == [one, two]
        if given_back or not held.throttled:
            self._facts.append(fact("cars_throttled", level="warning", throttled=not given_back, outlet_kw=one))
            self.desk.held = msgspec.structs.replace(held, throttled=not given_back)
        return one, two

    def _wish(self, now: Moment, slot: ScheduleSlot | None) -> Wish | None:
        """The command in force, else the slot in force; in resync only what is fresh; else the reactive rule."""
        commanded = self.desk.wish(now)
        if self.config is None or not (self.mode in OBEYS or (self.mode is Mode.RESYNC and self.desk.fresh_plan)):
            return None
        if commanded is not None:
            return commanded
        return Wish(quantity="battery", kw=slot.setpoint_kw, source="schedule") if slot is not None else None

    def _tell_withheld(self, missing: tuple[Duty, ...]) -> None:
        if missing and missing != self._withheld:
            self._facts.append(fact("heartbeat_withheld", level="error", missing=",".join(missing)))
        self._withheld = missing

    def _wants_checks(self) -> bool:
        return bool(self.desk.waiting()) or self._config_pending or self.mode is Mode.RESYNC

    def _sample(self, now: Moment, buffered_count: int) -> Telemetry | None:
        period_s = self.config.telemetry.period_s if self.config else 1.0
        if now.s < self._next_sample_s - SAMPLE_TOLERANCE_RATIO * period_s:
            return None
        self._next_sample_s += period_s
        if self._next_sample_s <= now.s:
            self._next_sample_s = now.s + period_s
        told = Told(
            mode=self.mode,
            active_command_id=self.desk.active_command_id(),
            buffered_count=buffered_count,
            session_ids=self._edges.session_ids,
            session_kwh=self._edges.session_kwh,
        )
        cycle = self._cycle
        assert cycle is not None
        if not self.link_up or self.image is None or self.trusted is None:
            self.last_sample = blind_telemetry(self.site_id, now, told)
        else:
            self.last_sample = telemetry_of(self.site_id, self.image, self.trusted, cycle.setpoint, told)
        return self.last_sample

    # ---- settling ----------------------------------------------------------------------------------------------------

    def _settle_commands(
        self, now: Moment, cycle: _Cycle, after: SiteImage | None, outcomes: tuple[Outcome, ...]
    ) -> None:
        for pending in self.desk.waiting():
            command = pending.entry.command
            if isinstance(command, Test):
                self.desk.apply(now, pending, None, None, detail="checked and acknowledged; nothing was actuated")
            elif pending.group == "energy" and not self._may_act():
                continue
            elif self.desk.judge(now, pending, outcomes):
                self._conclude(now, pending, cycle, after)

    def _may_act(self) -> bool:
        """Whether this cycle tried the energy command at all; a schedule without a slot now has nothing to try."""
        return self.mode in OBEYS or (self.mode is Mode.RESYNC and self.desk.fresh_plan and self.config is not None)

    def _conclude(self, now: Moment, pending: Pending, cycle: _Cycle, after: SiteImage | None) -> None:
        """Nothing left to write against what was read back, from a station that obeys: applied."""
        command = pending.entry.command
        assert cycle.wanted is not None
        obeys = after is not None and (after.controlled or not cycle.wanted.external)
        if after is None or not obeys:
            self.desk.not_in_control(now, pending)
            return
        if isinstance(command, ApplySchedule) and cycle.wish is None:
            self.desk.apply(now, pending, None, None, detail="stored; no slot of it is in force now")
            return
        if self._left_to_write(cycle, after, pending.group):
            pending.last_code = ReadbackMismatch.code
            pending.since_s = now.s if pending.since_s is None else pending.since_s
            return
        self.desk.apply(now, pending, cycle.setpoint, _applied_kw(command, cycle))

    def _left_to_write(self, cycle: _Cycle, after: SiteImage, group: str) -> bool:
        assert cycle.wanted is not None
        wanted = msgspec.structs.replace(cycle.wanted, beat=False)
        left = {name for write in writes_for(wanted, after) for name in write.names}
        if group in ("energy", "set_grid_limit"):
            return any(name.startswith(("management.re", "management.clear", "management.grid_mode")) for name in left)
        if group == "set_operation_mode":
            return "management.operation_mode" in left
        return False  # their own writes were read back word for word, or the registers held it before

    def _settle_config(self, now: Moment, after: SiteImage | None, outcomes: tuple[Outcome, ...]) -> None:
        if not self._config_pending or self.config is None or after is None:
            return
        refused = next((each for each in outcomes if each.refused), None)
        if refused is not None and not self.desk.waiting():
            version = self.config
            self._config_pending = False
            self._use_config(self._config_before)
            reason = f"the station refused {refused.write.names[0]}: {refused.error_code}; the old version stands"
            self.refused_version = version.version
            self._config_acks.append(_config_ack(now, version, "rejected", reason))
            self._events.append(
                self._edges.event(now, EventKind.CONFIG_REJECTED, reason, Severity.WARNING, version=version.version)
            )
            return
        if not after.controlled or any(not each.confirmed for each in outcomes):
            return
        self._config_pending, self.refused_version = False, None
        self._config_acks.append(_config_ack(now, self.config, "applied", None, _read_back(after, outcomes)))
        self._events.append(
            self._edges.event(
                now, EventKind.CONFIG_APPLIED, f"version {self.config.version}", version=self.config.version
            )
        )

    def _settle_plan(self, now: Moment, cycle: _Cycle, after: SiteImage | None) -> None:
        if self.mode is not Mode.RESYNC or not self.desk.fresh_plan or cycle.wish is None or after is None:
            return
        if after.controlled and not self._left_to_write(cycle, after, "energy"):
            self._changed_mode(now, self.autonomy.plan_verified(now))

    def _tell_failures(self, outcomes: Iterable[Outcome]) -> None:
        for outcome in outcomes:
            if not outcome.confirmed:
                self._facts.append(
                    fact(
                        "write_failed",
                        level="warning",
                        registers=",".join(outcome.write.names),
                        code=outcome.error_code or ReadbackMismatch.code,
                    )
                )

    def _result_event(self, now: Moment, entry: Entry) -> Event:
        record = entry.record
        return self._edges.event(
            now,
            EventKind.COMMAND_RESULT,
            f"{record.command} {record.status}",
            command_id=record.command_id,
            command=record.command,
            status=record.status.value,
            applied_kw=record.applied_kw,
            code=record.code,
        )

    def _keepsake_if_changed(self) -> Keepsake | None:
        energy = self.desk.energy
        kept = Keepsake(
            config=self._kept.config if self.guarded else self.config,
            schedule=self.desk.schedule,
            held=self.desk.held,
            energy_id=energy.command_id if energy else None,
            fences=dict(self.ledger.fences),
            epoch=self.ledger.highest_epoch,
            sessions=self._edges.kept,
        )
        before, self._kept = self._kept, kept  # the newest parts, so that the next comparison ends at identity
        return None if kept == before else kept


def guard(setpoint: Setpoint, limits: LimitsInForce) -> None:
    """The last look before a write: no setpoint outside the limits, whoever computed it."""
    assert isfinite(limits.import_max_kw)
    assert limits.import_max_kw >= 0.0
    if setpoint.request_kw is not None:
        assert isfinite(setpoint.request_kw)
        assert 0.0 <= setpoint.request_kw <= limits.import_max_kw + 1e-9
    if setpoint.unit_targets_kw is not None:
        assert all(isfinite(each) for each in setpoint.unit_targets_kw)
        assert -1e-6 <= sum(setpoint.unit_targets_kw) <= limits.import_max_kw + 1e-6


def _after(image: SiteImage | None, outcomes: Outcomes) -> SiteImage | None:
    """The image with what was read after the writes; None where the checks did not come."""
    if image is None or not outcomes.checks or any(reading.data is None for reading in outcomes.checks):
        return None
    return image_of(image.at, outcomes.checks, image, keep=True)


def _applied_kw(command: DispatchCommand, cycle: _Cycle) -> float | None:
    """In the command's own quantity: import for requests and limits, else battery power."""
    if isinstance(command, SetGridRequest):
        return cycle.setpoint.request_kw if cycle.setpoint.aim is None else cycle.setpoint.aim.import_kw
    if isinstance(command, SetGridLimit):
        return cycle.limits.import_max_kw
    if isinstance(command, SetChargerLimit):
        wanted = cycle.wanted.charger_limits_kw[command.params.charger - 1] if cycle.wanted is not None else None
        return command.params.power_kw if wanted is None else min(command.params.power_kw, wanted)
    return cycle.setpoint.aim.battery_kw if cycle.setpoint.aim is not None and _is_energy(command) else None


def _is_energy(command: DispatchCommand) -> bool:
    return type(command).__name__ in ("SetBatteryPower", "Stop", "ApplySchedule")


def _config_ack(
    now: Moment, config: SiteConfig, status: str, reason: str | None, read_back: dict[str, float] | None = None
) -> ConfigAck:
    return ConfigAck(
        site_id=config.site_id,
        version=config.version,
        status="applied" if status == "applied" else "rejected",
        timestamp=now.at,
        reason=reason,
        read_back=read_back or {},
    )


def _read_back(after: SiteImage, outcomes: tuple[Outcome, ...]) -> dict[str, float]:
    """Limits as the station holds them now."""
    found: dict[str, float | None] = {}
    if after.management is not None:
        found["clearance_kw"] = after.management.clearance_kw
        found["watchdog_s"] = after.management.watchdog_interval_s
    if after.config is not None:
        found["reserve_pct"], found["soc_max_pct"] = after.config.soc_reserve_pct, after.config.soc_max_pct
    for outcome in outcomes:
        for name, word in zip(outcome.write.names, outcome.words or (), strict=False):
            if name == "config.soc_reserve_pct":
                found["reserve_pct"] = float(word)
            if name == "config.soc_max_pct":
                found["soc_max_pct"] = float(word)
    return {name: value for name, value in found.items() if value is not None}
