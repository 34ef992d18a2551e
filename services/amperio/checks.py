"""What can be wrong inside Amperio, question by question; each answer is true within ten seconds."""

import shutil
from pathlib import Path

from services.amperio.lane import CRASH_WINDOW_S, SiteLane
from services.amperio.site.autonomy import HANDS_OFF
from services.amperio.site.telemetry import names
from services.amperio.store.database import Database
from shared.contract.reads import Check
from shared.contract.telemetry import Mode
from shared.moment import Moment

STORE_STUCK_S = 5.0
FULL_PCT = 90.0
DISK_LEAST_BYTES = 64 * 1024 * 1024
SILENT_S = 8.0
"""Without a single exchange for so long, though none failed: the loops that talk to Enexa do not run."""
CLOCK_TOLD_S = 60.0
GOOD_MODES = (Mode.ONLINE, Mode.RESYNC)


def store_check(database: Database) -> Check:
    """Without it no command can be taken."""
    if database.failing is not None:
        return Check(name="store", ok=False, detail=database.failing)
    if database.stuck_s > STORE_STUCK_S:
        return Check(name="store", ok=False, detail=f"no answer for {database.stuck_s:.0f} s")
    return Check(name="store", ok=True)


def disk_checks(database: Database, max_bytes: int) -> tuple[Check, ...]:
    """How much room there is, in our own file and around it, and whether a damaged file was put aside at the start."""
    used_pct = 100.0 * _size(database.path) / max_bytes
    free = shutil.disk_usage(database.path.parent).free
    aside = database.quarantined
    return (
        _check("store_size", used_pct < FULL_PCT, f"{used_pct:.0f} % of {max_bytes // 2**20} MB used"),
        _check("disk", free >= DISK_LEAST_BYTES, f"{free // 2**20} MB left on the disk"),
        _check("store_history", aside is None, f"a damaged store was put aside: {aside.name if aside else ''}"),
    )


def site_checks(lane: SiteLane, now: Moment) -> tuple[Check, ...]:
    """From the loop itself outwards: the station, our control of it, Enexa, what we keep."""
    agent, mode = lane.agent, lane.agent.mode
    image, trusted = agent.image, agent.trusted
    errors = names(image.error_bits) if image is not None else ()
    silent_s = now.s - agent.autonomy.last_useful_s
    patience_s = SILENT_S + (agent.config.telemetry.period_s if agent.config else 1.0)
    used_pct = lane.buffering(now).capacity_used_pct
    bugs = lane.restarts_within(now, CRASH_WINDOW_S)
    questions = (
        ("lane", lane.alive(now), "the control loop does not run"),
        ("bugs", not (bugs or agent.guarded), f"the control loop met {bugs} bugs in the last ten minutes"),
        ("modbus", agent.link_up, "no link to the station"),
        ("readable", not agent.link_up or image is None or image.valid, "the station says nothing that can be used"),
        ("registers", not lane.refused_registers, f"refused by the station: {sorted(lane.refused_registers)}"),
        ("fresh", trusted is None or trusted.fresh, "the station's registers stand still"),
        ("faults", not errors, "the station reports " + ", ".join(errors)),
        ("control", not agent.link_up or mode in HANDS_OFF or agent.controlled, "the station does not obey setpoints"),
        ("heartbeat", not agent.heartbeat_withheld, "withheld: " + ", ".join(agent.heartbeat_withheld)),
        ("rival", not agent.rivals.present(now), "somebody else writes the station's registers"),
        (
            "fallback",
            agent.unsafe_fallback_kw is None,
            f"without control it would import up to {agent.unsafe_fallback_kw} kW",
        ),
        ("lock", mode is not Mode.LOCKED, "locked on site"),
        ("enexa", not lane.courier.troubled, f"no useful answer for {silent_s:.0f} s"),
        ("forwarding", lane.courier.troubled or silent_s <= patience_s, f"nothing was exchanged for {silent_s:.0f} s"),
        ("dead_letters", not lane.dead_letters.present(now), "Enexa refuses samples for good; they are kept aside"),
        ("config", agent.config is not None, "no configuration yet"),
        ("config_version", agent.refused_version is None, f"version {agent.refused_version} was rejected"),
        ("mode", mode in GOOD_MODES, f"mode {mode}"),
        ("clock", not agent.clock_stepped(now, CLOCK_TOLD_S), "the clock was set less than a minute ago"),
        ("buffer", used_pct < FULL_PCT, f"{used_pct:.0f} % used"),
    )
    return tuple(_check(f"{lane.site_id}.{name}", ok, why) for name, ok, why in questions)


def _check(name: str, ok: bool, why: str) -> Check:
    return Check(name=name, ok=ok, detail="" if ok else why)


def _size(path: Path) -> int:
    return sum(each.stat().st_size for each in (path, path.with_name(path.name + "-wal")) if each.exists())
