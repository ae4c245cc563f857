"""The outbox with states, tries and pauses, in place of the one that nobody emptied."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0003_outbox"
down_revision: str | None = "0002_accounts"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Make `outbox`. What waited in `billing_outbox` was never to be sent: it is kept as dead."""
    op.create_table(
        "outbox",
        sa.Column("event_id", sa.String(200), primary_key=True),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("member_id", sa.String(64), nullable=False),
        sa.Column("facts", sa.Text, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("next_at_ms", sa.BigInteger, nullable=False),
        sa.Column("message_id", sa.String(64)),
        sa.Column("error", sa.String(200)),
        sa.Column("sent_at_ms", sa.BigInteger),
        sa.CheckConstraint("state IN ('waiting', 'sent', 'dead')", name="ck_outbox_state"),
        sa.CheckConstraint("(state = 'sent') = (sent_at_ms IS NOT NULL)", name="ck_outbox_sent_at"),
    )
    op.create_index("ix_outbox_due", "outbox", ["state", "next_at_ms"])
    op.create_index("ix_outbox_member", "outbox", ["member_id", "state", "at_ms"])
    op.execute(
        "INSERT INTO outbox"
        " (event_id, kind, member_id, facts, at_ms, state, tries, next_at_ms, error)"
        " SELECT event_id, kind, member_id, '{}', at_ms, 'dead', tries, at_ms,"
        " 'queued before mail could be sent' FROM billing_outbox"
    )
    op.drop_index("ix_billing_outbox_waiting", table_name="billing_outbox")
    op.drop_table("billing_outbox")


def downgrade() -> None:
    """Back to the table without states."""
    op.create_table(
        "billing_outbox",
        sa.Column("event_id", sa.String(200), primary_key=True),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("member_id", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(200), nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("delivered_at_ms", sa.BigInteger),
        sa.Column("tries", sa.Integer, nullable=False),
    )
    op.create_index("ix_billing_outbox_waiting", "billing_outbox", ["delivered_at_ms", "at_ms"])
    op.execute(
        "INSERT INTO billing_outbox"
        " (event_id, kind, member_id, subject, at_ms, delivered_at_ms, tries)"
        " SELECT event_id, kind, member_id, event_id, at_ms, sent_at_ms, tries FROM outbox"
    )
    op.drop_table("outbox")
