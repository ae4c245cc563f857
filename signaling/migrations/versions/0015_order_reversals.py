"""What providers told of money that went back, for each order."""

from collections import defaultdict
from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0015_order_reversals"
down_revision: str | None = "0014_rewards"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

TAKEN = """
SELECT o.order_id, o.price_minor, o.credits_units, t.transfer, t.key, t.kind, t.units, t.at_ms,
       COALESCE((SELECT SUM(g.units) FROM ledger_transfers g
                 WHERE g.reverses = t.transfer AND g.outcome = 'posted'), 0) AS given
FROM orders o JOIN ledger_transfers t ON t.reverses = o.transfer
WHERE t.outcome = 'posted' AND t.kind IN ('purchase_refund', 'charge_back')
  AND t.transfer NOT IN (SELECT transfer FROM order_refunds WHERE state <> 'done')
ORDER BY t.transfer
"""


def upgrade() -> None:
    """Make the table, and fill it from the transfers that followed what was told before."""
    table = op.create_table(
        "order_reversals",
        sa.Column("order_id", sa.String(64), nullable=False),
        sa.Column("dispute_id", sa.String(200), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("price_minor", sa.BigInteger, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.CheckConstraint(
            "state IN ('refunded', 'inquiry', 'open', 'lost', 'won')",
            name="ck_order_reversals_state",
        ),
        sa.CheckConstraint(
            "(state = 'refunded') = (dispute_id = '')", name="ck_order_reversals_refunded"
        ),
        sa.CheckConstraint("price_minor >= 0", name="ck_order_reversals_amount"),
        sa.ForeignKeyConstraint(["order_id"], ["orders.order_id"]),
        sa.PrimaryKeyConstraint("order_id", "dispute_id"),
    )
    connection = op.get_bind()
    refunded: dict[str, list[sa.RowMapping]] = defaultdict(list)
    rows = []
    for row in connection.execute(sa.text(TAKEN)).mappings().all():
        if row["kind"] == "purchase_refund":
            refunded[row["order_id"]].append(row)
            continue
        dispute_id = row["key"].removeprefix(f"charge_back:{row['order_id']}:")
        state = "won" if row["given"] else "open"
        rows.append(_told(row, dispute_id, state, row["units"]))
    for parts in refunded.values():
        units = sum(part["units"] - part["given"] for part in parts)
        rows.append(_told(parts[-1], "", "refunded", units))
    if rows:
        op.bulk_insert(table, rows)
    # A purchase of which credits are left counts as one.
    op.execute(
        "UPDATE orders SET state = 'settled', ended_at_ms = NULL"
        " WHERE state = 'charged_back' AND refunded_units < credits_units"
    )
    op.execute(
        "UPDATE orders SET state = 'charged_back'"
        " WHERE state = 'settled' AND refunded_units = credits_units"
    )


def _told(row: sa.RowMapping, dispute_id: str, state: str, units: int) -> dict[str, str | int]:
    """The least money to which so many credits belong."""
    return {
        "order_id": row["order_id"],
        "dispute_id": dispute_id,
        "state": state,
        "price_minor": -(-units * row["price_minor"] // row["credits_units"]),
        "at_ms": row["at_ms"],
    }


def downgrade() -> None:
    """Drop it."""
    op.drop_table("order_reversals")
