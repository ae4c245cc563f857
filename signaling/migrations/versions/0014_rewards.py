"""Points and ranks of the Reward Club."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0014_rewards"
down_revision: str | None = "0013_order_refunds"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Make the tables; what was spent before is counted by the next start."""
    op.create_table(
        "reward_cursor",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("transfer", sa.BigInteger, nullable=False),
        sa.CheckConstraint("id = 1", name="ck_reward_cursor_one_row"),
    )
    op.create_table(
        "reward_months",
        sa.Column("member_id", sa.String(64), primary_key=True),
        sa.Column("month", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("units", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "reward_ranks",
        sa.Column("member_id", sa.String(64), primary_key=True),
        sa.Column("rank_name", sa.String(16), primary_key=True),
        sa.Column("reached_at_ms", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    """Drop them."""
    for name in ("reward_ranks", "reward_months", "reward_cursor"):
        op.drop_table(name)
