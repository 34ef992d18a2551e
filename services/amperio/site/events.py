"""Session start and stop, faults, mode changes: edges between two images, each told once.

Session energy is summed from the rises of the billing meter, so that a counter which resets (one field station does
it per session, another at random) neither loses energy nor tells a negative one.
"""

import hashlib
from datetime import datetime
from typing import TypeAlias

import msgspec
from msgspec import Struct

from services.amperio.site.facts import Value
from services.amperio.site.image import SiteImage
from services.amperio.site.telemetry import names
from shared.contract.events import Event, EventKind, Severity
from shared.moment import Moment

POWER_MAX_KW = 300.0
"""No counter rises faster; one that does was reset or replaced."""
TEAR_KWH = 0.1
"""A counter that falls by less was read torn; a reset one begins again at zero."""
KEEP_EVERY_KWH = 1.0
"""A session is kept for a restart at least this often, so that the car found afterwards can be told from another."""


class Session(Struct, frozen=True, kw_only=True):
    """A car at an outlet, from plug to unplug."""

    session_id: str
    started_at: datetime
    counter_kwh: float | None
    energy_kwh: float = 0.0
    peak_kw: float = 0.0


Sessions: TypeAlias = tuple[Session | None, Session | None]


class Edges:
    """Compares each image with the last one of this site."""

    def __init__(self, site_id: str, sessions: Sessions = (None, None)) -> None:
        """`sessions` are those that were open when this program last ran."""
        self.kept = sessions
        """What a restart has to know; moves rarely, so that it may be stored each time."""
        self._site_id = site_id
        self._before: SiteImage | None = None
        self._sessions: list[Session | None] = list(sessions)
        self._told = 0

    @property
    def session_ids(self) -> tuple[str | None, ...]:
        return tuple(session.session_id if session else None for session in self._sessions)

    @property
    def session_kwh(self) -> tuple[float | None, ...]:
        return tuple(session.energy_kwh if session else None for session in self._sessions)

    def event(
        self, now: Moment, kind: EventKind, text: str, severity: Severity = Severity.INFO, **facts: Value
    ) -> Event:
        """An event of this site; the id follows from what it says, so telling it twice stores it once."""
        self._told += 1
        said = f"{self._site_id}|{now.at.isoformat()}|{kind}|{self._told}|{sorted(facts.items())!r}"
        return Event(
            event_id=hashlib.sha256(said.encode()).hexdigest()[:32],
            site_id=self._site_id,
            timestamp=now.at,
            kind=kind,
            severity=severity,
            text=text[:500],
            facts=facts,
        )

    def between(self, now: Moment, image: SiteImage) -> tuple[Event, ...]:
        """What happened since the image before."""
        before, self._before = self._before, image
        told = [event for index in (0, 1) for event in self._sessions_of(now, before, image, index)]
        self._keep_sessions()
        return (*told, *self._faults(now, before, image), *self._control(now, before, image))

    def _sessions_of(self, now: Moment, before: SiteImage | None, image: SiteImage, index: int) -> list[Event]:
        status = image.chargers[index]
        if status is None or status.plug_state is None:
            return []
        session = self._sessions[index]
        counter_kwh = status.session_energy_kwh
        seconds = now.since(before.at) if before is not None else None
        if session is not None and before is None and _another_car(session, counter_kwh):
            # Over a restart: one car left and another came while nobody looked.
            return [self._ended(now, index, session), self._started(now, index, counter_kwh, counter_kwh or 0.0)]
        if session is not None:
            session = self._sessions[index] = _grown(session, now, seconds, counter_kwh, status.ev_kw)
        if not image.plugged(index):
            return [self._ended(now, index, session)] if session else []
        return [] if session else [self._started(now, index, counter_kwh if before is not None else None)]

    def _started(self, now: Moment, index: int, counter_kwh: float | None, energy_kwh: float = 0.0) -> Event:
        """A counter that is not known to begin with this car counts from the next look on."""
        session_id = f"{self._site_id}-{index + 1}-{int(now.at.timestamp())}"[-64:]
        self._sessions[index] = Session(
            session_id=session_id, started_at=now.at, counter_kwh=counter_kwh, energy_kwh=energy_kwh
        )
        return self.event(
            now, EventKind.SESSION_STARTED, "a car was plugged in", charger=index + 1, session_id=session_id
        )

    def _ended(self, now: Moment, index: int, session: Session) -> Event:
        self._sessions[index] = None
        return self.event(
            now,
            EventKind.SESSION_ENDED,
            "the car was unplugged",
            charger=index + 1,
            session_id=session.session_id,
            energy_kwh=round(session.energy_kwh, 3),
            peak_kw=round(session.peak_kw, 3),
            duration_s=round((now.at - session.started_at).total_seconds(), 1),
        )

    def _keep_sessions(self) -> None:
        one, two = self._sessions
        if any(_moved(kept, session) for kept, session in zip(self.kept, (one, two), strict=True)):
            self.kept = (one, two)

    def _faults(self, now: Moment, before: SiteImage | None, image: SiteImage) -> list[Event]:
        if image.errors is None or image.errors.errors is None:
            return []
        old = set(names(before.error_bits)) if before is not None else set()
        new = set(names(image.error_bits))
        raised = [
            self.event(
                now,
                EventKind.FAULT_RAISED,
                f"the station reports {name}",
                Severity.CRITICAL,
                fault=name,
                **_circumstances(image),
            )
            for name in sorted(new - old)
        ]
        return raised + [
            self.event(now, EventKind.FAULT_CLEARED, f"the station no longer reports {name}", fault=name)
            for name in sorted(old - new)
        ]

    def _control(self, now: Moment, before: SiteImage | None, image: SiteImage) -> list[Event]:
        if before is None or not before.valid or not image.valid:
            return []
        told = []
        if image.tripped and not before.tripped:
            told.append(self.event(now, EventKind.WATCHDOG_TRIPPED, "the station's watchdog ran out", Severity.WARNING))
        if before.controlled and not image.controlled:
            told.append(
                self.event(now, EventKind.CONTROL_LOST, "the station no longer obeys setpoints", Severity.WARNING)
            )
        if image.controlled and not before.controlled:
            told.append(self.event(now, EventKind.CONTROL_REGAINED, "the station obeys setpoints again"))
        return told


