"""Alerts for people: raised once, kept in the store, told to the pages, the log and people, and cleared."""

import secrets
from collections.abc import Sequence

import msgspec
import structlog

from services.enexa.dispatching.alarms import Alarm, Turn
from services.enexa.messengers import Messenger, Round
from services.enexa.state import Board
from services.enexa.store.store import Store
from shared.clock import Clock
from shared.contract.events import Severity
from shared.contract.reads import Alert
from shared.errors import SiteError

log = structlog.get_logger()


class AlertBook:
    """All alerts of the platform; an alert is known by its code and its site, and is open at most once."""

    def __init__(self, store: Store, board: Board, clock: Clock, messengers: Sequence[Messenger] = ()) -> None:
        self._store = store
        self._board = board
        self._clock = clock
        self._rounds = [Round(each, clock) for each in messengers]

    async def load(self) -> None:
        """Open alerts survive a restart."""
        for alert in await self._store.journal.alerts(open_only=True):
            self._board.alerted(alert)

    def find(self, code: str, site_id: str | None) -> Alert | None:
        """The open alert of this code and site."""
        return next(
            (each for each in self._board.alerts.values() if (each.code, each.site_id) == (code, site_id)), None
        )

    async def raise_alert(
        self, code: str, site_id: str | None, text: str, severity: Severity = Severity.WARNING
    ) -> None:
        """Open an alert; nothing happens where it is open already."""
        if self.find(code, site_id) is not None:
            return
        alert = Alert(
            alert_id=secrets.token_hex(8),
            site_id=site_id,
            severity=severity,
            code=code,
            text=text[:500],
            raised_at=self._clock.now().at,
        )
        log.warning("alert_raised", code=code, site_id=site_id, text=text)
        await self._tell(alert)

    async def clear(self, code: str, site_id: str | None) -> None:
        """Close an alert; nothing happens where it is not open."""
        alert = self.find(code, site_id)
        if alert is None:
            return
        log.info("alert_cleared", code=code, site_id=site_id)
        await self._tell(msgspec.structs.replace(alert, cleared_at=self._clock.now().at))

    async def turn(self, turn: Turn | None, code: str, site_id: str | None, text: str) -> None:
        """Follow an alarm's edge."""
        if turn is Turn.RAISE:
            await self.raise_alert(code, site_id, text, Severity.CRITICAL)
        elif turn is Turn.CLEAR:
            await self.clear(code, site_id)

    def alarm(self, code: str, site_id: str | None, *, raise_after_s: float = 60.0) -> Alarm:
        """An alarm that knows whether its alert is still open from before a restart."""
        made = Alarm(raise_after_s=raise_after_s)
        if self.find(code, site_id) is not None:
            made.restore()
        return made

    def rounds(self) -> list[Round]:
        """What the application has to keep running, so that alerts leave the house."""
        return self._rounds

    async def _tell(self, alert: Alert) -> None:
        self._board.alerted(alert)
        for each in self._rounds:
            each.add(alert)
        try:
            await self._store.journal.save_alert(alert)
        except SiteError as error:
            # An alert about a failing store cannot be stored; the log and the pages have it.
            log.warning("alert_not_stored", code=alert.code, error=str(error))
