"""What Enexa's disk holds, in memory: the part of its store that the platform and its loops ask for.

It outlives the process, and is as durable as the real one says it is: what was kept before an answer left is there
after a kill. Numbers are accounted for by the store's own ranges, means come from its own rollup.
"""

from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import msgspec
from msgspec import Struct

from services.enexa.dispatching.ledger import FINAL
from services.enexa.dispatching.reconcile import ReconcileView
from services.enexa.registry.assets import AssetRecord, ControllerRecord, SiteRecord
from services.enexa.store.anchors import Anchor
from services.enexa.store.journal import EventsKept
from services.enexa.store.ranges import Ranges
from services.enexa.store.rollup import Bucket, buckets, mean_point
from services.enexa.store.telemetry import Ingest, Stored
from shared.contract.config import ConfigAck, SiteConfig
from shared.contract.dispatch import CommandStatus
from shared.contract.events import Event, EventKind, SiteStatus
from shared.contract.reads import Alert, CommandRecord, Point
from shared.contract.schedule import SiteSchedule
from shared.contract.telemetry import Telemetry

RAW_KEPT = 1800
"""Half an hour of samples, which is all that a start shows of the past."""


class Stream(Struct):
    """One site and epoch: which numbers are accounted for, and how."""

    ranges: Ranges = msgspec.field(default_factory=Ranges)
    stored_count: int = 0
    duplicate_count: int = 0
    gap_count: int = 0


class Archive:
    """One site's platform data: `telemetry`, `journal`, `master` and `audit`, as the store names them."""

    def __init__(self, config: SiteConfig) -> None:
        self.site_id = config.site_id
        self.telemetry = Samples()
        self.journal = Records()
        self.master = Masters(config)
        self.audit = NoAudit()

    @property
    def streams(self) -> dict[str, Stream]:
        return self.telemetry.streams

    @property
    def commands(self) -> dict[str, CommandRecord]:
        return self.journal.by_id

    @property
    def events(self) -> dict[str, Event]:
        return self.journal.seen

    @property
    def sessions(self) -> list[Event]:
        return [event for event in self.events.values() if event.kind is EventKind.SESSION_ENDED]

    @property
    def reconciliations(self) -> dict[str, ReconcileView]:
        return self.journal.reconciled

    def open_commands(self) -> tuple[CommandRecord, ...]:
        return tuple(record for record in self.commands.values() if record.status not in FINAL)


class NoAudit:
    """Nothing here passes a gate, so there is no audit log whose head could be told."""

    head = Anchor(0, "")


class Samples:
    """Telemetry: each number once, minutes and quarter hours as sums, and the newest half hour whole."""

    def __init__(self) -> None:
        self.streams: dict[str, Stream] = {}
        self._recent: deque[Telemetry] = deque(maxlen=RAW_KEPT)
        self._newest: tuple[Telemetry, datetime] | None = None
        self._buckets: dict[tuple[int, int], Bucket] = {}
        self._unfolded: list[Telemetry] = []
        """Samples that are in no sum yet; whoever asks for sums has them folded in before."""

    async def keep(self, ingest: Ingest) -> Stored:
        """Account for each number once."""
        stream = self.streams.setdefault(ingest.epoch, Stream())
        fresh = []
        for sample in ingest.samples:
            assert sample.sequence is not None
            if sample.sequence in stream.ranges:
                stream.duplicate_count += 1
            else:
                stream.ranges.add(sample.sequence, sample.sequence)
                fresh.append(sample)
        stream.stored_count += len(fresh)
        for gap in ingest.gaps:
            rejected = gap.reason.startswith("rejected: ")
            if gap.from_sequence not in stream.ranges and not rejected:
                stream.gap_count += gap.to_sequence - gap.from_sequence + 1
            stream.ranges.add(gap.from_sequence, gap.to_sequence)
        self._take(fresh, ingest.received_at)
        duplicates = len(ingest.samples) - len(fresh)
        return Stored(fresh=tuple(fresh), duplicates=duplicates, stored_through=stream.ranges.through or None)

    def _take(self, fresh: Sequence[Telemetry], received_at: datetime) -> None:
        self._unfolded += fresh
        for sample in fresh:
            self._recent.append(sample)
            if self._newest is None or sample.timestamp > self._newest[0].timestamp:
                self._newest = sample, received_at

    def _sums(self) -> dict[tuple[int, int], Bucket]:
        for key, bucket in buckets(self._unfolded).items():
            known = self._buckets.get(key)
            if known is None:
                self._buckets[key] = bucket
            else:
                known.add(bucket)
        self._unfolded.clear()
        return self._buckets

    def highest(self, site_id: str, epoch: str) -> int:
        stream = self.streams.get(epoch)
        return stream.ranges.highest if stream is not None else 0

    def missing(self, site_id: str) -> int:
        return sum(last - first + 1 for stream in self.streams.values() for first, last in stream.ranges.missing())

    async def latest(self, site_id: str) -> tuple[Telemetry, datetime] | None:
        return self._newest

    async def raw(self, site_id: str, start: datetime, until: datetime) -> list[Telemetry]:
        found = [each for each in self._recent if start <= each.timestamp < until]
        return sorted(found, key=lambda each: each.timestamp)

    async def first_at(self, site_id: str) -> datetime | None:
        quarters = [start_s for resolution_s, start_s in self._sums() if resolution_s == 900]
        return datetime.fromtimestamp(min(quarters), UTC) if quarters else None

    async def points(
        self, site_id: str, start: datetime, until: datetime, *, resolution_s: int = 60, limit: int = 5000
    ) -> list[Point]:
        first_s, last_s = int(start.timestamp()), until.timestamp()
        wanted = sorted(
            (start_s, bucket)
            for (length_s, start_s), bucket in self._sums().items()
            if length_s == resolution_s and first_s <= start_s < last_s
        )[:limit]
        return [
            mean_point(start_s, bucket.samples, *(total / count if count else None for total, count in bucket.lines))
            for start_s, bucket in wanted
        ]


