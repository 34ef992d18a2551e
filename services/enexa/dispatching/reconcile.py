"""After an outage: the page's four steps, one after the other, each recorded with what it found (pure).

    state_sync -> replan -> redispatch -> history

No command leaves before the second step is done, so nothing is ever computed from the state before the outage. Another
outage interrupts the procedure wherever it stands; the next reconnection begins a new one.
"""

from datetime import datetime
from enum import StrEnum

import msgspec
from msgspec import Struct

from shared.moment import Moment

STATE_WITHIN_S = 30.0
PLAN_WITHIN_S = 300.0
DISPATCH_WITHIN_S = 60.0
HISTORY_WITHIN_S = 1800.0


class StepName(StrEnum):
    STATE_SYNC = "state_sync"
    REPLAN = "replan"
    REDISPATCH = "redispatch"
    HISTORY = "history"


ORDER = tuple(StepName)
LIMITS_S = {
    StepName.STATE_SYNC: STATE_WITHIN_S,
    StepName.REPLAN: PLAN_WITHIN_S,
    StepName.REDISPATCH: DISPATCH_WITHIN_S,
    StepName.HISTORY: HISTORY_WITHIN_S,
}


class StepState(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    GIVEN_UP = "given_up"
    INTERRUPTED = "interrupted"


class ReconcileStep(Struct, frozen=True, kw_only=True):
    name: str
    state: str = StepState.WAITING.value
    at: datetime | None = None
    note: str = ""


class Metrics(Struct, frozen=True, kw_only=True):
    """What the outage comes to by what is stored of it; money as far as prices are known."""

    coverage_pct: float
    import_kwh: float
    cost_eur: float


class ReconcileView(Struct, frozen=True, kw_only=True):
    """One reconnection: the page's four steps, each with what it found."""

    record_id: str
    site_id: str
    cause: str
    started_at: datetime
    steps: tuple[ReconcileStep, ...]
    outage_s: float | None = None
    expected_soc_pct: float | None = None
    actual_soc_pct: float | None = None
    missed_samples: int = 0
    replayed_samples: int = 0
    missed_events: int = 0
    missed_sessions: int = 0
    schedule_version: int | None = None
    commands_verified: tuple[str, ...] = ()
    metrics_before: Metrics | None = None
    metrics_after: Metrics | None = None
    finished_at: datetime | None = None
    interrupted: bool = False


class Reconciliation:
    """One run of the procedure."""

    def __init__(
        self,
        now: Moment,
        *,
        record_id: str,
        site_id: str,
        cause: str,
        outage_s: float | None,
        expected_soc_pct: float | None,
    ) -> None:
        steps = tuple(ReconcileStep(name=name.value) for name in ORDER)
        self._view = ReconcileView(
            record_id=record_id,
            site_id=site_id,
            cause=cause,
            started_at=now.at,
            steps=steps,
            outage_s=outage_s,
            expected_soc_pct=expected_soc_pct,
        )
        self._index = 0
        self._since_s = now.s
        self._changed = True
        self._set(now, StepState.RUNNING, "")

    @property
    def view(self) -> ReconcileView:
        return self._view

    @property
    def step(self) -> StepName | None:
        """The step that runs; None where the procedure has ended."""
        return ORDER[self._index] if self._view.finished_at is None else None

    @property
    def holds_commands_back(self) -> bool:
        return self.step in (StepName.STATE_SYNC, StepName.REPLAN)

    def take_changed(self) -> bool:
        changed, self._changed = self._changed, False
        return changed

    def state_known(self, now: Moment, actual_soc_pct: float | None) -> None:
        if self.step is StepName.STATE_SYNC:
            expected = self._view.expected_soc_pct
            self._note(actual_soc_pct=actual_soc_pct)
            if expected is None or actual_soc_pct is None:
                self._finish_step(now, "no expectation to compare with")
            else:
                self._finish_step(now, f"{actual_soc_pct:.1f} % where {expected:.1f} % were expected")

    def planned(self, now: Moment, version: int) -> None:
        if self.step is StepName.REPLAN:
            self._note(schedule_version=version)
            self._finish_step(now, f"plan {version} made from the state after the outage")

    def verified(self, now: Moment, command_id: str) -> None:
        if self.step is StepName.REDISPATCH:
            self._note(commands_verified=(*self._view.commands_verified, command_id))
            self._finish_step(now, f"{command_id} verified")

    def nothing_to_dispatch(self, now: Moment, why: str) -> None:
        if self.step is StepName.REDISPATCH:
            self._finish_step(now, why)

    def replayed(self, samples: int) -> None:
        """Samples older than the newest one arrived: the buffer is being emptied."""
        if self._view.finished_at is None and samples > 0:
            self._note(replayed_samples=self._view.replayed_samples + samples)

    def missed(self, *, samples: int, events: int, sessions: int) -> None:
        """What the shell found that it had not heard of in time."""
        found = (samples, events, sessions)
        if found != (self._view.missed_samples, self._view.missed_events, self._view.missed_sessions):
            self._note(missed_samples=samples, missed_events=events, missed_sessions=sessions)

    def measured(self, *, before: Metrics | None = None, after: Metrics | None = None) -> None:
        """The metrics of the outage as they stood at the reconnection, and computed anew from all that was replayed."""
        if before is not None and self._view.metrics_before is None:
            self._note(metrics_before=before)
        if after is not None and self._view.metrics_after != after:
            self._note(metrics_after=after)

    def history_complete(self, now: Moment, note: str) -> None:
        if self.step is StepName.HISTORY:
            self._finish_step(now, note)

    def interrupt(self, now: Moment, why: str) -> None:
        """The link is gone again."""
        if self._view.finished_at is not None:
            return
        self._set(now, StepState.INTERRUPTED, why)
        self._note(finished_at=now.at, interrupted=True)

    def tick(self, now: Moment) -> None:
        """A step that takes too long is given up, and the procedure goes on: a site must not wait for ever."""
        step = self.step
        if step is not None and now.s - self._since_s > LIMITS_S[step]:
            self._finish_step(now, f"not done within {LIMITS_S[step]:.0f} s", StepState.GIVEN_UP)

    # ---- inside -----------------------------------------------------------------------------------------------------

    def _finish_step(self, now: Moment, note: str, state: StepState = StepState.DONE) -> None:
        self._set(now, state, note)
        if self._index + 1 == len(ORDER):
            self._note(finished_at=now.at)
            return
        self._index += 1
        self._since_s = now.s
        self._set(now, StepState.RUNNING, "")

    def _set(self, now: Moment, state: StepState, note: str) -> None:
        steps = list(self._view.steps)
        steps[self._index] = ReconcileStep(name=ORDER[self._index].value, state=state.value, at=now.at, note=note)
        self._note(steps=tuple(steps))

    def _note(self, **found: object) -> None:
        self._view = msgspec.structs.replace(self._view, **found)
        self._changed = True


def ended_by_restart(view: ReconcileView, now: Moment) -> ReconcileView:
    """The record of a procedure whose process ended before it did; another one begins at the start."""
    steps = tuple(
        msgspec.structs.replace(each, state=StepState.INTERRUPTED.value, at=now.at, note="the platform was restarted")
        if each.state == StepState.RUNNING
        else each
        for each in view.steps
    )
    return msgspec.structs.replace(view, steps=steps, finished_at=now.at, interrupted=True)
