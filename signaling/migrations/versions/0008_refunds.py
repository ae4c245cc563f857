"""Refunds of private sessions."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0008_refunds"
down_revision: str | None = "0007_payments"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "refunds",
        sa.Column("session_id", sa.String(64), nullable=False),
        sa.Column("member_id", sa.String(64), nullable=False),
        sa.Column("expert_id", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("charged_units", sa.BigInteger, nullable=False),
        sa.Column("granted_units", sa.BigInteger, nullable=False),
        sa.Column("complaint", sa.Text, nullable=False),
        sa.Column("requested_at_ms", sa.BigInteger, nullable=False),
        sa.Column("decided_at_ms", sa.BigInteger),
        sa.Column("decided_by", sa.String(64)),
        sa.ForeignKeyConstraint(["session_id"], ["meter_sessions.session_id"]),
        sa.PrimaryKeyConstraint("session_id"),
        sa.CheckConstraint("state IN ('requested', 'approved', 'denied')", name="ck_refunds_state"),
        sa.CheckConstraint(
            "granted_units >= 0 AND granted_units <= charged_units"
            " AND (state = 'approved') = (granted_units > 0)",
            name="ck_refunds_granted",
        ),
        sa.CheckConstraint(
            "(state = 'requested') = (decided_at_ms IS NULL)", name="ck_refunds_decided"
        ),
    )
    op.create_index("ix_refunds_state", "refunds", ["state", "requested_at_ms"])


def downgrade() -> None:
    """Drop it."""
    op.drop_table("refunds")
