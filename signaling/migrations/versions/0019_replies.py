"""When an expert answered a message, and the transfer that gave them their share of it."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0019_replies"
down_revision: str | None = "0018_groups"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

COLUMNS = ("reply_transfer", "replied_at_ms")


def upgrade() -> None:
    """Add the columns."""
    for name in COLUMNS:
        op.add_column("feature_purchases", sa.Column(name, sa.BigInteger(), nullable=True))


def downgrade() -> None:
    """Drop them."""
    for name in COLUMNS:
        op.drop_column("feature_purchases", name)
