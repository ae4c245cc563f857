"""How much of a purchase was given back, and why; an index finds what was given back lately."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0020_purchase_refunds"
down_revision: str | None = "0019_replies"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

TABLE = "feature_purchases"
REFUNDED = sa.text("refunded_at_ms IS NOT NULL")


def upgrade() -> None:
    """Add them; until now everything that was given back was given back whole."""
    op.add_column(TABLE, sa.Column("refunded_units", sa.BigInteger(), nullable=True))
    op.add_column(TABLE, sa.Column("refund_reason", sa.String(120), nullable=True))
    op.execute(f"UPDATE {TABLE} SET refunded_units = units WHERE refund_transfer IS NOT NULL")
    op.create_index(
        "ix_feature_purchases_refunded",
        TABLE,
        ["refunded_at_ms"],
        sqlite_where=REFUNDED,
        postgresql_where=REFUNDED,
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_index("ix_feature_purchases_refunded", TABLE)
    op.drop_column(TABLE, "refund_reason")
    op.drop_column(TABLE, "refunded_units")
