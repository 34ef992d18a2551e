"""Drills: the failures of the customer's page, what each does, what must then be seen, and the verdict (pure).

A drill cuts a link or lets the station fail for a while. Its checks are judged once a second against what Enexa sees:
each must come true within its time, counted from the beginning or from the end of the failure. A drill has passed when
all of its checks have, and has failed as soon as one is overdue.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from shared.moment import Moment

SOON_S = 30.0
HEALED_WITHIN_S = 240.0
HISTORY_WITHIN_S = 600.0
LIVE_WITHIN_S = 10.0
ALONE_EARLY_S = 5.0
"""Amperio counts from its last good exchange, which may lie this long before the cut."""
ALONE_LATE_S = 12.0


class Way(StrEnum):
    """A conversation that can be cut."""

    OUTWARD = "enexa_amperio"
    INWARD = "amperio_enexa"


class ModeTold(Struct, frozen=True, kw_only=True):
    """A change of mode as the middleware dated it; it may be told much later."""

    at: datetime
    mode: str


class Seen(Struct, frozen=True, kw_only=True):
    """What Enexa knows of a site in one second."""

    now: Moment
    fallback_after_s: float
    reachable: bool
    mode: str | None
    sample_age_s: float | None
    external_control: bool | None
    open_alerts: frozenset[str]
    missing_count: int
    buffered_count: int
    modes_told: tuple[ModeTold, ...] = ()
    reconciled_from: datetime | None = None
    """When the newest reconciliation began."""
    steps_done: frozenset[str] = frozenset()


class Span(Struct, frozen=True, kw_only=True):
    """How long a failure lasts."""

    began: Moment
    for_s: float

    def elapsed_s(self, now: Moment) -> float:
        return now.since(self.began)

    def is_over(self, now: Moment) -> bool:
        return self.elapsed_s(now) >= self.for_s


Holds = Callable[[Seen, Span], bool]


class Check(Struct, frozen=True, kw_only=True):
    """Something that must come true within `within_s`; `afterwards` counts from the end of the failure."""

    sentence: str
    within_s: float
    holds: Holds
    afterwards: bool = False


class Fault(Struct, frozen=True, kw_only=True):
    """A fault of the emulator's own catalogue."""

    name: str
    options: Mapping[str, float] = {}


class Drill(Struct, frozen=True, kw_only=True):
    """One failure that can be made, and what each side does about it."""

    key: str
    title: str
    does: str
    for_s: float
    checks: tuple[Check, ...]
    cuts: tuple[Way, ...] = ()
    fault: Fault | None = None
    enexa: tuple[str, ...] = ()
    amperio: tuple[str, ...] = ()
    seen: str = ""


class Outcome(StrEnum):
    WAITING = "waiting"
    HELD = "held"
    FAILED = "failed"


class Finding(Struct, frozen=True, kw_only=True):
    """One check's state; `after_s` is when it held, or was given up, counted as the check counts."""

    sentence: str
    within_s: float
    afterwards: bool
    outcome: Outcome = Outcome.WAITING
    after_s: float | None = None


class DrillView(Struct, frozen=True, kw_only=True):
    """One run of a drill."""

    key: str
    began_at: datetime
    by: str
    failing: bool
    findings: tuple[Finding, ...]
    verdict: Outcome


class DrillRun:
    """Judges one drill while it goes on."""

    def __init__(self, drill: Drill, began: Moment, by: str) -> None:
        self._drill = drill
        self._span = Span(began=began, for_s=drill.for_s)
        self._by = by
        self._findings = [
            Finding(sentence=each.sentence, within_s=each.within_s, afterwards=each.afterwards) for each in drill.checks
        ]
        self._failing = True

    @property
    def is_finished(self) -> bool:
        return all(each.outcome is not Outcome.WAITING for each in self._findings)

    def tick(self, seen: Seen) -> None:
        """Judge one second; what is settled stays settled."""
        self._failing = not self._span.is_over(seen.now)
        for index, check in enumerate(self._drill.checks):
            if self._findings[index].outcome is Outcome.WAITING:
                self._findings[index] = self._judged(check, self._findings[index], seen)

    def view(self) -> DrillView:
        outcomes = {each.outcome for each in self._findings}
        verdict = next((each for each in (Outcome.FAILED, Outcome.WAITING) if each in outcomes), Outcome.HELD)
        return DrillView(
            key=self._drill.key,
            began_at=self._span.began.at,
            by=self._by,
            failing=self._failing,
            findings=tuple(self._findings),
            verdict=verdict,
        )

    def _judged(self, check: Check, finding: Finding, seen: Seen) -> Finding:
        after_s = self._span.elapsed_s(seen.now) - (self._span.for_s if check.afterwards else 0.0)
        if after_s < 0.0:
            return finding
        outcome = finding.outcome
        if after_s > check.within_s:
            outcome = Outcome.FAILED
        elif check.holds(seen, self._span):
            outcome = Outcome.HELD
        return finding if outcome is Outcome.WAITING else _settled(finding, outcome, after_s)


