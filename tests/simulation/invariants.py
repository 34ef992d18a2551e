"""What must hold in every second, whatever the weather; the referee looks at all three programs and at the truth.

Each rule has a name, and says in its docstring what it holds and where it does not apply. A breach is noted once per
stretch, with its second. The referee also keeps the energy book and shows the judge what it wants to see.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec import Struct

from services.amperio.site.autonomy import CONSERVATIVE, HANDS_OFF
from services.amperio.site.orders import Orders, Outcomes, Settled
from services.amperio.store import tables
from services.enexa.dispatching.ledger import FINAL
from shared.chargepost.registers import MANAGEMENT
from shared.contract.config import EnergyBook
from shared.contract.telemetry import Mode, Telemetry
from shared.energy.slots import SLOT_S
from shared.moment import Moment

if TYPE_CHECKING:
    from tests.simulation.world import World

BALANCE_KW = 1e-6
OVER_RATIO = 1.02
ALLOWED_S = 1.0
"""How long the meter may lie above its limit: one cycle of the station."""
DIMMED_WITHIN_S = 3.0
HEALED_WITHIN_S = 200.0
"""A reboot of the station takes a minute, the longest backoff another, and control is taken back in steps."""
SILENCE_SLACK_S = 2.0
BREACHES_KEPT = 100
ENTRY_OPEN_MAX_S = 24 * 3600.0 + 60.0
LEDGER_EVERY_S = 600.0
ALONE = frozenset({Mode.AUTONOMOUS, Mode.SAFE, Mode.DEVICE_LOST, Mode.LOCKED})
LAWLESS = {
    "import_limit": frozenset(
        {"deep_drain", "setpoint_inverted", "setpoint_not_applied", "setpoint_ignored", "partial_write",
         "meter_sign_flipped", "words_swapped", "scale_changed"}
    ),
    "soc_floor": frozenset({"deep_drain", "soc_jump", "pack_imbalance"}),
}  # fmt: skip
"""Faults of the device under which a rule cannot hold, because the device itself does not obey."""


class Breach(Struct, frozen=True, kw_only=True):
    s: float
    rule: str
    text: str

    def sentence(self) -> str:
        return f"{self.s:>8.0f} s  {self.rule}: {self.text}"


class Referee:
    """Checks every rule after every second."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.breaches: list[Breach] = []
        self.breach_count = 0
        self.check_count = 0
        self.mode_s: dict[str, int] = {}
        self.book = _Book()
        self.cost_eur = 0.0
        self.clipped_kwh = 0.0
        self.over_cap_s = 0
        """Seconds above the grid operator's cap while it was in force."""
        self.peak_kw = 0.0
        self._open: set[str] = set()
        self._over_s = 0.0
        self._quarter = -1
        self._quarter_kwh = 0.0
        self._price_eur_per_kwh = 0.0
        self._energy_kwh: tuple[float, float] | None = None
        self._counters = (0.0, 0.0)
        self._faults_version = 0
        self._shown_at = float("-inf")
        self._final: dict[str, str] = {}
        self._ledger_due_s = LEDGER_EVERY_S
        self._fair_since_s = 0.0
        self._struck = 0
        self._sequence = 0
        self._rules: tuple[tuple[str, Callable[[Moment], str | None]], ...] = (
            ("power_balance", self._power_balance),
            ("energy_conserved", self._energy_conserved),
            ("import_limit", self._import_limit),
            ("soc_floor", self._soc_floor),
            ("autonomy_in_time", self._autonomy_in_time),
            ("heartbeat", self._heartbeat),
            ("no_expired_command", self._no_expired_command),
            ("confirmed_is_stored", self._confirmed_is_stored),
            ("now_never_goes_back", self._now_never_goes_back),
            ("queues_bounded", self._queues_bounded),
            ("no_bug", self._no_bug),
            ("fair_means_online", self._fair_means_online),
            ("faults_wake_their_rules", self._faults_wake_their_rules),
        )
        self._wanted = world.judge.names
        world.amperio.settles.append(self._look_at_writes)
        world.enexa.hears.append(self._heard)
        world.enexa.commands.append(self.commanded)

    @property
    def rule_count(self) -> int:
        return len(self._rules) + 4

    def check(self, now: Moment) -> None:
        """All rules, now."""
        self._keep_book(now)
        for name, rule in self._rules:
            text = rule(now)
            if text is None:
                self._open.discard(name)
            else:
                self._breach(now, name, text)
        self.check_count += len(self._rules)
        if now.s >= self._ledger_due_s:
            self._ledger_due_s = now.s + LEDGER_EVERY_S
            self.ledgers_agree(now)
        if self.world.amperio.up:
            mode = self.world.amperio.agent.mode.value
            self.mode_s[mode] = self.mode_s.get(mode, 0) + 1
        if self._wanted:
            self._show(now)

    def _breach(self, now: Moment, rule: str, text: str) -> None:
        if rule in self._open:
            return
        self._open.add(rule)
        self.breach_count += 1
        if len(self.breaches) < BREACHES_KEPT:
            self.breaches.append(Breach(s=now.s, rule=rule, text=text))
        self.world.journal.note(now, "referee", "breach", rule=rule, text=text)

    def _lawless(self, rule: str) -> bool:
        active = self.world.device.station.post.faults.active
        return bool(active) and not LAWLESS[rule].isdisjoint(active)

    # ---- the station ------------------------------------------------------------------------------------------------

    def _power_balance(self, now: Moment) -> str | None:
        """grid + batteries + PV = cars + own consumption, in the physics, every second."""
        flows = self.world.device.station.post.flows
        error = (
            flows.grid_kw + flows.battery_1_kw + flows.battery_2_kw + flows.pv_kw
            - flows.ev_1_kw - flows.ev_2_kw - flows.own_kw
        )  # fmt: skip
        return None if abs(error) <= BALANCE_KW else f"{error:.6f} kW do not balance"

    def _energy_conserved(self, now: Moment) -> str | None:
        """No string gains more than was put in at AC, and no meter counts backwards."""
        post = self.world.device.station.post
        first, second = post.strings
        energy = (first.energy_kwh, second.energy_kwh)
        counters = (post.meter.imported_kwh, post.meter.exported_kwh)
        before, self._energy_kwh = self._energy_kwh, energy
        back = counters[0] < self._counters[0] - 1e-9 or counters[1] < self._counters[1] - 1e-9
        self._counters = counters
        version, self._faults_version = self._faults_version, post.faults.version
        if before is None or not self.world.device.up or post.faults.active or version != post.faults.version:
            return None  # some faults move energy by themselves, at once or while they last
        for index, kw in enumerate((post.flows.battery_1_kw, post.flows.battery_2_kw)):
            gained = energy[index] - before[index]
            if gained > max(-kw, 0.0) / 3600.0 + 1e-9:
                return f"string {index + 1} gained {gained:.6f} kWh from {kw:.3f} kW"
        return "a meter counted backwards" if back else None

    def _import_limit(self, now: Moment) -> str | None:
        """Import stays within what is in force at the station (+2 %), but for one second."""
        post = self.world.device.station.post
        config = self.world.config
        limit = config.grid.import_limit_kw if post.levers.external else post.profile.grid.fallback_clearance_kw
        if post.levers.external and self._dimmed(now):
            limit = min(limit, self.world.operator_kw)
        over = post.flows.grid_kw > max(limit * OVER_RATIO, post.flows.own_kw + 0.1)
        self._over_s = self._over_s + 1.0 if over else 0.0
        if self._over_s <= ALLOWED_S or self._lawless("import_limit"):
            return None
        return f"{post.flows.grid_kw:.2f} kW imported where {limit:g} kW are allowed"

    def _dimmed(self, now: Moment) -> bool:
        """The grid operator's cap has been in force long enough to be obeyed."""
        since_s = max(self.world.dimmed_s, self.world.amperio.since_s, self.world.link.good_since_s)
        return now.s < self.world.operator_until_s and now.s - since_s > DIMMED_WITHIN_S

    def _soc_floor(self, now: Moment) -> str | None:
        """No string is pushed below the hardware's floor."""
        post = self.world.device.station.post
        floor = post.profile.string.floor_pct
        for string in post.strings:
            soc = 100.0 * string.energy_kwh / string.capacity_kwh
            if soc < floor - 0.5 and not self._lawless("soc_floor"):
                return f"a string stands at {soc:.2f} %, below {floor:g} %"
        return None

    # ---- Amperio ----------------------------------------------------------------------------------------------------

    def _autonomy_in_time(self, now: Moment) -> str | None:
        """60 s and one cycle after the last useful exchange, the middleware is on its own."""
        amperio = self.world.amperio
        if not amperio.up or amperio.paused or amperio.disk.hanging:
            return None
        autonomy = amperio.agent.autonomy
        silent_s = now.s - autonomy.last_useful_s
        if silent_s <= autonomy.silent_after_s + SILENCE_SLACK_S or autonomy.mode in ALONE:
            return None
        return f"{autonomy.mode} although nothing useful was heard for {silent_s:.0f} s"

    def _heartbeat(self, now: Moment) -> str | None:
        """While the station obeys and is believed, the last beat is at most a third of the watchdog's time old."""
        amperio = self.world.amperio
        if not amperio.up or amperio.paused:
            return None
        agent = amperio.agent
        if not agent.link_up or not agent.controlled or amperio.disk.hanging:
            return None  # a store that hangs would hang every command too: the beat is withheld on purpose
        if agent.mode in HANDS_OFF or not agent.desk.held.external:
            return None
        if agent.trusted is None or not agent.trusted.fresh:
            return None  # a frozen station gets no beat: its own watchdog shall take over
        age_s, most_s = agent.watchdog.beaten_s_ago(now), agent.watchdog.interval_s / 3.0 + 2.0
        link_s = self.world.link.good_since_s
        if age_s <= most_s or now.s - max(link_s, amperio.since_s) < most_s + 3.0:
            return None
        return f"the last beat is {age_s:.1f} s old"

    def _look_at_writes(self, now: Moment, orders: Orders, outcomes: Outcomes, settled: Settled) -> None:
        """No written limit or request lies outside the envelope: nameplate, configuration, conservative modes."""
        for write in orders.writes:
            if not write.names[0].startswith("management."):
                continue
            allowed_kw = self._allowed_kw()
            for kw in _limits_in(write.names, write.words):
                if kw > allowed_kw + 0.001:
                    self._breach(now, "envelope", f"{kw:.3f} kW written where {allowed_kw:g} kW are allowed")

    def _allowed_kw(self) -> float:
        agent = self.world.amperio.agent
        config = agent.config
        if config is None:
            return 40.0
        limit_kw = min(config.grid.import_limit_kw, 87.0)
        # settle may have just left a conservative mode: what was written in its cycle was written under it.
        return min(limit_kw, config.safety.fallback_import_kw) if agent.mode in CONSERVATIVE else limit_kw

    def _no_expired_command(self, now: Moment) -> str | None:
        """A setpoint past its validity does not act; where nothing is written, nothing acts."""
        amperio = self.world.amperio
        if not amperio.up or amperio.paused or amperio.agent.desk.energy is None or not amperio.agent.link_up:
            return None
        if amperio.agent.mode in HANDS_OFF:
            return None
        entry = amperio.agent.desk.energy
        late_s = (amperio.clock.now().at - entry.record.valid_until).total_seconds()
        if late_s <= 1.0 or entry.record.command == "stop":
            return None
        return f"{entry.command_id} acts {late_s:.0f} s after its end"

    def _confirmed_is_stored(self, now: Moment) -> str | None:
        """What Amperio takes for confirmed is stored, rejected or declared at Enexa."""
        amperio = self.world.amperio
        if not amperio.up:
            return None
        stream = self.world.enexa.archive.streams.get(amperio.stream_epoch)
        through = stream.ranges.through if stream else 0
        believed = amperio.outbox.stored_through
        return None if believed <= through else f"number {believed} is taken for stored, {through} is"

    def _queues_bounded(self, now: Moment) -> str | None:
        """No queue grows beyond its bound."""
        amperio = self.world.amperio
        if not amperio.up:
            return None
        if amperio.outbox.rows > amperio.outbox.rows_max + 3600:
            return f"{amperio.outbox.rows} rows in the buffer"
        return None if self.world.post.pending_count < 1000 else "more than 1000 messages under way"

    def _fair_means_online(self, now: Moment) -> str | None:
        """Where nothing has been wrong for a while, the middleware is online: else a run proves little."""
        if not self._fair(now):
            self._fair_since_s = now.s
            return None
        mode = self.world.amperio.agent.mode
        if mode is Mode.ONLINE or now.s - self._fair_since_s < HEALED_WITHIN_S:
            return None
        return f"{mode} although nothing has been wrong for {now.s - self._fair_since_s:.0f} s"

    def _fair(self, now: Moment) -> bool:
        world = self.world
        amperio, enexa = world.amperio, world.enexa
        if not (amperio.up and enexa.up and world.device.up) or amperio.paused or enexa.paused:
            return False
        struck, self._struck = self._struck, world.device.faults.total()
        if world.device.station.post.faults.active or struck != self._struck or amperio.locks.locked(amperio.site_id):
            return False
        if amperio.clock.error_s or enexa.clock.error_s:
            return False
        return world.troubled_until_s < now.s

    def _no_bug(self, now: Moment) -> str | None:
        """No loop of either twin has ended in anything but a SiteError."""
        bugs = [*self.world.amperio.bugs, *self.world.enexa.bugs]
        return "; ".join(bugs[-3:]) if bugs else None

    def _faults_wake_their_rules(self, now: Moment) -> str | None:
        """Each fault of the catalogue is noticed in its time."""
        late = self.world.watchman.late
        if not late:
            return None
        told = "; ".join(late)
        late.clear()
        return told

    # ---- Enexa ------------------------------------------------------------------------------------------------------

    def _now_never_goes_back(self, now: Moment) -> str | None:
        """The newest sample that Enexa shows never gets older."""
        enexa = self.world.enexa
        if not enexa.up or enexa.core.latest is None:
            return None
        shown_at = enexa.core.latest.timestamp.timestamp()
        before, self._shown_at = self._shown_at, shown_at
        return None if shown_at >= before else "history was shown as now"

    def _heard(self, now: Moment, sample: Telemetry, live: bool) -> None:
        assert sample.sequence is not None
        if live and self._sequence and sample.sequence < self._sequence:
            self._breach(now, "live_in_order", f"{sample.sequence} came live after {self._sequence}")
        if live:
            self._sequence = sample.sequence

    def commanded(self, now: Moment, command_id: str, status: str) -> None:
        """A record changed: a final state is final."""
        before = self._final.get(command_id)
        if before is not None and before != status:
            self._breach(now, "one_final_state", f"{command_id} was {before} and became {status}")
        if status in FINAL:
            self._final[command_id] = status

    def ledgers_agree(self, now: Moment) -> int:
        """Every number given is stored or declared at Enexa, or on Amperio's disk; how many are not."""
        amperio, archive = self.world.amperio, self.world.enexa.archive
        store = amperio.disk.connection
        if store is None:
            return 0  # nobody can read the disk of a machine that is down
        stream = archive.streams.get(amperio.stream_epoch)
        known = stream.ranges if stream else None
        through = known.through if known else 0
        next_seq = tables.cursor_of(store, amperio.site_id).next_seq
        rows = {
            seq
            for (seq,) in store.execute(
                "SELECT seq FROM samples WHERE site = ? AND seq > ?", (amperio.site_id, through)
            )
        }
        lost = [seq for seq in range(through + 1, next_seq) if (known is None or seq not in known) and seq not in rows]
        if lost:
            self._breach(now, "nothing_lost", f"{len(lost)} numbers are nowhere, the first is {lost[0]}")
        return len(lost)

    # ---- money and energy -------------------------------------------------------------------------------------------

    def _keep_book(self, now: Moment) -> None:
        flows = self.world.device.station.post.flows
        grid_kw = flows.grid_kw
        book = self.book
        quarter = int(now.at.timestamp() - 1.0) // SLOT_S
        if quarter != self._quarter:
            self.peak_kw = max(self.peak_kw, self._quarter_kwh * 4.0)
            self._quarter, self._quarter_kwh = quarter, 0.0
            self._price_eur_per_kwh = self.world.price_eur_per_mwh(now) / 1000.0
        if grid_kw >= 0.0:
            book.import_kws += grid_kw
            tariff = self.world.config.tariff
            self.cost_eur += grid_kw * (self._price_eur_per_kwh + tariff.fees_eur_per_kwh) / 3600.0
        else:
            book.export_kws -= grid_kw
        self._quarter_kwh += grid_kw / 3600.0
        book.ev_kws += flows.ev_1_kw + flows.ev_2_kw
        book.own_kws += flows.own_kw
        book.pv_kws += flows.pv_kw
        self.clipped_kwh += flows.curtailed_kw / 3600.0
        for kw in (flows.battery_1_kw, flows.battery_2_kw):
            if kw > 0.0:
                book.discharge_kws += kw
            else:
                book.charge_kws -= kw

    def _show(self, now: Moment) -> None:
        post = self.world.device.station.post
        flows = post.flows
        up = self.world.amperio.up
        if now.s < self.world.operator_until_s and flows.grid_kw > self.world.operator_kw * OVER_RATIO:
            self.over_cap_s += 1
        agent = self.world.amperio.agent
        self.world.judge.observe(
            now.s,
            {
                "grid_import_kw": max(flows.grid_kw, 0.0),
                "grid_export_kw": max(-flows.grid_kw, 0.0),
                "battery_kw": flows.battery_1_kw + flows.battery_2_kw,
                "ev_kw": flows.ev_1_kw + flows.ev_2_kw,
                "curtailed_kw": flows.curtailed_kw,
                "within_cap": flows.grid_kw <= max(self.world.operator_kw * OVER_RATIO, flows.own_kw + 0.1),
                "soc_pct": min(100.0 * each.energy_kwh / each.capacity_kwh for each in post.strings),
                "energy_balance_error_kw": abs(
                    flows.grid_kw + flows.battery_1_kw + flows.battery_2_kw + flows.pv_kw
                    - flows.ev_1_kw - flows.ev_2_kw - flows.own_kw
                ),
                "mode": agent.mode.value if up else "down",
                "external_control": post.levers.external,
                "link_up": up and agent.link_up,
                "buffered_count": self.world.amperio.outbox.pending_count,
            },
        )  # fmt: skip


