"""Store, then forward: nothing unconfirmed is forgotten, nothing is numbered twice, nothing is silently missing."""

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import apsw
import msgspec
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from services.amperio.forwarder import PLAN_WANTED_EVERY_S
from services.amperio.site.autonomy import GOOD_EXCHANGES_OVER_S
from services.amperio.site.outbox import (
    RETRY_CEILING_S,
    Courier,
    Cursor,
    EventBox,
    Intervals,
    Outbox,
    Row,
    Send,
    missing,
)
from services.amperio.store import tables
from services.amperio.store.database import open_connection
from shared.contract.events import Event, EventKind
from shared.contract.telemetry import Battery, Gap, Telemetry
from shared.moment import Moment, moment_at

AT = datetime(2024, 1, 15, 10, 0, tzinfo=UTC)
SITE = "SITE001"


def sample(second: float) -> Telemetry:
    return Telemetry(site_id=SITE, timestamp=AT + timedelta(seconds=second), battery=Battery(soc_pct=second % 100))


class Enexa:
    """A receiver that stores each number once and answers with the highest unbroken one."""

    def __init__(self) -> None:
        self.stored: dict[int, bytes | None] = {}
        self.through = 0

    def take(self, rows: tuple[Row, ...], gaps: tuple[Gap, ...]) -> int:
        for row in rows:
            self.stored.setdefault(row.seq, None if row.is_gap else row.body)
        for gap in gaps:
            for number in range(gap.from_sequence, gap.to_sequence + 1):
                self.stored.setdefault(number, None)
        while self.through + 1 in self.stored:
            self.through += 1
        return self.through


class OutboxMachine(RuleBasedStateMachine):
    """Samples, sends, lost replies, restarts, housekeeping in any order, on a real SQLite."""

    @initialize()
    def begin(self) -> None:
        self.disk = open_connection(":memory:")
        self.enexa = Enexa()
        self.second = 0
        self.kept: dict[int, bytes] = {}
        self.thinned: set[int] = set()
        self.peak = 0
        self.restart()

    @rule()
    def restart(self) -> None:
        self.outbox = Outbox(
            SITE, tables.stream_epoch(self.disk), tables.cursor_of(self.disk, SITE), batch=5, rows_max=60
        )

    @rule(count=st.integers(min_value=1, max_value=20))
    def keep(self, count: int) -> None:
        for _ in range(count):
            self.second += 1
            rows = self.outbox.rows_for(sample(self.second), period_s=1.0)
            tables.keep_rows(self.disk, SITE, rows)
            self.outbox.kept(rows)
            self.kept |= {row.seq: row.body for row in rows}

    @rule(seconds=st.integers(min_value=3, max_value=50))
    def nobody_samples(self, seconds: int) -> None:
        self.second += seconds

    @rule()
    def the_disk_refuses(self) -> None:
        self.second += 1
        self.outbox.lost(sample(self.second).timestamp)

    @rule(lane=st.sampled_from(["live", "replay"]), fate=st.sampled_from(["ok", "lost_request", "lost_reply"]))
    def forward(self, lane: str, fate: str) -> None:
        send = self.outbox.next_live() if lane == "live" else self.outbox.next_replay()
        if send is None:
            return
        rows = tables.load_rows(self.disk, SITE, send.first, send.last, send.rows)
        narrowed, gaps = self.outbox.narrowed(send, rows)
        rows = tuple(row for row in rows if row.seq <= narrowed.last)
        through = self.enexa.take(rows, gaps) if fate != "lost_request" else None
        if fate != "ok":
            self.outbox.failed(narrowed)
            return
        moved = self.outbox.confirmed(narrowed, through)
        if moved is not None:
            tables.confirm(self.disk, SITE, stored_through=moved)
        self.peak = max(self.peak, self.outbox.stored_through)

    @rule(days=st.integers(min_value=0, max_value=2))
    def housekeeping(self, days: int) -> None:
        before = AT + timedelta(seconds=self.second, days=days - 1)
        self.outbox.forgotten(*tables.forget_rows(self.disk, SITE, self.outbox.forgettable(), before))

    @rule()
    def bound(self) -> None:
        while (thinning := self.outbox.thinning()) is not None:
            self.thinned |= set(range(thinning.first, thinning.last + 1))
            self.outbox.forgotten(*tables.thin_rows(self.disk, SITE, thinning))

    @precondition(lambda self: self.enexa.through > 0)
    @rule()
    def enexa_is_restored_from_an_old_backup(self) -> None:
        self.enexa.through //= 2
        self.enexa.stored = {number: body for number, body in self.enexa.stored.items() if number <= self.enexa.through}

    @invariant()
    def what_is_neither_confirmed_nor_thinned_is_on_disk(self) -> None:
        on_disk = {row.seq for row in tables.load_rows(self.disk, SITE, 1, 1 << 40, 1 << 20)}
        lost = set(self.kept) - on_disk - self.thinned
        assert all(number <= self.peak or number in self.thinned for number in lost)

    @invariant()
    def the_count_of_rows_is_true(self) -> None:
        assert self.outbox.rows == len(tables.load_rows(self.disk, SITE, 1, 1 << 40, 1 << 20))

    @invariant()
    def what_enexa_has_is_what_was_kept(self) -> None:
        for number, body in self.enexa.stored.items():
            assert body is None or body == self.kept[number]

    def teardown(self) -> None:
        if not hasattr(self, "outbox"):
            return
        self.keep(1)
        for _ in range(len(self.kept) * 3 + 20):
            self.forward("live", "ok")
            self.forward("replay", "ok")
        assert self.outbox.pending_count == 0
        assert not {number for number in self.kept if number not in self.enexa.stored}
        assert self.outbox.stored_through == max(self.kept, default=0)
        self.disk.close()