def _settled(finding: Finding, outcome: Outcome, after_s: float) -> Finding:
    return Finding(
        sentence=finding.sentence,
        within_s=finding.within_s,
        afterwards=finding.afterwards,
        outcome=outcome,
        after_s=after_s,
    )


# ---- what may be seen ------------------------------------------------------------------------------------------------


def _silent(seen: Seen, _: Span) -> bool:
    return not seen.reachable


def _answers(seen: Seen, _: Span) -> bool:
    return seen.reachable


def _live(seen: Seen, _: Span) -> bool:
    return seen.sample_age_s is not None and seen.sample_age_s <= LIVE_WITHIN_S


def _lost(seen: Seen, _: Span) -> bool:
    return seen.sample_age_s is not None and seen.sample_age_s > 60.0


def _alert_in_time(seen: Seen, span: Span) -> bool:
    return span.elapsed_s(seen.now) >= 55.0 and "middleware_silent" in seen.open_alerts


def _alert_cleared(seen: Seen, _: Span) -> bool:
    return "middleware_silent" not in seen.open_alerts


def _acted_alone(seen: Seen, span: Span) -> bool:
    """Told by the middleware's own events, which arrive with the replay."""
    return any(
        told.mode in ("autonomous", "safe")
        and -ALONE_EARLY_S <= (told.at - span.began.at).total_seconds() - seen.fallback_after_s <= ALONE_LATE_S
        for told in seen.modes_told
    )


def _nothing_missing(seen: Seen, span: Span) -> bool:
    return seen.missing_count == 0 and seen.buffered_count <= 5 and _live(seen, span)


def _online(seen: Seen, span: Span) -> bool:
    return seen.mode == "online" and _live(seen, span)


def _device_lost(seen: Seen, span: Span) -> bool:
    return any(told.mode == "device_lost" and told.at >= span.began.at for told in seen.modes_told)


def _station_alone(seen: Seen, span: Span) -> bool:
    return seen.external_control is False and _live(seen, span)


def _controlled(seen: Seen, span: Span) -> bool:
    return seen.external_control is True and _live(seen, span)


def _step(name: str) -> Holds:
    def holds(seen: Seen, span: Span) -> bool:
        begun = seen.reconciled_from is not None and seen.reconciled_from >= span.began.at
        return begun and name in seen.steps_done

    return holds


BACK_ONLINE = Check(sentence="The site is online again", within_s=HEALED_WITHIN_S, holds=_online, afterwards=True)