class Records:
    """Events, alerts, schedules, commands and reconciliations; `tells` hear of each as it is kept."""

    def __init__(self) -> None:
        self.by_id: dict[str, CommandRecord] = {}
        self.seen: dict[str, Event] = {}
        self.reconciled: dict[str, ReconcileView] = {}
        self.on_command: Callable[[CommandRecord], None] = lambda record: None
        self.on_alert: Callable[[Alert], None] = lambda alert: None
        self.on_reconciliation: Callable[[ReconcileView], None] = lambda view: None
        self.on_plan: Callable[[SiteSchedule, str], None] = lambda schedule, trigger: None
        self._alerts: dict[str, Alert] = {}
        self._plan: tuple[SiteSchedule, bytes | None, str] | None = None
        self._bodies: list[bytes] = []

    async def add_events(self, new: Sequence[Event]) -> EventsKept:
        fresh = {event.event_id: event for event in new if event.event_id not in self.seen}
        self.seen |= fresh
        numbers = [event.sequence for event in new if event.sequence is not None]
        return EventsKept(
            fresh=tuple(fresh.values()),
            duplicates=len(new) - len(fresh),
            stored_through=max(numbers) if numbers else None,
        )

    async def events(self, site_id: str, *, limit: int = 100, kinds: Sequence[str] = ()) -> list[Event]:
        found = [event for event in self.seen.values() if not kinds or event.kind.value in kinds]
        return sorted(found, key=lambda event: (event.timestamp, event.sequence or 0), reverse=True)[:limit]

    async def count_events(self, site_id: str, kinds: Sequence[str], start: datetime, until: datetime) -> int:
        return sum(event.kind in kinds and start <= event.timestamp < until for event in self.seen.values())

    async def add_status(self, status: SiteStatus, at: datetime) -> None:
        """Status reports repeat themselves, and nothing here reads old ones."""

    async def save_alert(self, alert: Alert) -> None:
        self._alerts[alert.alert_id] = alert
        self.on_alert(alert)

    async def alerts(self, *, open_only: bool) -> list[Alert]:
        return [alert for alert in self._alerts.values() if alert.cleared_at is None]

    async def add_schedule(self, schedule: SiteSchedule, *, trigger: str, plan: bytes | None) -> None:
        self._plan = schedule, plan, trigger
        self.on_plan(schedule, trigger)

    async def newest_plan(self, site_id: str) -> tuple[SiteSchedule, bytes | None, str] | None:
        return self._plan

    async def save_commands(self, records: Sequence[CommandRecord]) -> None:
        for record in records:
            self.by_id[record.command_id] = record
            self.on_command(record)

    async def commands(
        self, site_id: str, *, limit: int = 100, statuses_: Sequence[CommandStatus] = ()
    ) -> list[CommandRecord]:
        found = [record for record in self.by_id.values() if not statuses_ or record.status in statuses_]
        return sorted(found, key=lambda record: (record.planned_at, record.command_id), reverse=True)[:limit]

    async def save_reconciliation(self, record_id: str, site_id: str, started_at: datetime, body: bytes) -> None:
        self.reconciled[record_id] = view = msgspec.json.decode(body, type=ReconcileView)
        self._bodies.append(body)
        self.on_reconciliation(view)

    async def reconciliations(self, site_id: str, limit: int = 20) -> list[bytes]:
        return self._bodies[-limit:][::-1]


class Masters:
    """One site with one configuration, and the numbers that grow."""

    def __init__(self, config: SiteConfig) -> None:
        self._config = config
        self._numbers: dict[str, int] = {}
        self._acks: list[ConfigAck] = []

    async def next_number(self, name: str) -> int:
        self._numbers[name] = self._numbers.get(name, 0) + 1
        return self._numbers[name]

    async def sites(self) -> list[SiteRecord]:
        return [SiteRecord(id=self._config.site_id, name=self._config.site_id)]

    async def assets(self) -> list[AssetRecord]:
        return []

    async def controllers(self) -> list[ControllerRecord]:
        return []

    async def current_config(self, site_id: str) -> SiteConfig:
        return self._config

    async def add_config_ack(self, ack: ConfigAck) -> None:
        self._acks.append(ack)

    async def config_acks(self, site_id: str) -> list[ConfigAck]:
        return self._acks[:-21:-1]