def _another_car(session: Session, counter_kwh: float | None) -> bool:
    return counter_kwh is not None and session.counter_kwh is not None and counter_kwh < session.counter_kwh - TEAR_KWH


def _grown(
    session: Session, now: Moment, seconds: float | None, counter_kwh: float | None, ev_kw: float | None
) -> Session:
    """The session with what its counter rose by since the last look; after a restart since its start at most."""
    if seconds is None:
        seconds = (now.at - session.started_at).total_seconds()
    most_kwh = POWER_MAX_KW * max(seconds, 0.0) / 3600.0 + 1.0
    gained = 0.0
    if counter_kwh is not None and session.counter_kwh is not None:
        gained = counter_kwh - session.counter_kwh
        if -TEAR_KWH <= gained < 0.0:
            counter_kwh, gained = session.counter_kwh, 0.0
        elif gained < 0.0:
            gained = counter_kwh
        gained = gained if gained <= most_kwh else 0.0
    return msgspec.structs.replace(
        session,
        counter_kwh=counter_kwh if counter_kwh is not None else session.counter_kwh,
        energy_kwh=session.energy_kwh + gained,
        peak_kw=max(session.peak_kw, ev_kw or 0.0),
    )


def _moved(kept: Session | None, session: Session | None) -> bool:
    """Whether what is kept would mislead after a restart."""
    if kept is None or session is None:
        return kept is not session
    reset = kept.session_id != session.session_id or kept.counter_kwh is None or session.counter_kwh is None
    return reset or not 0.0 <= (session.counter_kwh or 0.0) - (kept.counter_kwh or 0.0) < KEEP_EVERY_KWH


def _circumstances(image: SiteImage) -> dict[str, Value]:
    """How the station stood when it happened."""
    state = image.status.operation_state if image.status else None
    told: dict[str, Value] = {
        "state": state.name.lower() if state is not None else None,
        "grid_kw": image.grid.grid_kw if image.grid else None,
        "controlled": image.controlled,
    }
    for number, (battery, charger) in enumerate(zip(image.batteries, image.chargers, strict=True), start=1):
        told[f"battery_{number}_kw"] = battery.battery_kw if battery else None
        told[f"battery_{number}_soc_pct"] = battery.soc_pct if battery else None
        told[f"battery_{number}_max_c"] = battery.temperature_max_c if battery else None
        told[f"ev_{number}_kw"] = charger.ev_kw if charger else None
    return told
