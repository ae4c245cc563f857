"""The role of staff, and the order in which refunds were decided."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0009_staff"
down_revision: str | None = "0008_refunds"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Make the table and the index."""
    op.create_table(
        "staff_roles",
        sa.Column(
            "account_id", sa.String(40), sa.ForeignKey("accounts.account_id"), primary_key=True
        ),
        sa.Column("since_ms", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("given_by", sa.String(64), nullable=False),
        sa.Column("until_ms", sa.BigInteger),
        sa.Column("taken_by", sa.String(64)),
        sa.CheckConstraint("(until_ms IS NULL) = (taken_by IS NULL)", name="staff_role_taken"),
    )
    op.create_index("ix_refunds_decided", "refunds", ["decided_at_ms"])


def downgrade() -> None:
    """Drop them."""
    op.drop_index("ix_refunds_decided", "refunds")
    op.drop_table("staff_roles")
