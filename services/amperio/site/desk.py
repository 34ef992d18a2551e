"""The desk where commands wait for their registers: released, tried, and closed with one final state."""

import msgspec
from msgspec import Struct

from services.amperio.site.control import Setpoint, Wish
from services.amperio.site.facts import Fact, fact
from services.amperio.site.ledger import Entry, Ledger, group_of
from services.amperio.site.limits import Held
from services.amperio.site.orders import Outcome
from shared.contract.dispatch import (
    ApplySchedule,
    CommandStatus,
    SetBatteryPower,
    SetChargerLimit,
    SetChargingMode,
    SetGridLimit,
    SetGridRequest,
    SetOperationMode,
    SetSocWindow,
    Stop,
    Test,
)
from shared.contract.schedule import SiteSchedule
from shared.contract.telemetry import LimitedBy
from shared.errors import ReadbackMismatch
from shared.moment import Moment

APPLY_WITHIN_S = 15.0
ATTEMPTS_MAX = 3

WRITES_OF = {
    "energy": ("management.request_kw", "management.grid_mode", "control.grid_target_kw"),
    "set_grid_limit": ("management.clearance_kw",),
    "set_soc_window": ("config.soc_",),
    "set_charger_limit": ("control.ev_limit_kw",),
    "set_charging_mode": ("control.charging_mode",),
    "set_operation_mode": ("management.operation_mode",),
}
"""Which registers a group of commands stands or falls with; charger groups carry their number at the end."""


FIELDS_OF = {
    "set_grid_limit": ("grid_limit_kw",),
    "set_soc_window": ("reserve_pct", "soc_max_pct"),
    "set_charger_limit": ("charger_limits_kw",),
    "set_charging_mode": ("charging_modes",),
    "set_operation_mode": ("external",),
}
"""What such a command left in `Held`, and what goes back if the station refuses it."""


class Pending(Struct, kw_only=True):
    """One released command that is not closed yet, and what to go back to if the device says no."""

    entry: Entry
    group: str
    since_s: float | None = None
    """Of the first attempt to write it."""
    attempts: int = 0
    last_code: str | None = None
    held_before: Held | None = None
    energy_before: Entry | None = None
    schedule_before: SiteSchedule | None = None


