"""Hands to the store what a lane's cycles want remembered: in order, a commit at a time; no cycle waits for a disk.

While a commit is in the air the next one gathers. What the store refused is handed over again in the next cycle,
except samples: their seconds are declared as a gap, so that a full disk is not filled from memory once it has room.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from msgspec import Struct

from services.amperio.site.ledger import Entry
from services.amperio.site.orders import Keepsake, Settled
from services.amperio.site.outbox import EventBox, Outbox, Row, Send
from services.amperio.store import tables
from services.amperio.store.database import Database
from shared.contract.events import Event
from shared.contract.telemetry import Telemetry
from shared.errors import StoreFailed

EVENTS_HELD_MAX = 10_000
SAMPLES_HELD_MAX = 60
HOLD_S = 0.05
"""Real seconds that a cycle waits for the commit of the one before."""


class _Page(Struct, frozen=True, kw_only=True):
    """Everything that goes into one commit."""

    samples: tuple[Telemetry, ...]
    dropped: Telemetry | None
    """The first for which there was no room behind `samples`."""
    rows: tuple[Row, ...]
    events: tuple[Event, ...]
    entries: tuple[Entry, ...]
    forgotten: tuple[str, ...]
    keepsake: Keepsake | None
    stored_through: int | None
    events_through: int | None
    waiting: tuple[asyncio.Future[None], ...]

    @property
    def blank(self) -> bool:
        """A confirmation alone can wait for the next commit: lost, the rows are sent again and stored once."""
        return not (self.rows or self.events or self.entries or self.keepsake or self.forgotten or self.waiting)


class Scribe:
    """What one lane remembers."""

    def __init__(
        self,
        site_id: str,
        database: Database,
        outbox: Outbox,
        events: EventBox,
        *,
        on_queued: Callable[[Sequence[Entry]], None],
        on_failed: Callable[[StoreFailed], None],
        on_works: Callable[[], None],
    ) -> None:
        """`on_queued`: these entries stand in the store's queue, before anything that is given to it later."""
        self.sample_kept = asyncio.Event()
        self.event_kept = asyncio.Event()
        self.failing = False
        self._site_id = site_id
        self._database = database
        self._outbox = outbox
        self._event_box = events
        self._on_queued = on_queued
        self._on_failed = on_failed
        self._on_works = on_works
        self._samples: list[Telemetry] = []
        self._dropped: Telemetry | None = None
        self._events: list[Event] = []
        self._entries: dict[str, Entry] = {}
        self._forgotten: list[str] = []
        self._keepsake: Keepsake | None = None
        self._waiting: list[asyncio.Future[None]] = []
        self._stored_through: int | None = None
        self._events_through: int | None = None
        self._in_the_air: asyncio.Future[None] | None = None
        self._bug: BaseException | None = None
        self._latest: tuple[Row, ...] = ()

    # ---- taking in ---------------------------------------------------------------------------------------------------

    def hold_events(self, events: Sequence[Event]) -> None:
        self._events = [*self._events, *events][-EVENTS_HELD_MAX:]

    def confirmed(self, *, stored_through: int | None = None, events_through: int | None = None) -> None:
        """What Enexa has; written with the next commit. Lost before that, it is sent again and stored once."""
        if stored_through is not None:
            self._stored_through = stored_through
        if events_through is not None:
            self._events_through = events_through

    async def keep(
        self,
        sample: Telemetry | None,
        settled: Settled,
        *,
        period_s: float,
        waiting: Sequence[asyncio.Future[None]] = (),
    ) -> None:
        """Hand one cycle over; `waiting` are told when it is durable."""
        bug, self._bug = self._bug, None
        if bug is not None:
            raise bug
        self._take_sample(sample)
        self._entries |= {entry.command_id: entry for entry in settled.entries}
        self._forgotten += settled.forgotten
        self._keepsake = settled.keepsake or self._keepsake
        self._waiting += waiting
        if self._in_the_air is not None:
            await asyncio.wait([self._in_the_air], timeout=HOLD_S)
        if self._in_the_air is None:
            self._write(period_s)

    def _take_sample(self, sample: Telemetry | None) -> None:
        if sample is None:
            return
        if len(self._samples) < SAMPLES_HELD_MAX:
            self._samples.append(sample)
        else:
            self._dropped = self._dropped or sample

    def latest(self, send: Send) -> tuple[Row, ...]:
        """The rows of `send`, where they are the ones that were written last; else nothing, and the store has them."""
        rows = self._latest
        return rows if rows and (rows[0].seq, rows[-1].seq) == (send.first, send.last) else ()

    # ---- writing -----------------------------------------------------------------------------------------------------

    def _write(self, period_s: float) -> None:
        page = self._page(period_s)
        if page.blank:
            return
        self._samples, self._dropped, self._events, self._entries, self._forgotten = [], None, [], {}, []
        self._keepsake = None
        self._waiting, self._stored_through, self._events_through = [], None, None
        work = partial(_put_down, site=self._site_id, page=page)
        self._in_the_air = kept = self._database.give(work, patient=not (page.entries or page.waiting))
        self._on_queued(page.entries)
        if kept.done():
            self._written(page, kept)
        else:
            kept.add_done_callback(partial(self._written, page))

    def _page(self, period_s: float) -> _Page:
        rows: tuple[Row, ...] = ()
        for sample in self._samples:
            rows += self._outbox.rows_for(sample, period_s=period_s, after=rows)
        return _Page(
            samples=tuple(self._samples),
            dropped=self._dropped,
            rows=rows,
            events=self._event_box.number(self._events),
            entries=tuple(self._entries.values()),
            forgotten=tuple(self._forgotten),
            keepsake=self._keepsake,
            stored_through=self._stored_through,
            events_through=self._events_through,
            waiting=tuple(self._waiting),
        )

    def _written(self, page: _Page, kept: "asyncio.Future[None]") -> None:
        self._in_the_air = None
        if kept.cancelled():
            return
        error = kept.exception()
        if isinstance(error, StoreFailed):
            self._refused(page, error)
            return
        if error is not None:
            self._bug = error  # the lane stops on it in its next cycle
            return
        if page.rows:
            self._outbox.kept(page.rows)
            self._latest = page.rows
            self.sample_kept.set()
        if page.events:
            self._event_box.kept(page.events)
            self.event_kept.set()
        if page.dropped is not None:
            self._outbox.lost(page.dropped.timestamp)
        for told in page.waiting:
            if not told.done():
                told.set_result(None)
        if self.failing:
            self.failing = False
            self._on_works()

    def _refused(self, page: _Page, error: StoreFailed) -> None:
        """Back into the hands of the next cycle; what is newer stands."""
        if page.samples:
            self._outbox.lost(page.samples[0].timestamp)
        self._events = [*page.events, *self._events][-EVENTS_HELD_MAX:]
        self._entries = {entry.command_id: entry for entry in page.entries} | self._entries
        self._forgotten = [*page.forgotten, *self._forgotten]
        self._keepsake = self._keepsake or page.keepsake
        self._waiting = [*page.waiting, *self._waiting]
        if self._stored_through is None:
            self._stored_through = page.stored_through
        if self._events_through is None:
            self._events_through = page.events_through
        if not self.failing:
            self.failing = True
            self._on_failed(error)


def _put_down(store: tables.Connection, *, site: str, page: _Page) -> None:
    if page.rows:
        tables.keep_rows(store, site, page.rows)
    if page.events:
        tables.keep_events(store, site, page.events)
    if page.entries:
        tables.keep_entries(store, site, page.entries)
    if page.stored_through is not None or page.events_through is not None:
        tables.confirm(store, site, stored_through=page.stored_through, events_through=page.events_through)
    if page.forgotten:
        tables.forget_entries(store, site, page.forgotten)
    if page.keepsake is not None:
        tables.keep_keepsake(store, site, page.keepsake)
