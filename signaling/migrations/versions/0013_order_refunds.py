"""Purchases that staff gives back."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0013_order_refunds"
down_revision: str | None = "0012_payout_returned_by"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "order_refunds",
        sa.Column("refund_id", sa.String(64), nullable=False),
        sa.Column("order_id", sa.String(64), nullable=False),
        sa.Column("key", sa.String(200), nullable=False),
        sa.Column("price_minor", sa.BigInteger, nullable=False),
        sa.Column("before_minor", sa.BigInteger, nullable=False),
        sa.Column("units", sa.BigInteger, nullable=False),
        sa.Column("transfer", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reload_off", sa.Integer, nullable=False),
        sa.Column("decided_by", sa.String(64), nullable=False),
        sa.Column("requested_at_ms", sa.BigInteger, nullable=False),
        sa.Column("resolved_at_ms", sa.BigInteger),
        sa.CheckConstraint(
            "state IN ('pending', 'done', 'refused')", name="ck_order_refunds_state"
        ),
        sa.CheckConstraint(
            "(state = 'pending') = (resolved_at_ms IS NULL)", name="ck_order_refunds_resolved"
        ),
        sa.CheckConstraint("price_minor > 0 AND units > 0", name="ck_order_refunds_amount"),
        sa.ForeignKeyConstraint(["order_id"], ["orders.order_id"]),
        sa.PrimaryKeyConstraint("refund_id"),
        sa.UniqueConstraint("order_id", "key", name="uq_order_refunds_key"),
    )
    op.create_index("ix_order_refunds_state", "order_refunds", ["state", "requested_at_ms"])


def downgrade() -> None:
    """Drop it."""
    op.drop_table("order_refunds")