DRILLS: tuple[Drill, ...] = (
    Drill(
        key="enexa_cannot_reach_amperio",
        title="Enexa cannot reach Amperio",
        does="cuts what Enexa sends to Amperio for 80 seconds",
        for_s=80.0,
        cuts=(Way.OUTWARD,),
        enexa=(
            "retries after 1, 2, 4 … seconds, at most 60 s apart",
            "keeps setpoints waiting; after the outage exactly one is sent, computed anew",
            "raises an alert after 60 seconds, once",
        ),
        amperio=("goes on with the schedule it has while that is valid",),
        seen="Links on Site Monitoring, the alert, expired and superseded commands in the dispatch log",
        checks=(
            Check(sentence="Enexa notices that nobody answers", within_s=SOON_S, holds=_silent),
            Check(sentence="An alert is raised after 60 seconds, not before", within_s=90.0, holds=_alert_in_time),
            Check(sentence="The link heals by itself", within_s=HEALED_WITHIN_S, holds=_answers, afterwards=True),
            Check(sentence="The alert is cleared", within_s=HEALED_WITHIN_S, holds=_alert_cleared, afterwards=True),
        ),
    ),
    Drill(
        key="amperio_cannot_reach_enexa",
        title="Amperio cannot reach Enexa",
        does="lets nothing that Amperio sends through to Enexa for 80 seconds",
        for_s=80.0,
        cuts=(Way.INWARD,),
        enexa=("shows the age of the newest sample; after a minute it counts as lost", "draws the gap as a gap"),
        amperio=(
            "keeps every sample in a durable buffer of at least 24 hours",
            "acts alone after 60 seconds: last known schedule, else safe limits",
            "on reconnection sends the buffer in batches, oldest first, and forgets only what Enexa confirmed",
        ),
        seen="mode, data age and buffer on Site Monitoring; the replay closes the gap in the charts",
        checks=(
            Check(sentence="The last sample counts as lost after a minute", within_s=90.0, holds=_lost),
            Check(
                sentence="Amperio acted alone when its time of silence was over",
                within_s=HEALED_WITHIN_S,
                holds=_acted_alone,
                afterwards=True,
            ),
            BACK_ONLINE,
            Check(
                sentence="The buffer is replayed and no sample is missing",
                within_s=HISTORY_WITHIN_S,
                holds=_nothing_missing,
                afterwards=True,
            ),
        ),
    ),
    Drill(
        key="enexa_comes_back",
        title="Enexa comes back after an outage",
        does="cuts both directions for 45 seconds and watches the reconnection",
        for_s=45.0,
        cuts=(Way.OUTWARD, Way.INWARD),
        enexa=(
            "fetches each site's state and compares the state of charge with what was expected",
            "plans again from the state now",
            "sends fresh setpoints and verifies each",
            "folds in the replayed samples and recomputes",
        ),
        amperio=("leaves autonomous mode only after good exchanges and a fresh plan",),
        seen="the four steps below, mode resync on Site Monitoring",
        checks=(
            Check(
                sentence="The state is fetched and compared",
                within_s=HEALED_WITHIN_S,
                holds=_step("state_sync"),
                afterwards=True,
            ),
            Check(
                sentence="A new plan is made from it",
                within_s=HEALED_WITHIN_S,
                holds=_step("replan"),
                afterwards=True,
            ),
            Check(
                sentence="Fresh setpoints are sent and verified",
                within_s=HISTORY_WITHIN_S,
                holds=_step("redispatch"),
                afterwards=True,
            ),
            Check(
                sentence="The replayed samples are folded in",
                within_s=HISTORY_WITHIN_S,
                holds=_step("history"),
                afterwards=True,
            ),
        ),
    ),
    Drill(
        key="amperio_cannot_reach_chargepost",
        title="Amperio cannot reach the ChargePost",
        does="takes the station's Modbus link away for 25 seconds",
        for_s=25.0,
        fault=Fault(name="telemetry_gap"),
        enexa=("gets 503 for commands and queues nothing blindly",),
        amperio=(
            "reconnects with growing pauses, marks readings stale",
            "after it is back asserts control and watchdog first, then the setpoint in force",
        ),
        seen="mode device lost, the link Amperio to ChargePost",
        checks=(
            Check(sentence="Amperio tells that the device is lost", within_s=60.0, holds=_device_lost),
            BACK_ONLINE,
            Check(
                sentence="The station is under control again",
                within_s=HEALED_WITHIN_S,
                holds=_controlled,
                afterwards=True,
            ),
        ),
    ),
    Drill(
        key="nobody_beats_the_watchdog",
        title="Nobody beats the watchdog",
        does="lets the station ignore every heartbeat until its watchdog has run out",
        for_s=90.0,
        fault=Fault(name="heartbeat_ignored"),
        amperio=("stops writing when it must not be trusted; the device then takes over within its watchdog time",),
        seen="watchdog countdown on Site Monitoring, warning of the station",
        checks=(
            Check(sentence="The station acts by itself", within_s=90.0, holds=_station_alone),
            Check(
                sentence="Amperio takes control back once heartbeats count",
                within_s=HEALED_WITHIN_S,
                holds=_controlled,
                afterwards=True,
            ),
            BACK_ONLINE,
        ),
    ),
)
BY_KEY: Mapping[str, Drill] = {each.key: each for each in DRILLS}
