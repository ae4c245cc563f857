"""Spend limits: what members allow themselves, what was counted, breaks."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0006_spend_limits"
down_revision: str | None = "0005_free_credits"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Make the tables; the one limit that there was gets its new name."""
    op.create_table(
        "spend_controls",
        sa.Column("member_id", sa.String(64), primary_key=True),
        sa.Column("time_zone", sa.String(64), nullable=False),
        sa.Column("break_until_ms", sa.BigInteger, nullable=True),
        sa.Column("updated_at_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "spend_limits",
        sa.Column(
            "member_id",
            sa.String(64),
            sa.ForeignKey("spend_controls.member_id"),
            primary_key=True,
        ),
        sa.Column("span", sa.String(16), primary_key=True),
        sa.Column("limit_units", sa.BigInteger, nullable=True),
        sa.Column("next_units", sa.BigInteger, nullable=True),
        sa.Column("next_at_ms", sa.BigInteger, nullable=True),
        sa.Column("start_ms", sa.BigInteger, nullable=False),
        sa.Column("counted_units", sa.BigInteger, nullable=False),
        sa.Column("since_transfer", sa.BigInteger, nullable=False),
        sa.CheckConstraint(
            "span IN ('session', 'day', 'week', 'month')", name="ck_spend_limits_span"
        ),
        sa.CheckConstraint(
            "counted_units >= 0 AND (limit_units IS NULL OR limit_units >= 0)"
            " AND (next_units IS NULL OR next_units >= 0)",
            name="ck_spend_limits_units",
        ),
        sa.CheckConstraint(
            "next_units IS NULL OR next_at_ms IS NOT NULL", name="ck_spend_limits_next"
        ),
    )
    op.execute("UPDATE meter_sessions SET reason = 'limit_session' WHERE reason = 'spend_limit'")


def downgrade() -> None:
    """Drop them; limits are lost."""
    op.execute(
        "UPDATE meter_sessions SET reason = 'spend_limit'"
        " WHERE reason LIKE 'limit~_%' ESCAPE '~' OR reason = 'on_break'"
    )
    op.drop_table("spend_limits")
    op.drop_table("spend_controls")