class _Book(Struct):
    """Sums of kW over seconds."""

    import_kws: float = 0.0
    export_kws: float = 0.0
    ev_kws: float = 0.0
    own_kws: float = 0.0
    pv_kws: float = 0.0
    charge_kws: float = 0.0
    discharge_kws: float = 0.0

    def energies(self) -> EnergyBook:
        return EnergyBook(
            import_kwh=self.import_kws / 3600.0,
            export_kwh=self.export_kws / 3600.0,
            ev_kwh=self.ev_kws / 3600.0,
            pv_kwh=self.pv_kws / 3600.0,
            aux_kwh=self.own_kws / 3600.0,
            charged_kwh=self.charge_kws / 3600.0,
            discharged_kwh=self.discharge_kws / 3600.0,
        )


_CLEARANCE, _REQUEST = MANAGEMENT.fields["clearance_kw"], MANAGEMENT.fields["request_kw"]


def _limits_in(names: tuple[str, ...], words: tuple[int, ...]) -> list[float]:
    """The limits and requests that a write to the management block sets, kW."""
    found: list[float] = []
    at = 0
    for name in names:
        field = MANAGEMENT.fields[name.removeprefix("management.")]
        if field is _CLEARANCE or field is _REQUEST:
            value = field.decode(words[at : at + field.words])
            if isinstance(value, float):
                found.append(abs(value))
        at += field.words
    return found
