"""Session start and stop, faults, mode changes: edges between two images, each told once.

Session energy is summed from the rises of the billing meter, so that a counter which resets (one field station does
it per session, another at random) neither loses energy nor tells a negative one.
"""

import hashlib
from datetime import datetime

from msgspec import Struct

from services.amperio.site.facts import Value
from services.amperio.site.image import SiteImage
from services.amperio.site.telemetry import names
from shared.contract.events import Event, EventKind, Severity
from shared.moment import Moment

ENERGY_STEP_MAX_KWH = 25.0
"""Five minutes at 300 kW: a counter that jumps further has been reset or replaced."""


class Session(Struct, frozen=True, kw_only=True):
    """A car at an outlet, from plug to unplug."""

    session_id: str
    started_at: datetime
    counter_kwh: float | None
    energy_kwh: float = 0.0
    peak_kw: float = 0.0


class Edges:
    """Compares each image with the last one of this site."""

    def __init__(self, site_id: str) -> None:
        self._site_id = site_id
        self._before: SiteImage | None = None
        self._sessions: list[Session | None] = [None, None]
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
        return (*told, *self._faults(now, before, image), *self._control(now, before, image))

    def _sessions_of(self, now: Moment, before: SiteImage | None, image: SiteImage, index: int) -> list[Event]:
        status = image.chargers[index]
        if status is None or status.plug_state is None:
            return []
        session = self._sessions[index]
        if not image.plugged(index):
            return [self._ended(now, index, session)] if session else []
        if session is None:
            session_id = f"{self._site_id}-{index + 1}-{int(now.at.timestamp())}"
            known = before is not None
            self._sessions[index] = Session(
                session_id=session_id[-64:], started_at=now.at, counter_kwh=status.session_energy_kwh if known else None
            )
            return [
                self.event(
                    now, EventKind.SESSION_STARTED, "a car was plugged in", charger=index + 1, session_id=session_id
                )
            ]
        self._sessions[index] = _grown(session, status.session_energy_kwh, status.ev_kw)
        return []

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

    def _faults(self, now: Moment, before: SiteImage | None, image: SiteImage) -> list[Event]:
        if image.errors is None or image.errors.errors is None:
            return []
        old = set(names(before.error_bits)) if before is not None else set()
        new = set(names(image.error_bits))
        raised = [
            self.event(now, EventKind.FAULT_RAISED, f"the station reports {name}", Severity.CRITICAL, fault=name)
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


def _grown(session: Session, counter_kwh: float | None, ev_kw: float | None) -> Session:
    gained = 0.0
    if counter_kwh is not None and session.counter_kwh is not None:
        gained = counter_kwh - session.counter_kwh if counter_kwh >= session.counter_kwh else counter_kwh
        gained = gained if 0.0 <= gained <= ENERGY_STEP_MAX_KWH else 0.0
    return Session(
        session_id=session.session_id,
        started_at=session.started_at,
        counter_kwh=counter_kwh if counter_kwh is not None else session.counter_kwh,
        energy_kwh=session.energy_kwh + gained,
        peak_kw=max(session.peak_kw, ev_kw or 0.0),
    )
