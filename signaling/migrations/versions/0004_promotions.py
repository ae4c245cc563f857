"""Promotions."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0004_promotions"
down_revision: str | None = "0003_outbox"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "promotions",
        sa.Column("promotion_id", sa.String(64), primary_key=True),
        sa.Column("percent", sa.Integer, nullable=False),
        sa.Column("starts_at_ms", sa.BigInteger, nullable=False),
        sa.Column("ends_at_ms", sa.BigInteger, nullable=False),
        sa.Column("packages", sa.Text, nullable=False),
        sa.Column("countries", sa.Text, nullable=False),
        sa.Column("excluded_methods", sa.Text, nullable=False),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.CheckConstraint("percent BETWEEN 1 AND 90", name="ck_promotions_percent"),
        sa.CheckConstraint("starts_at_ms <= ends_at_ms", name="ck_promotions_window"),
    )
    op.create_index("ix_promotions_window", "promotions", ["ends_at_ms", "starts_at_ms"])


def downgrade() -> None:
    """Drop it."""
    op.drop_table("promotions")