TestOutbox = OutboxMachine.TestCase
TestOutbox.settings = settings(max_examples=40, stateful_step_count=40, deadline=None, phases=(Phase.generate,))


def filled(count: int, *, confirmed: int = 0) -> Outbox:
    outbox = Outbox(SITE, "epoch", Cursor())
    for second in range(count):
        outbox.kept(outbox.rows_for(sample(second), period_s=1.0))
    if confirmed:
        outbox.confirmed(Send(lane="replay", first=1, last=confirmed, rows=60), confirmed)
    return outbox


def test_in_good_weather_each_sample_goes_alone_and_at_once() -> None:
    outbox = Outbox(SITE, "epoch", Cursor())

    for second in range(5):
        outbox.kept(outbox.rows_for(sample(second), period_s=1.0))
        send = outbox.next_live()
        assert send is not None
        assert (send.first, send.last) == (second + 1, second + 1)
        outbox.confirmed(send, second + 1)

    assert outbox.pending_count == 0
    assert outbox.next_replay() is None


def test_a9_after_an_outage_the_newest_goes_first_and_history_follows_oldest_first() -> None:
    outbox = filled(1000)

    live = outbox.next_live()
    replay = outbox.next_replay()

    assert live is not None
    assert replay is not None
    assert (live.first, live.last) == (941, 1000)
    assert replay.first == 1
    assert replay.last < live.first


def test_a_peer_that_lost_what_it_confirmed_gets_it_again() -> None:
    outbox = filled(100, confirmed=90)

    outbox.confirmed(Send(lane="live", first=100, last=100, rows=60), 40)

    assert outbox.oldest_pending == 41
    assert outbox.pending_count == 100 - 40


def test_seconds_in_which_no_sampler_ran_become_a_declared_gap() -> None:
    outbox = filled(10)

    gap, late = outbox.rows_for(sample(100), period_s=1.0)

    declared = msgspec.json.decode(gap.body, type=Gap)
    assert gap.is_gap
    assert (declared.from_at, declared.until_at) == (sample(9).timestamp, sample(100).timestamp)
    assert late.seq == gap.seq + 1


@pytest.mark.parametrize(("seconds_later", "declared"), [(1.9, False), (2.0, False), (2.01, True), (2.4, True)])
def test_a_whole_period_without_a_sample_is_declared_and_a_late_sample_is_not(
    seconds_later: float, declared: bool
) -> None:
    outbox = filled(10)

    rows = outbox.rows_for(sample(9 + seconds_later), period_s=1.0)

    assert rows[0].is_gap is declared


