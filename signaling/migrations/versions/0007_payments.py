"""Payment pages, stored cards and the provider's webhooks."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0007_payments"
down_revision: str | None = "0006_spend_limits"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Add the columns, make the tables."""
    op.add_column("payment_attempts", sa.Column("redirect_url", sa.Text(), nullable=True))
    op.add_column("payment_attempts", sa.Column("expires_at_ms", sa.BigInteger(), nullable=True))
    op.create_table(
        "payment_cards",
        sa.Column("member_id", sa.String(length=64), nullable=False),
        sa.Column("provider", sa.String(length=32), nullable=False),
        sa.Column("token", sa.String(length=200), nullable=False),
        sa.Column("customer", sa.String(length=200), nullable=False),
        sa.Column("fingerprint", sa.String(length=200), nullable=True),
        sa.Column("brand", sa.String(length=32), nullable=True),
        sa.Column("last4", sa.String(length=4), nullable=True),
        sa.Column("updated_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("member_id", "provider"),
    )
    op.create_table(
        "payment_events",
        sa.Column("provider", sa.String(length=32), nullable=False),
        sa.Column("event_id", sa.String(length=200), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("order_id", sa.String(length=64), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["order_id"], ["orders.order_id"]),
        sa.PrimaryKeyConstraint("provider", "event_id"),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("payment_events")
    op.drop_table("payment_cards")
    with op.batch_alter_table("payment_attempts") as attempts:
        attempts.drop_column("expires_at_ms")
        attempts.drop_column("redirect_url")
