"""Store, then forward: numbers for samples, what to send next, what is confirmed, what may be forgotten.

There is one queue. The live lane and the replay lane are two readers of it: the live lane takes what is newest and was
never tried, the replay lane takes the oldest unconfirmed number. Only what Enexa confirmed leaves the queue, and only
what lies behind Enexa's own `stored_through` and is a day old leaves the disk. A number that will never come (lost,
thinned, dead) is declared as a gap; it is never silently missing.

Pure bookkeeping: numbers and intervals live here, bodies live in the store.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Literal, TypeAlias

import msgspec
from msgspec import Struct

from shared.backoff import Backoff
from shared.contract.events import EVENTS_PER_CALL_MAX, Event
from shared.contract.telemetry import SAMPLES_PER_BATCH, Gap, Telemetry
from shared.contract.wire import encode
from shared.moment import Moment

REWIND_S = 24 * 3600.0
THIN_WINDOW = 3600
THIN_KEEPS_EVERY = 60
GAPS_PER_BATCH = 500
DEAD_QUIET_S = 600.0
RETRY_CEILING_S = 12.0
"""With jitter 14.4 s; with five seconds of good exchanges and a fresh plan, a site is back within 30 s (goal I6)."""

Lane: TypeAlias = Literal["live", "replay"]


class Row(Struct, frozen=True, kw_only=True):
    """One number of the stream: a sample, or a declared stretch of time in which no sampler ran."""

    seq: int
    at: datetime
    body: bytes
    is_gap: bool = False


class Send(Struct, frozen=True, kw_only=True):
    """Numbers `first`..`last` are to be sent, at most `rows` of them at once."""

    lane: Lane
    first: int
    last: int
    rows: int


class Cursor(Struct, frozen=True, kw_only=True):
    """What the store knows of a site's stream at start."""

    next_seq: int = 1
    oldest_seq: int = 1
    rows: int = 0
    stored_through: int = 0
    last_at: datetime | None = None
    next_event: int = 1
    events_through: int = 0


class Thinning(Struct, frozen=True, kw_only=True):
    """Delete the numbers `first`..`last`, but keep every `keep_every`-th (0 = none)."""

    first: int
    last: int
    keep_every: int