def test_a14_seconds_that_the_disk_refused_become_a_declared_gap() -> None:
    outbox = filled(10)
    outbox.lost(sample(10).timestamp)
    outbox.lost(sample(11).timestamp)

    rows = outbox.rows_for(sample(12), period_s=1.0)

    assert [row.is_gap for row in rows] == [True, False]
    assert msgspec.json.decode(rows[0].body, type=Gap).from_at == sample(10).timestamp


def long_outage(disk: apsw.Connection, hours: int, rows_max: int) -> tuple[int, list[int]]:
    """Rows at most, and each hour's rows on disk, of an outage in which an event an hour happens too."""
    outbox, box, pages = Outbox(SITE, "epoch", Cursor(), rows_max=rows_max), EventBox(Cursor()), []
    most = 0
    for hour in range(hours):
        batch: list[Row] = []
        for second in range(hour * 3600, hour * 3600 + 3600):
            rows = outbox.rows_for(sample(second), period_s=1.0)
            outbox.kept(rows)
            batch += rows
        event = Event(event_id=f"e{hour}", site_id=SITE, timestamp=sample(hour).timestamp, kind=EventKind.ALERT_RAISED)
        numbered = box.number((event,))
        box.kept(numbered)
        with disk:
            tables.keep_rows(disk, SITE, batch)
            tables.keep_events(disk, SITE, numbered)
            most = max(most, outbox.rows)
            while (thinning := outbox.thinning()) is not None:
                before = outbox.rows
                outbox.forgotten(*tables.thin_rows(disk, SITE, thinning))
                assert before - outbox.rows <= 3600, "never more than a step beyond need"
        pages += [int(str(count)) for (count,) in disk.execute("PRAGMA page_count")]
    assert outbox.rows == len(tables.load_rows(disk, SITE, 1, 1 << 40, 1 << 20)) <= rows_max
    assert [event.event_id for event in tables.load_events(disk, SITE, 1, 1000)] == [f"e{n}" for n in range(hours)]
    return most, pages


def check_thinned(disk: apsw.Connection, hours: int, whole_hours: int) -> None:
    """The newest hours are whole, and every number that is gone is told."""
    left = [row.seq for row in tables.load_rows(disk, SITE, 1, 1 << 40, 1 << 20)]
    newest = hours * 3600
    assert set(range(newest - whole_hours * 3600, newest + 1)) <= set(left)
    gone = sum(gap.to_sequence - gap.from_sequence + 1 for gap in missing(1, newest, left))
    assert gone == newest - len(left)


def test_a4_thinning_takes_the_oldest_first_never_more_than_a_step_and_tells_every_number() -> None:
    disk = open_connection(":memory:")
    most, _ = long_outage(disk, 18, 20_000)

    assert most <= 20_000 + 3600
    check_thinned(disk, 18, 4)
    disk.close()


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a4_three_days_without_enexa_in_a_store_for_one(tmp_path: Path) -> None:
    disk = open_connection(tmp_path / "store.db")
    most, pages = long_outage(disk, 72, 26 * 3600)

    assert most <= 27 * 3600
    check_thinned(disk, 72, 24)
    assert pages[-1] <= 1.05 * pages[26], "the file grows no further once it is full"
    disk.close()


