"""Samples lie in chunks: as they came while an hour is young, packed into one block of columns afterwards."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "chunks",
        sa.Column("chunk_id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("stream_id", sa.Integer(), nullable=False),
        sa.Column("from_us", sa.BigInteger(), nullable=False),
        sa.Column("until_us", sa.BigInteger(), nullable=False),
        sa.Column("first_sequence", sa.BigInteger(), nullable=False),
        sa.Column("last_sequence", sa.BigInteger(), nullable=False),
        sa.Column("samples", sa.Integer(), nullable=False),
        sa.Column("received_us", sa.BigInteger(), nullable=False),
        sa.Column("form", sa.Integer(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("chunk_id"),
    )
    op.create_index(
        "chunks_by_time",
        "chunks",
        ["stream_id", "from_us", "first_sequence", "last_sequence", "samples"],
        unique=True,
    )
    op.create_table(
        "loose_hours",
        sa.Column("stream_id", sa.Integer(), nullable=False),
        sa.Column("hour_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("stream_id", "hour_us"),
    )
    # Form 2: one compressed sample, as the first schema kept it; the next packing of its hour ends it.
    op.execute(
        "INSERT INTO chunks (stream_id, from_us, until_us, first_sequence, last_sequence, samples, received_us, form,"
        " body) SELECT stream_id, at_us, at_us, sequence, sequence, 1, received_us, 2, body"
        " FROM samples ORDER BY stream_id, at_us"
    )
    op.execute(
        "INSERT INTO loose_hours (stream_id, hour_us)"
        " SELECT DISTINCT stream_id, at_us - at_us % 3600000000 FROM samples"
    )
    op.drop_index("samples_by_time", table_name="samples")
    op.drop_table("samples")


def downgrade() -> None:
    raise NotImplementedError("an older program cannot read packed hours; restore the copy made before the upgrade")