class Outbox:
    """The stream of samples of one site."""

    def __init__(
        self,
        site_id: str,
        stream_epoch: str,
        cursor: Cursor,
        *,
        batch: int = SAMPLES_PER_BATCH,
        rows_max: int = 180_000,
    ) -> None:
        self.site_id = site_id
        self.stream_epoch = stream_epoch
        self.batch = batch
        self.rows_max = rows_max
        self.stored_through = cursor.stored_through
        self.rows = cursor.rows
        self._next = cursor.next_seq
        self._oldest = cursor.oldest_seq
        self._last_at = cursor.last_at
        self._lost_since: datetime | None = None
        self._thinned_through = cursor.oldest_seq - 1
        self._live_high = cursor.next_seq - 1
        self._flying: dict[Lane, Send] = {}
        self._told = cursor.stored_through > 0
        self._open = Intervals()
        if cursor.next_seq - 1 > cursor.stored_through:
            self._open.add(cursor.stored_through + 1, cursor.next_seq - 1)

    # ---- keeping -----------------------------------------------------------------------------------------------------

    def rows_for(self, sample: Telemetry, *, period_s: float, after: Sequence[Row] = ()) -> tuple[Row, ...]:
        """The rows to commit for this sample: its own, and before it a declared gap where seconds were lost.

        `after` are the rows that go into the same commit before it.
        """
        rows: list[Row] = []
        lost_since, last_at = (None, after[-1].at) if after else (self._lost_since, self._last_at)
        since = lost_since or _silent_since(last_at, sample.timestamp, period_s)
        number = after[-1].seq + 1 if after else self._next
        if since is not None:
            reason = "not stored" if lost_since else "no sampler ran"
            gap = Gap(from_sequence=number, to_sequence=number, reason=reason, from_at=since, until_at=sample.timestamp)
            rows.append(Row(seq=number, at=sample.timestamp, body=encode(gap), is_gap=True))
            number += 1
        numbered = msgspec.structs.replace(sample, stream_epoch=self.stream_epoch, sequence=number)
        rows.append(Row(seq=number, at=sample.timestamp, body=encode(numbered)))
        return tuple(rows)

    def kept(self, rows: Sequence[Row]) -> None:
        """The rows are durable now."""
        assert rows[0].seq == self._next, "numbers are given once, in order"
        self._open.add(rows[0].seq, rows[-1].seq)
        self._next = rows[-1].seq + 1
        self._last_at, self._lost_since = rows[-1].at, None
        self.rows += len(rows)

    def lost(self, at: datetime) -> None:
        """The store refused a sample: its second will be declared as a gap once the store works again."""
        if self._lost_since is None:
            self._lost_since = at

    # ---- sending -----------------------------------------------------------------------------------------------------

    @property
    def pending_count(self) -> int:
        """Numbers that Enexa has not confirmed."""
        return self._open.count

    @property
    def oldest_pending(self) -> int | None:
        return self._open.lowest

    @property
    def last_at(self) -> datetime | None:
        return self._last_at

    def next_live(self) -> Send | None:
        """The newest numbers that were never tried; None while a live send is in the air or nothing is new."""
        newest = self._next - 1
        if "live" in self._flying or newest <= self._live_high:
            return None
        first = max(self._live_high + 1, newest - self.batch + 1)
        self._live_high = newest
        return self._fly(Send(lane="live", first=first, last=newest, rows=self.batch))

    def next_replay(self) -> Send | None:
        """The oldest unconfirmed numbers; None while a replay is in the air or nothing is left for this lane."""
        if "replay" in self._flying or not self._open.count:
            return None
        live = self._flying.get("live")
        first, last = self._open.first_interval()
        last = min(last, self._live_high, live.first - 1 if live else last)
        if last < first:
            return None
        return self._fly(Send(lane="replay", first=first, last=last, rows=self.batch))

    def narrowed(self, send: Send, rows: Sequence[Row]) -> tuple[Send, tuple[Gap, ...]]:
        """What `send` really covers, given the rows that the store holds of it; the missing numbers are gaps."""
        last = rows[-1].seq if len(rows) == send.rows else send.last
        gaps = missing(send.first, last, (row.seq for row in rows))
        if len(gaps) > GAPS_PER_BATCH:
            gaps = gaps[:GAPS_PER_BATCH]
            last = gaps[-1].to_sequence
        narrowed = Send(lane=send.lane, first=send.first, last=last, rows=send.rows)
        self._flying[send.lane] = narrowed
        return narrowed, gaps

    def confirmed(self, send: Send, stored_through: int | None) -> int | None:
        """Enexa has every number of `send`. Returns the new `stored_through` where it moved on.

        A peer that stands behind what it had confirmed before (a restored database) gets those numbers again.
        """
        self._flying.pop(send.lane, None)
        self._open.remove(send.first, send.last)
        if stored_through is None and not self._told:
            return None
        self._told = True
        through, before = min(stored_through or 0, self._next - 1), self.stored_through
        self.stored_through = through
        if through < before:
            # What was confirmed ahead of it may be gone as well: everything from there on goes again, and is
            # stored once.
            self._open.add(through + 1, self._next - 1)
        else:
            self._open.remove(before + 1, through)
            if not self._open.count and through < self._next - 1:
                # Nothing waits here, and yet there is a hole over there.
                self._open.add(through + 1, self._next - 1)
        return through if through != before else None

    def failed(self, send: Send) -> None:
        """No confirmation came: the numbers stay in the queue."""
        self._flying.pop(send.lane, None)

    def dead(self, send: Send) -> None:
        """The numbers went to the dead letters; the store holds gaps in their place, so they are sent again as such."""
        self._flying.pop(send.lane, None)

    def _fly(self, send: Send) -> Send:
        self._flying[send.lane] = send
        return send

    # ---- forgetting --------------------------------------------------------------------------------------------------

    def forgettable(self) -> int:
        """Rows up to this number are confirmed in one piece; the store drops those older than the rewind window."""
        lowest = self._open.lowest
        return min(self.stored_through, lowest - 1 if lowest else self.stored_through)

    def forgotten(self, count: int, oldest_seq: int) -> None:
        self.rows -= count
        self._oldest = max(oldest_seq, self._oldest)
        self._thinned_through = max(self._thinned_through, self._oldest - 1)

    def thinning(self) -> Thinning | None:
        """One step of what to give up while the buffer is too large: confirmed first, then minutes, then the oldest."""
        if self.rows <= self.rows_max:
            return None
        excess = self.rows - self.rows_max
        confirmed = self.forgettable()
        if confirmed >= self._oldest:
            return Thinning(first=self._oldest, last=min(confirmed, self._oldest + excess - 1), keep_every=0)
        first = self._thinned_through + 1
        if first + THIN_WINDOW <= self._next - THIN_WINDOW:
            self._thinned_through = first + THIN_WINDOW - 1
            return Thinning(first=first, last=first + THIN_WINDOW - 1, keep_every=THIN_KEEPS_EVERY)
        return Thinning(first=self._oldest, last=self._oldest + excess - 1, keep_every=0)