def test_a8_events_are_numbered_in_order_and_equal_times_keep_both() -> None:
    """Ten thousand, collected in batches, with equal times and a clock that is set back and forth between them."""
    chance, box = random.Random(8), EventBox(Cursor())
    events = [
        Event(
            event_id=f"e{index}",
            site_id=SITE,
            timestamp=AT + timedelta(seconds=index // 3 + chance.choice((0, 0, 0, -3600, 3600))),
            kind=EventKind.ALERT_RAISED,
        )
        for index in range(10_000)
    ]

    numbered: list[Event] = []
    while len(numbered) < len(events):
        page = box.number(events[len(numbered) :][: chance.randint(1, 200)])
        box.kept(page)
        numbered += page

    assert [event.event_id for event in numbered] == [event.event_id for event in events]
    assert [event.sequence for event in numbered] == list(range(1, 10_001))
    assert box.next_send() == (1, 500)
    assert box.next_send() is None, "one send in the air"
    box.confirmed(500)
    assert box.next_send() == (501, 500)


@pytest.mark.parametrize("jitter", [0.0, 0.5, 0.999])
def test_b6_enexa_is_tried_again_after_1_2_4_up_to_12_seconds(jitter: float) -> None:
    courier = Courier()
    now: Moment = moment_at(AT)
    waits = []

    for _ in range(9):
        waits.append(courier.failed(now, jitter=jitter))
        now = now.later(waits[-1])

    wanted = [1, 2, 4, 8, 12, 12, 12, 12, 12]
    assert all(base <= waited <= 1.2 * base for base, waited in zip(wanted, waits, strict=True))


def test_i6_after_an_outage_the_steady_state_is_back_within_thirty_seconds() -> None:
    """The longest wait, good exchanges over five seconds, one look for the plan, and the cycle that reads it back."""
    longest_wait_s = 1.2 * RETRY_CEILING_S
    assert longest_wait_s + GOOD_EXCHANGES_OVER_S + 1.0 + PLAN_WANTED_EVERY_S + 2.0 <= 30.0


def test_b6_loops_that_fail_together_count_as_one_failure() -> None:
    courier = Courier()
    now = moment_at(AT)

    waits = [courier.failed(now, jitter=0.0) for _ in range(5)]

    assert waits == [1.0] * 5


def test_b6_never_earlier_than_the_peer_asked() -> None:
    courier = Courier()

    assert courier.failed(moment_at(AT), jitter=0.0, retry_after_s=120.0) >= 120.0


def test_intervals_are_a_set_of_numbers() -> None:
    spans = Intervals()
    spans.add(1, 10)
    spans.remove(4, 6)
    spans.add(20, 30)
    spans.add(5, 5)

    assert spans.count == 3 + 1 + 4 + 11
    assert spans.lowest == 1


def test_numbers_are_never_used_twice_also_when_every_row_was_forgotten() -> None:
    disk: apsw.Connection = open_connection(":memory:")
    outbox = Outbox(SITE, "epoch", tables.cursor_of(disk, SITE))
    for second in range(10):
        rows = outbox.rows_for(sample(second), period_s=1.0)
        tables.keep_rows(disk, SITE, rows)
        outbox.kept(rows)
    outbox.confirmed(Send(lane="replay", first=1, last=10, rows=60), 10)
    tables.confirm(disk, SITE, stored_through=10)
    tables.forget_rows(disk, SITE, 10, AT + timedelta(days=1))

    cursor = tables.cursor_of(disk, SITE)

    assert (cursor.rows, cursor.next_seq, cursor.stored_through) == (0, 11, 10)
    disk.close()


def a_disk_with_rows(*ages_s: float) -> apsw.Connection:
    disk = open_connection(":memory:")
    rows = [Row(seq=seq, at=AT - timedelta(seconds=age_s), body=b"{}") for seq, age_s in enumerate(ages_s, 1)]
    tables.keep_rows(disk, SITE, rows)
    return disk


@pytest.mark.parametrize(
    ("ages_s", "through", "left"),
    [
        ((9, 8, 2, 1), 4, [3, 4]),
        ((9, 8, 7, 6), 2, [3, 4]),
        ((9, 8, 7, 6), 4, []),
        ((2, 1, 0, 0), 4, [1, 2, 3, 4]),
        ((9, -3600, 8, 7), 4, [2, 3, 4]),
    ],
    ids=[
        "young ones stay",
        "unconfirmed ones stay",
        "all go",
        "none goes",
        "a clock that was ahead holds its followers",
    ],
)
def test_what_is_confirmed_and_old_goes_and_nothing_else(
    ages_s: tuple[float, ...], through: int, left: list[int]
) -> None:
    disk = a_disk_with_rows(*ages_s)

    gone, oldest = tables.forget_rows(disk, SITE, through, AT - timedelta(seconds=5))

    assert [row.seq for row in tables.load_rows(disk, SITE, 1, 9, 9)] == left
    assert (gone, oldest) == (4 - len(left), left[0] if left else 5)
    assert tables.cursor_of(disk, SITE).rows == len(left)
    disk.close()


def test_a_sample_takes_little_more_of_the_disk_than_it_has_bytes() -> None:
    disk = open_connection(":memory:")
    body = b"x" * 1250  # as long as a sample of a station at work

    tables.keep_rows(disk, SITE, [Row(seq=seq, at=AT, body=body) for seq in range(1, 1001)])

    assert disk.pragma("page_count") * disk.pragma("page_size") / 1000 < 1.3 * len(body)
    disk.close()
