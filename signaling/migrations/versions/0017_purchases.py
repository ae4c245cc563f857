"""What members buy of experts, and the access that it gives."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0017_purchases"
down_revision: str | None = "0016_card_checks"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Make the tables."""
    transfer = ("transfer", sa.BigInteger)
    op.create_table(
        "feature_purchases",
        sa.Column(
            *transfer,
            sa.ForeignKey("ledger_transfers.transfer"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("member_id", sa.String(64), nullable=False),
        sa.Column("expert_id", sa.String(64), nullable=False),
        sa.Column("feature", sa.String(16), nullable=False),
        sa.Column("object_id", sa.String(64), nullable=False),
        sa.Column("units", sa.BigInteger, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("refund_transfer", sa.BigInteger, sa.ForeignKey("ledger_transfers.transfer")),
        sa.Column("refunded_at_ms", sa.BigInteger),
        sa.Column("refunded_by", sa.String(64)),
        sa.CheckConstraint("units > 0", name="ck_feature_purchases_units"),
        sa.CheckConstraint(
            "(refund_transfer IS NULL) = (refunded_at_ms IS NULL)"
            " AND (refund_transfer IS NULL) = (refunded_by IS NULL)",
            name="ck_feature_purchases_refund",
        ),
    )
    op.create_index(
        "ix_feature_purchases_expert", "feature_purchases", ["expert_id", "feature", "at_ms"]
    )
    op.create_index("ix_feature_purchases_member", "feature_purchases", ["member_id", "transfer"])
    op.create_table(
        "feature_access",
        sa.Column(
            *transfer,
            sa.ForeignKey("feature_purchases.transfer"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("member_id", sa.String(64), nullable=False),
        sa.Column("feature", sa.String(16), nullable=False),
        sa.Column("object_id", sa.String(64), nullable=False),
        sa.Column("from_ms", sa.BigInteger, nullable=False),
        sa.Column("until_ms", sa.BigInteger, nullable=False),
        sa.CheckConstraint("from_ms <= until_ms", name="ck_feature_access_window"),
    )
    op.create_index(
        "ix_feature_access_member",
        "feature_access",
        ["member_id", "feature", "object_id", "until_ms"],
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("feature_access")
    op.drop_table("feature_purchases")