class Desk:
    """Commands in force and commands on their way, of one site."""

    def __init__(self, ledger: Ledger, *, held: Held, energy_id: str | None, schedule: SiteSchedule | None) -> None:
        self.ledger = ledger
        self.held = held
        self.schedule = schedule
        self.energy = ledger.find(energy_id) if energy_id else None
        self.fresh_plan = False
        self.facts: list[Fact] = []
        self._pending: dict[str, Pending] = {}
        self._closed: list[Entry] = []

    def release(self, now: Moment, command_id: str) -> None:
        """A durable command may act from now on; an older one of its group that still waits is superseded."""
        entry = self.ledger.find(command_id)
        if entry is None or not entry.is_open:
            return
        group = group_of(entry.command)
        waiting = self._pending.pop(group, None)
        if waiting is not None:
            self._close(now, waiting, CommandStatus.SUPERSEDED, detail=f"by {command_id}")
        pending = Pending(
            entry=entry,
            group=group,
            held_before=waiting.held_before if waiting else self.held,
            energy_before=waiting.energy_before if waiting else self.energy,
            schedule_before=waiting.schedule_before if waiting else self.schedule,
        )
        self._pending[group] = pending
        self._take_in(pending)

    def _take_in(self, pending: Pending) -> None:
        command = pending.entry.command
        match command:
            case SetBatteryPower() | SetGridRequest() | Stop():
                self.energy, self.fresh_plan = pending.entry, True
            case ApplySchedule():
                self.energy, self.fresh_plan = None, True
                self.schedule = SiteSchedule(
                    site_id=command.site_id,
                    version=command.params.version,
                    valid_from=command.params.valid_from,
                    valid_until=command.params.valid_until,
                    slots=command.params.slots,
                    made_at=command.timestamp,
                )
            case SetGridLimit():
                self.held = _with(self.held, grid_limit_kw=command.params.import_kw)
            case SetSocWindow():
                self.held = _with(self.held, reserve_pct=command.params.reserve_pct, soc_max_pct=command.params.max_pct)
            case SetChargerLimit():
                limits = _at(self.held.charger_limits_kw, command.params.charger, command.params.power_kw)
                self.held = _with(self.held, charger_limits_kw=limits)
            case SetChargingMode():
                modes = _at(self.held.charging_modes, command.params.charger, command.params.mode)
                self.held = _with(self.held, charging_modes=modes)
            case SetOperationMode():
                self.held = _with(self.held, external=command.params.mode == "external")
            case Test():
                pass

    def wish(self, now: Moment) -> Wish | None:
        """What the command in force asks for; None without one."""
        if self.energy is None:
            return None
        command = self.energy.command
        if not isinstance(command, Stop) and now.at >= self.energy.record.valid_until:
            self.facts.append(fact("command_ended", command_id=self.energy.command_id))
            self.energy = None
            return None
        if isinstance(command, SetBatteryPower):
            return Wish(quantity="battery", kw=command.params.power_kw, command_id=self.energy.command_id)
        if isinstance(command, SetGridRequest):
            return Wish(quantity="import", kw=command.params.import_kw, command_id=self.energy.command_id)
        return Wish(quantity="battery", kw=0.0, command_id=self.energy.command_id, source="stop")

    def active_command_id(self) -> str | None:
        """The energy command whose setpoint the registers hold."""
        if self.energy is None:
            return None
        entry = self.ledger.find(self.energy.command_id)
        return entry.command_id if entry and entry.record.status is CommandStatus.APPLIED else None

    def waiting(self, group: str | None = None) -> tuple[Pending, ...]:
        return tuple(each for each in self._pending.values() if group in (None, each.group))

    def expire(self, now: Moment) -> None:
        """Close what was not applied in time: by its own validity, or by our patience with the device."""
        for pending in self.waiting():
            if now.at >= pending.entry.record.valid_until:
                self._undo(pending)
                detail = f"not applied in time: {pending.last_code}" if pending.last_code else "not applied in time"
                self._close(now, pending, CommandStatus.EXPIRED, detail=detail)
            elif pending.since_s is not None and now.s - pending.since_s > APPLY_WITHIN_S:
                self._fail(now, pending)

    def apply(
        self,
        now: Moment,
        pending: Pending,
        setpoint: Setpoint | None,
        applied_kw: float | None,
        detail: str | None = None,
    ) -> None:
        """The registers hold it, read back."""
        limited: tuple[LimitedBy, ...] = setpoint.aim.limited_by if setpoint and setpoint.aim else ()
        self._close(now, pending, CommandStatus.APPLIED, applied_kw=applied_kw, limited_by=limited, detail=detail)

    def judge(self, now: Moment, pending: Pending, outcomes: tuple[Outcome, ...]) -> bool:
        """Take in what became of this command's writes; False where it is closed now or must wait."""
        mine = [outcome for outcome in outcomes if _belongs(outcome, pending.group)]
        refused = next((outcome for outcome in mine if outcome.refused), None)
        if refused is not None:
            self._undo(pending)
            self._close(
                now, pending, CommandStatus.REJECTED, code=refused.error_code, detail="the station refused the write"
            )
            return False
        wrong = next((outcome for outcome in mine if not outcome.confirmed), None)
        if wrong is None:
            return True
        if pending.since_s is None:
            pending.since_s = now.s
        pending.attempts += 1
        pending.last_code = wrong.error_code or ReadbackMismatch.code
        if pending.attempts >= ATTEMPTS_MAX and wrong.words is not None:
            self._fail(now, pending)
        return False

    def not_in_control(self, now: Moment, pending: Pending) -> None:
        """Written and read back, but the station does not obey: that is not applied."""
        pending.since_s = now.s if pending.since_s is None else pending.since_s
        pending.last_code = "not_in_control"

    def take_closed(self) -> tuple[Entry, ...]:
        closed, self._closed = tuple(self._closed), []
        return closed

    def _fail(self, now: Moment, pending: Pending) -> None:
        self._undo(pending)
        self._close(
            now,
            pending,
            CommandStatus.FAILED,
            code=pending.last_code,
            detail="the registers do not hold it" if pending.last_code == ReadbackMismatch.code else None,
        )

    def _undo(self, pending: Pending) -> None:
        """Back to what held before this command, unless something newer came since."""
        if pending.group == "energy":
            self.energy, self.schedule = pending.energy_before, pending.schedule_before
        elif pending.held_before is not None:
            mine = FIELDS_OF.get(pending.group.rstrip("_12"), ())
            self.held = _with(self.held, **{name: getattr(pending.held_before, name) for name in mine})

    def _close(
        self,
        now: Moment,
        pending: Pending,
        status: CommandStatus,
        *,
        applied_kw: float | None = None,
        limited_by: tuple[LimitedBy, ...] = (),
        code: str | None = None,
        detail: str | None = None,
    ) -> None:
        if self._pending.get(pending.group) is pending:
            del self._pending[pending.group]
        entry = self.ledger.close(
            now,
            pending.entry.command_id,
            status,
            applied_kw=applied_kw,
            limited_by=limited_by,
            code=code,
            detail=detail,
        )
        self._closed.append(entry)
        self.facts.append(
            fact(
                f"command_{status.value}",
                command_id=entry.command_id,
                command=entry.record.command,
                applied_kw=entry.record.applied_kw,
                code=code,
            )
        )


def _belongs(outcome: Outcome, group: str) -> bool:
    base, number = (group[:-2], group[-1]) if group[-2:] in ("_1", "_2") else (group, "")
    wanted = WRITES_OF.get(base, ())
    return any(
        part in name and (not number or name.startswith(f"charger_{number}."))
        for name in outcome.write.names
        for part in wanted
    )


def _with(held: Held, **changes: object) -> Held:
    return msgspec.structs.replace(held, **changes)


def _at(pair: tuple[object, object], number: int, value: object) -> tuple[object, object]:
    return (value, pair[1]) if number == 1 else (pair[0], value)
