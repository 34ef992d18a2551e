"""The tables, once; the migrations lead to exactly this, and a test holds the two together.

Instants are whole microseconds since 1970 (UTC), because the two databases disagree about everything else.
"""

from datetime import UTC, datetime, timedelta

from sqlalchemy import BigInteger, Column, Float, Index, Integer, LargeBinary, MetaData, String, Table

metadata = MetaData()

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

platform = Table(
    "platform",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", BigInteger, nullable=False),
)

sites = Table(
    "sites",
    metadata,
    Column("site_id", String(64), primary_key=True),
    Column("name", String(500), nullable=False),
    Column("timezone", String(64), nullable=False),
)

assets = Table(
    "assets",
    metadata,
    Column("site_id", String(64), primary_key=True),
    Column("asset_id", String(64), primary_key=True),
    Column("type", String(64), nullable=False),
    Column("controller_id", String(64)),
    Column("body", LargeBinary, nullable=False),
)

controllers = Table(
    "controllers",
    metadata,
    Column("controller_id", String(64), primary_key=True),
    Column("site_id", String(64), nullable=False),
    Column("serial", String(64), nullable=False, unique=True),
    Column("state", String(32), nullable=False),
    Column("firmware", String(64)),
    Column("key_sha256", String(64)),
    Column("registered_us", BigInteger, nullable=False),
    Column("retired_keys", LargeBinary),
)

configs = Table(
    "configs",
    metadata,
    Column("site_id", String(64), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("updated_us", BigInteger, nullable=False),
    Column("author", String(500), nullable=False),
    Column("body", LargeBinary, nullable=False),
)

config_acks = Table(
    "config_acks",
    metadata,
    Column("site_id", String(64), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("status", String(16), nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
)

streams = Table(
    "streams",
    metadata,
    Column("stream_id", Integer, primary_key=True, autoincrement=True),
    Column("site_id", String(64), nullable=False),
    Column("epoch", String(64), nullable=False),
    Column("through", BigInteger, nullable=False),
    Index("streams_by_name", "site_id", "epoch", unique=True),
)

chunks = Table(
    "chunks",
    metadata,
    Column("chunk_id", Integer, primary_key=True, autoincrement=True),
    Column("stream_id", Integer, nullable=False),
    Column("from_us", BigInteger, nullable=False),
    Column("until_us", BigInteger, nullable=False),
    Column("first_sequence", BigInteger, nullable=False),
    Column("last_sequence", BigInteger, nullable=False),
    Column("samples", Integer, nullable=False),
    Column("received_us", BigInteger, nullable=False),
    Column("form", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("chunks_by_time", "stream_id", "from_us", "first_sequence", "last_sequence", "samples", unique=True),
)
"""Samples of one stream within one hour of UTC: as they came, or a whole hour packed into columns."""

loose_hours = Table(
    "loose_hours",
    metadata,
    Column("stream_id", Integer, primary_key=True),
    Column("hour_us", BigInteger, primary_key=True),
)
"""Hours of a stream in which something arrived since they were packed last."""

holes = Table(
    "holes",
    metadata,
    Column("stream_id", Integer, primary_key=True),
    Column("from_sequence", BigInteger, primary_key=True),
    Column("to_sequence", BigInteger, primary_key=True),
    Column("site_id", String(64), nullable=False),
    Column("reason", String(500), nullable=False),
    Column("from_us", BigInteger),
    Column("until_us", BigInteger),
    Column("received_us", BigInteger, nullable=False),
    Index("holes_by_time", "site_id", "from_us"),
)

VALUES = ("battery_kw", "grid_kw", "ev_kw", "pv_kw", "aux_kw", "soc_pct")

rollups = Table(
    "rollups",
    metadata,
    Column("site_id", String(64), primary_key=True),
    Column("resolution_s", Integer, primary_key=True),
    Column("start_s", BigInteger, primary_key=True),
    Column("samples", Integer, nullable=False),
    *(
        column
        for name in VALUES
        for column in (
            Column(f"{name}_sum", Float(53), nullable=False),
            Column(f"{name}_count", Integer, nullable=False),
        )
    ),
)

schedules = Table(
    "schedules",
    metadata,
    Column("site_id", String(64), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("made_us", BigInteger, nullable=False),
    Column("trigger", String(64), nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("plan", LargeBinary),
)

commands = Table(
    "commands",
    metadata,
    Column("command_id", String(64), primary_key=True),
    Column("site_id", String(64), nullable=False),
    Column("planned_us", BigInteger, nullable=False),
    Column("status", String(16), nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("commands_by_time", "site_id", "planned_us"),
)

events = Table(
    "events",
    metadata,
    Column("event_id", String(64), primary_key=True),
    Column("site_id", String(64), nullable=False),
    Column("sequence", BigInteger),
    Column("at_us", BigInteger, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("events_by_time", "site_id", "at_us"),
)

statuses = Table(
    "statuses",
    metadata,
    Column("status_id", Integer, primary_key=True, autoincrement=True),
    Column("site_id", String(64), nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("statuses_by_time", "site_id", "at_us"),
)

alerts = Table(
    "alerts",
    metadata,
    Column("alert_id", String(64), primary_key=True),
    Column("site_id", String(64)),
    Column("raised_us", BigInteger, nullable=False),
    Column("cleared_us", BigInteger),
    Column("body", LargeBinary, nullable=False),
    Index("alerts_by_time", "raised_us"),
)

reconciliations = Table(
    "reconciliations",
    metadata,
    Column("record_id", String(64), primary_key=True),
    Column("site_id", String(64), nullable=False),
    Column("started_us", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("reconciliations_by_time", "site_id", "started_us"),
)

audit = Table(
    "audit",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("at_us", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("digest", String(64), nullable=False),
)


def to_us(at: datetime) -> int:
    """Microseconds since 1970 of an aware instant."""
    return (at - EPOCH) // MICROSECOND


def from_us(us: int) -> datetime:
    return EPOCH + timedelta(microseconds=us)
