"""PostgreSQL keeps a chunk's body as it is: packed ones are compressed already, and young ones are read again soon."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute("ALTER TABLE chunks ALTER COLUMN body SET STORAGE EXTERNAL")


def downgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute("ALTER TABLE chunks ALTER COLUMN body SET STORAGE EXTENDED")
