"""Claims of the free credits, and the marks that make them once per person."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0005_free_credits"
down_revision: str | None = "0004_promotions"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "free_credit_claims",
        sa.Column("claim_id", sa.String(64), primary_key=True),
        sa.Column("member_id", sa.String(64), nullable=False),
        sa.Column("token", sa.String(200), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("failure", sa.String(32)),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("resolved_at_ms", sa.BigInteger),
        sa.CheckConstraint(
            "state IN ('pending', 'granted', 'declined', 'not_eligible')",
            name="ck_free_credit_claims_state",
        ),
    )
    op.create_index(
        "ix_free_credit_claims_member", "free_credit_claims", ["member_id", "created_at_ms"]
    )
    op.create_table(
        "free_credit_marks",
        sa.Column("mark", sa.String(64), primary_key=True),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("free_credit_marks")
    op.drop_table("free_credit_claims")
