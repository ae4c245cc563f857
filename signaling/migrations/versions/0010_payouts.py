"""Payouts to experts, and the bank accounts that they go to."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0010_payouts"
down_revision: str | None = "0009_staff"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_OPEN = sa.text("closed_at_ms IS NULL")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "payout_destinations",
        sa.Column("expert_id", sa.String(64), nullable=False),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("iban", sa.String(34), nullable=False),
        sa.Column("updated_at_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("expert_id"),
    )
    op.create_table(
        "payouts",
        sa.Column("payout_id", sa.String(64), nullable=False),
        sa.Column("key", sa.String(200), nullable=False),
        sa.Column("request_hash", sa.String(64), nullable=False),
        sa.Column("expert_id", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("units", sa.BigInteger, nullable=False),
        sa.Column("amount_minor", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("iban", sa.String(34), nullable=False),
        sa.Column("channel", sa.String(32)),
        sa.Column("reference", sa.String(200)),
        sa.Column("failure", sa.String(200)),
        sa.Column("requested_at_ms", sa.BigInteger, nullable=False),
        sa.Column("decided_at_ms", sa.BigInteger),
        sa.Column("decided_by", sa.String(64)),
        sa.Column("closed_at_ms", sa.BigInteger),
        sa.Column("closed_by", sa.String(64)),
        sa.Column("returned_at_ms", sa.BigInteger),
        sa.PrimaryKeyConstraint("payout_id"),
        sa.UniqueConstraint("key"),
        sa.CheckConstraint(
            "state IN ('requested', 'approved', 'paid', 'failed', 'denied', 'cancelled',"
            " 'returned')",
            name="ck_payouts_state",
        ),
        sa.CheckConstraint("units > 0 AND amount_minor > 0", name="ck_payouts_amount"),
        sa.CheckConstraint(
            "(state IN ('requested', 'approved')) = (closed_at_ms IS NULL)",
            name="ck_payouts_closed",
        ),
        sa.CheckConstraint(
            "(state IN ('approved', 'paid', 'failed', 'returned')) = (channel IS NOT NULL)",
            name="ck_payouts_channel",
        ),
    )
    op.create_index("ix_payouts_expert", "payouts", ["expert_id", "requested_at_ms"])
    op.create_index("ix_payouts_state", "payouts", ["state", "requested_at_ms"])
    op.create_index(
        "ux_payouts_one_open",
        "payouts",
        ["expert_id"],
        unique=True,
        sqlite_where=_OPEN,
        postgresql_where=_OPEN,
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("payouts")
    op.drop_table("payout_destinations")
