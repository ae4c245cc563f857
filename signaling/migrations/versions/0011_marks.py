"""What open sessions have used, many in one record; statements that are read page by page."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0011_marks"
down_revision: str | None = "0010_payouts"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

LINES = sa.text(
    "outcome = 'posted' AND kind NOT IN ('session_charge', 'session_hold', 'hold', 'hold_void')"
)
LAST_CHARGES = """
UPDATE meter_sessions SET last_charge = (
    SELECT max(transfer) FROM ledger_transfers
    WHERE ledger_transfers.member_id = meter_sessions.member_id
    AND ledger_transfers.kind = 'session_charge'
    AND ledger_transfers.subject = 'session:' || meter_sessions.session_id
)
"""


def upgrade() -> None:
    """Make the table and the indexes; find each session's last charge."""
    op.create_table(
        "meter_marks",
        sa.Column("node", sa.String(64), nullable=False),
        sa.Column("page", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("record", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("node", "page"),
        postgresql_with={"fillfactor": 40},
    )
    op.add_column("meter_sessions", sa.Column("page", sa.Integer))
    op.add_column("meter_sessions", sa.Column("last_charge", sa.BigInteger))
    op.execute(LAST_CHARGES)
    op.create_index("ix_meter_sessions_charged", "meter_sessions", ["member_id", "last_charge"])
    op.create_index(
        "ix_ledger_transfers_lines",
        "ledger_transfers",
        ["member_id", "transfer"],
        sqlite_where=LINES,
        postgresql_where=LINES,
    )


def downgrade() -> None:
    """Drop them. What was used since a session's money moved last goes with the table."""
    op.drop_index("ix_ledger_transfers_lines", table_name="ledger_transfers")
    op.drop_index("ix_meter_sessions_charged", table_name="meter_sessions")
    op.drop_column("meter_sessions", "last_charge")
    op.drop_column("meter_sessions", "page")
    op.drop_table("meter_marks")
