"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "alerts",
        sa.Column("alert_id", sa.String(length=64), nullable=False),
        sa.Column("site_id", sa.String(length=64), nullable=True),
        sa.Column("raised_us", sa.BigInteger(), nullable=False),
        sa.Column("cleared_us", sa.BigInteger(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("alert_id"),
    )
    op.create_index("alerts_by_time", "alerts", ["raised_us"], unique=False)
    op.create_table(
        "assets",
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("asset_id", sa.String(length=64), nullable=False),
        sa.Column("type", sa.String(length=64), nullable=False),
        sa.Column("controller_id", sa.String(length=64), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("site_id", "asset_id"),
    )
    op.create_table(
        "audit",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_table(
        "commands",
        sa.Column("command_id", sa.String(length=64), nullable=False),
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("planned_us", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("command_id"),
    )
    op.create_index("commands_by_time", "commands", ["site_id", "planned_us"], unique=False)
    op.create_table(
        "config_acks",
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("site_id", "version"),
    )
    op.create_table(
        "configs",
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("updated_us", sa.BigInteger(), nullable=False),
        sa.Column("author", sa.String(length=500), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("site_id", "version"),
    )
    op.create_table(
        "controllers",
        sa.Column("controller_id", sa.String(length=64), nullable=False),
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("serial", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("firmware", sa.String(length=64), nullable=True),
        sa.Column("key_sha256", sa.String(length=64), nullable=True),
        sa.Column("registered_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("controller_id"),
        sa.UniqueConstraint("serial"),
    )
    op.create_table(
        "events",
        sa.Column("event_id", sa.String(length=64), nullable=False),
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=True),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("event_id"),
    )
    op.create_index("events_by_time", "events", ["site_id", "at_us"], unique=False)
    op.create_table(
        "holes",
        sa.Column("stream_id", sa.Integer(), nullable=False),
        sa.Column("from_sequence", sa.BigInteger(), nullable=False),
        sa.Column("to_sequence", sa.BigInteger(), nullable=False),
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.Column("from_us", sa.BigInteger(), nullable=True),
        sa.Column("until_us", sa.BigInteger(), nullable=True),
        sa.Column("received_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("stream_id", "from_sequence", "to_sequence"),
    )
    op.create_index("holes_by_time", "holes", ["site_id", "from_us"], unique=False)
    op.create_table(
        "platform",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "reconciliations",
        sa.Column("record_id", sa.String(length=64), nullable=False),
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("started_us", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("record_id"),
    )
    op.create_index("reconciliations_by_time", "reconciliations", ["site_id", "started_us"], unique=False)
    op.create_table(
        "rollups",
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("resolution_s", sa.Integer(), nullable=False),
        sa.Column("start_s", sa.BigInteger(), nullable=False),
        sa.Column("samples", sa.Integer(), nullable=False),
        sa.Column("battery_kw_sum", sa.Float(precision=53), nullable=False),
        sa.Column("battery_kw_count", sa.Integer(), nullable=False),
        sa.Column("grid_kw_sum", sa.Float(precision=53), nullable=False),
        sa.Column("grid_kw_count", sa.Integer(), nullable=False),
        sa.Column("ev_kw_sum", sa.Float(precision=53), nullable=False),
        sa.Column("ev_kw_count", sa.Integer(), nullable=False),
        sa.Column("pv_kw_sum", sa.Float(precision=53), nullable=False),
        sa.Column("pv_kw_count", sa.Integer(), nullable=False),
        sa.Column("aux_kw_sum", sa.Float(precision=53), nullable=False),
        sa.Column("aux_kw_count", sa.Integer(), nullable=False),
        sa.Column("soc_pct_sum", sa.Float(precision=53), nullable=False),
        sa.Column("soc_pct_count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("site_id", "resolution_s", "start_s"),
    )
    op.create_table(
        "samples",
        sa.Column("stream_id", sa.Integer(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("received_us", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("stream_id", "sequence"),
    )
    op.create_index("samples_by_time", "samples", ["stream_id", "at_us"], unique=False)
    op.create_table(
        "schedules",
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("made_us", sa.BigInteger(), nullable=False),
        sa.Column("trigger", sa.String(length=64), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("plan", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("site_id", "version"),
    )
    op.create_table(
        "sites",
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=500), nullable=False),
        sa.Column("timezone", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("site_id"),
    )
    op.create_table(
        "statuses",
        sa.Column("status_id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("status_id"),
    )
    op.create_index("statuses_by_time", "statuses", ["site_id", "at_us"], unique=False)
    op.create_table(
        "streams",
        sa.Column("stream_id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("epoch", sa.String(length=64), nullable=False),
        sa.Column("through", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("stream_id"),
    )
    op.create_index("streams_by_name", "streams", ["site_id", "epoch"], unique=True)


def downgrade() -> None:
    for table in (
        "alerts",
        "assets",
        "audit",
        "commands",
        "config_acks",
        "configs",
        "controllers",
        "events",
        "holes",
        "platform",
        "reconciliations",
        "rollups",
        "samples",
        "schedules",
        "sites",
        "statuses",
        "streams",
    ):
        op.drop_table(table)