class EventBox:
    """The events of one site: in order, at least once, never dropped before they are confirmed."""

    def __init__(self, cursor: Cursor) -> None:
        self._next = cursor.next_event
        self._through = cursor.events_through
        self._flying = False

    @property
    def pending_count(self) -> int:
        return self._next - 1 - self._through

    def number(self, events: Iterable[Event]) -> tuple[Event, ...]:
        """The events with their numbers; they count once `kept` says that they are durable."""
        return tuple(msgspec.structs.replace(event, sequence=self._next + index) for index, event in enumerate(events))

    def kept(self, events: Sequence[Event]) -> None:
        self._next += len(events)

    def next_send(self) -> tuple[int, int] | None:
        """First number and how many at most; None while one is in the air or nothing waits."""
        if self._flying or not self.pending_count:
            return None
        self._flying = True
        return self._through + 1, min(self.pending_count, EVENTS_PER_CALL_MAX)

    def confirmed(self, last: int) -> None:
        self._flying = False
        self._through = max(self._through, last)

    def failed(self) -> None:
        self._flying = False

    @property
    def confirmed_through(self) -> int:
        return self._through


class DeadLetters:
    """Samples that Enexa will never take: people hear of the first, and when there was none for a while."""

    def __init__(self) -> None:
        self.count = 0
        """Since people were told."""
        self._latest_s = float("-inf")

    def note(self, now: Moment) -> bool:
        """One more was put aside; True where people are to hear of it."""
        self.count += 1
        self._latest_s = now.s
        return self.count == 1

    def present(self, now: Moment) -> bool:
        return now.s - self._latest_s <= DEAD_QUIET_S

    def over(self, now: Moment) -> int:
        """How many there were, once, when there was none for a while; else 0."""
        if self.present(now):
            return 0
        count, self.count = self.count, 0
        return count


class Courier:
    """When to try Enexa again: one backoff for all calls of a site, so that retries never multiply."""

    def __init__(self) -> None:
        self._backoff = Backoff(ceiling_s=RETRY_CEILING_S)
        self._not_before_s = float("-inf")

    @property
    def troubled(self) -> bool:
        """Whether the last call failed; the replay waits until a live call succeeds."""
        return self._backoff.failures > 0

    def wait_s(self, now: Moment) -> float:
        return max(self._not_before_s - now.s, 0.0)

    def succeeded(self) -> None:
        self._backoff = self._backoff.cleared()
        self._not_before_s = float("-inf")

    def failed(self, now: Moment, *, jitter: float, retry_after_s: float = 0.0) -> float:
        """Seconds until the next attempt; loops that fail together count as one failure."""
        if now.s < self._not_before_s:
            return self._not_before_s - now.s
        self._backoff = self._backoff.failed()
        wait_s = self._backoff.wait_s(jitter=jitter, retry_after_s=retry_after_s)
        self._not_before_s = now.s + wait_s
        return wait_s


def _silent_since(last_at: datetime | None, at: datetime, period_s: float) -> datetime | None:
    """From when nothing was sampled; None where no whole period is without a sample."""
    if last_at is None or (at - last_at).total_seconds() <= 2.0 * period_s:
        return None
    return last_at


def missing(first: int, last: int, present: Iterable[int], reason: str = "thinned") -> tuple[Gap, ...]:
    """The numbers of first..last that are not present, as gaps; `present` ascends."""
    gaps: list[Gap] = []
    expected = first
    for number in present:
        if number > last:
            break
        if number > expected:
            gaps.append(Gap(from_sequence=expected, to_sequence=number - 1, reason=reason))
        expected = number + 1
    if expected <= last:
        gaps.append(Gap(from_sequence=expected, to_sequence=last, reason=reason))
    return tuple(gaps)


class Intervals:
    """A set of numbers as few disjoint stretches, in order."""

    def __init__(self) -> None:
        self._spans: list[tuple[int, int]] = []
        self.count = 0

    @property
    def lowest(self) -> int | None:
        return self._spans[0][0] if self._spans else None

    def first_interval(self) -> tuple[int, int]:
        return self._spans[0]

    def add(self, first: int, last: int) -> None:
        """Most adds continue the last stretch."""
        if self._spans and self._spans[-1][1] + 1 == first:
            self._spans[-1] = (self._spans[-1][0], last)
            self.count += last - first + 1
            return
        spans = sorted([*self._spans, (first, last)])
        merged: list[tuple[int, int]] = []
        for low, high in spans:
            if merged and low <= merged[-1][1] + 1:
                merged[-1] = (merged[-1][0], max(merged[-1][1], high))
            else:
                merged.append((low, high))
        self._spans = merged
        self.count = sum(high - low + 1 for low, high in merged)

    def remove(self, first: int, last: int) -> None:
        left: list[tuple[int, int]] = []
        for low, high in self._spans:
            if high < first or low > last:
                left.append((low, high))
                continue
            if low < first:
                left.append((low, first - 1))
            if high > last:
                left.append((last + 1, high))
        self._spans = left
        self.count = sum(high - low + 1 for low, high in left)
