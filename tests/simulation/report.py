"""What a run has shown: hashes, ledgers, energy, money, invariants and the verdict, for people and for machines."""

from collections import Counter
from typing import TYPE_CHECKING

from msgspec import Struct

from services.amperio.store import tables
from shared.contract.config import EnergyBook
from tests.simulation.amperio_side import AmperioSide, entries_of
from tests.simulation.expectations import Verdict
from tests.simulation.invariants import Breach
from tests.simulation.watch import RuleVerdict
from tests.simulation.weather import OF_A_PROGRAM, Kind, Trouble

if TYPE_CHECKING:
    from tests.simulation.world import World


class Samples(Struct, frozen=True, kw_only=True):
    """The sequence ledger, signed off by both ends."""

    kept: int
    numbered: int
    stored: int
    declared_gaps: int
    doubles: int
    rejected: int
    still_buffered: int
    missing: int


class Report(Struct, frozen=True, kw_only=True):
    """One run."""

    scenario: str
    seed: int
    seconds: int
    wire_hash: str
    log_hash: str
    messages: dict[str, int]
    wire_bytes: int
    samples: Samples
    commands: dict[str, int]
    middleware_commands: dict[str, int]
    commands_without_end: int
    events_stored: int
    events_waiting: int
    sessions: int
    plans: int
    alerts: int
    energy: EnergyBook
    clipped_kwh: float
    cost_eur: float
    peak_15min_kw: float
    soc_end_pct: float
    mode_s: dict[str, int]
    troubles: dict[str, int]
    """Messages that a trouble of a link changed, and troubles of programs and of the station that began, by name."""
    injected: dict[str, int]
    """Rows of the plan by name, as far as their time has come."""
    effective: dict[str, int]
    """Those of them that changed a byte or a state."""
    edges: dict[str, int]
    checks: int
    breaches: tuple[Breach, ...]
    breach_count: int
    rules: tuple[RuleVerdict, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def held(self) -> bool:
        """Whether no invariant broke and every expectation held."""
        return self.breach_count == 0 and all(verdict.held for verdict in self.verdicts)

    def lines(self) -> list[str]:
        """The report for a terminal."""
        s, e = self.samples, self.energy
        commands = ", ".join(f"{count} {status}" for status, count in self.commands.items()) or "none"
        taken = ", ".join(f"{count} {status}" for status, count in self.middleware_commands.items()) or "none"
        modes = ", ".join(f"{mode} {seconds} s" for mode, seconds in self.mode_s.items())
        told = [
            f"{self.scenario}, seed {self.seed}: {self.seconds} s, {sum(self.messages.values())} messages",
            (
                f"samples    {s.kept} kept, {s.stored} stored, {s.declared_gaps} declared gaps, {s.doubles} doubles, "
                f"{s.still_buffered} still buffered, {s.missing} missing"
            ),
            f"commands   {commands}; open {self.commands_without_end}",
            f"  taken    {taken}",
            (
                f"events     {self.events_stored} stored, {self.events_waiting} waiting; {self.sessions} sessions; "
                f"{self.plans} plans; {self.alerts} alerts"
            ),
            f"modes      {modes}",
            (
                f"energy     import {e.import_kwh:.2f}, export {e.export_kwh:.2f}, cars {e.ev_kwh:.2f}, "
                f"own {e.aux_kwh:.2f}, PV {e.pv_kwh:.2f}, charged {e.charged_kwh:.2f}, "
                f"discharged {e.discharged_kwh:.2f} kWh"
            ),
            (
                f"money      {self.cost_eur:.2f} EUR for import; highest quarter hour {self.peak_15min_kw:.1f} kW; "
                f"curtailed {self.clipped_kwh:.2f} kWh; SOC at the end {self.soc_end_pct:.1f} %"
            ),
        ]
        if self.troubles:
            told.append("troubles   " + ", ".join(f"{count} {kind}" for kind, count in self.troubles.items()))
        told += ["rule       " + rule.sentence() for rule in self.rules]
        told.append(f"invariants {self.checks} checks, {self.breach_count} breaches")
        told += ["  " + breach.sentence() for breach in self.breaches[:20]]
        told += ["expect     " + verdict.sentence() for verdict in self.verdicts]
        told += [f"log hash   {self.log_hash}", f"wire hash  {self.wire_hash}"]
        told.append(f"verdict    {'held' if self.held else 'BROKEN'}")
        return told


def report_of(world: "World") -> Report:
    """Settle the accounts of a run that has ended."""
    now = world.clock.now()
    amperio, archive, referee = world.amperio, world.enexa.archive, world.referee
    missing = referee.ledgers_agree(now)
    stream = archive.streams.get(amperio.stream_epoch)
    commands: dict[str, int] = {}
    for record in archive.commands.values():
        commands[record.status.value] = commands.get(record.status.value, 0) + 1
    taken: dict[str, int] = {}
    for entry in entries_of(amperio):
        taken[entry.record.status.value] = taken.get(entry.record.status.value, 0) + 1
    open_count = len(archive.open_commands())
    samples = Samples(
        kept=amperio.sample_count,
        numbered=_numbered(amperio),
        stored=stream.stored_count if stream else 0,
        declared_gaps=stream.gap_count if stream else 0,
        doubles=stream.duplicate_count if stream else 0,
        rejected=_put_aside(amperio),
        still_buffered=amperio.outbox.pending_count,
        missing=missing,
    )
    post = world.device.station.post
    energy = referee.book.energies()
    troubles: dict[str, int] = {}
    for weather in (world.to_enexa.weather, world.to_amperio.weather, world.link.weather):
        for kind, count in weather.counts.items():
            troubles[kind.value] = troubles.get(kind.value, 0) + count
    for name, acted in (*world.acted.items(), *world.device.faults.items()):
        troubles[name] = troubles.get(name, 0) + acted
    totals = {
        "telemetry_missing": missing,
        "telemetry_stored": samples.stored,
        "telemetry_doubles": samples.doubles,
        "telemetry_gaps": samples.declared_gaps,
        "telemetry_buffered_at_end": samples.still_buffered,
        "commands_verified": commands.get("verified", 0),
        "commands_failed": commands.get("failed", 0),
        "commands_open": open_count,
        "sessions": len(archive.sessions),
        "alerts": world.enexa.alert_count,
        "plans": world.enexa.plan_count,
        "cost_eur": referee.cost_eur,
        "ev_kwh": energy.ev_kwh,
        "curtailed_kwh": referee.clipped_kwh,
        "peak_15min_kw": referee.peak_kw,
        "soc_end_pct": sum(100.0 * each.energy_kwh / each.capacity_kwh for each in post.strings) / len(post.strings),
        "over_cap_s": referee.over_cap_s,
        "breaches": referee.breach_count,
    }
    return Report(
        scenario=world.options.scenario.name,
        seed=world.options.seed,
        seconds=round(now.s),
        wire_hash=world.recorder.hexdigest(),
        log_hash=world.journal.hexdigest(),
        messages={channel.name.lower(): count for channel, count in world.recorder.counts.items()},
        wire_bytes=world.recorder.byte_count,
        samples=samples,
        commands=dict(sorted(commands.items())),
        middleware_commands=dict(sorted(taken.items())),
        commands_without_end=open_count,
        events_stored=len(archive.events),
        events_waiting=amperio.events.pending_count,
        sessions=len(archive.sessions),
        plans=world.enexa.plan_count,
        alerts=world.enexa.alert_count,
        energy=energy,
        clipped_kwh=referee.clipped_kwh,
        cost_eur=referee.cost_eur,
        peak_15min_kw=referee.peak_kw,
        soc_end_pct=sum(100.0 * each.energy_kwh / each.capacity_kwh for each in post.strings) / len(post.strings),
        mode_s=dict(sorted(referee.mode_s.items())),
        troubles=dict(sorted(troubles.items())),
        injected=dict(sorted(_injected(world).items())),
        effective=dict(sorted(_effective(world).items())),
        edges=dict(sorted(amperio.edges.with_records(archive.commands.values()).items())),
        checks=referee.check_count,
        breaches=tuple(referee.breaches),
        breach_count=referee.breach_count,
        rules=world.watchman.verdicts(),
        verdicts=world.judge.conclude(now.s, totals),
    )


def row_name(trouble: Trouble) -> str:
    """A row of the plan, as coverage counts it."""
    return trouble.name if trouble.kind in OF_A_PROGRAM else trouble.kind.value


def _injected(world: "World") -> Counter[str]:
    planned = [each for each in world.troubles[: world.played_count] if each.kind is not Kind.DEVICE]
    return Counter(row_name(each) for each in planned) + world.device.faults


def _effective(world: "World") -> Counter[str]:
    struck = world.to_enexa.weather.struck | world.to_amperio.weather.struck | world.link.weather.struck
    return Counter(row_name(each) for each in struck) + world.acted_rows + world.device.effective


def _numbered(amperio: AmperioSide) -> int:
    store = amperio.disk.connection
    return 0 if store is None else tables.cursor_of(store, amperio.site_id).next_seq - 1


def _put_aside(amperio: AmperioSide) -> int:
    store = amperio.disk.connection
    return 0 if store is None else tables.dead_letter_count(store, amperio.site_id)
