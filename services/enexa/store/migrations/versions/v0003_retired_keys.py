"""A controller's older API keys hold beside the new one until their end."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("controllers", sa.Column("retired_keys", sa.LargeBinary()))
