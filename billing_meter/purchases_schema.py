"""The tables of what members bought of experts, and of the access that it gives."""

from __future__ import annotations

import sqlalchemy as sa

from billing_meter.database import ID_CHARS, METADATA

REFUNDED = sa.text("refunded_at_ms IS NOT NULL")
"""Few are, and every purchase would pay for an index of all."""

purchases = sa.Table(
    "feature_purchases",
    METADATA,
    sa.Column(
        "transfer",
        sa.BigInteger,
        sa.ForeignKey("ledger_transfers.transfer"),
        primary_key=True,
        autoincrement=False,
    ),
    sa.Column("member_id", sa.String(ID_CHARS), nullable=False),
    sa.Column("expert_id", sa.String(ID_CHARS), nullable=False),
    sa.Column("feature", sa.String(16), nullable=False),
    sa.Column("object_id", sa.String(ID_CHARS), nullable=False),
    sa.Column("units", sa.BigInteger, nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("refund_transfer", sa.BigInteger, sa.ForeignKey("ledger_transfers.transfer")),
    sa.Column("refunded_at_ms", sa.BigInteger),
    sa.Column("refunded_by", sa.String(ID_CHARS)),
    sa.Column("reply_transfer", sa.BigInteger),
    sa.Column("replied_at_ms", sa.BigInteger),
    sa.Column("refunded_units", sa.BigInteger),
    sa.Column("refund_reason", sa.String(120)),
    sa.Column("share_percent", sa.Integer, nullable=False),
    sa.CheckConstraint("units > 0", name="ck_feature_purchases_units"),
    sa.CheckConstraint(
        "(refund_transfer IS NULL) = (refunded_at_ms IS NULL)"
        " AND (refund_transfer IS NULL) = (refunded_by IS NULL)",
        name="ck_feature_purchases_refund",
    ),
    sa.Index("ix_feature_purchases_expert", "expert_id", "feature", "at_ms"),
    sa.Index("ix_feature_purchases_member", "member_id", "transfer"),
    sa.Index(
        "ix_feature_purchases_refunded",
        "refunded_at_ms",
        sqlite_where=REFUNDED,
        postgresql_where=REFUNDED,
    ),
)
"""A row for each purchase, written with its transfer; `units` is the price at which it was made,
and `refunded_units` what staff gave back of it, once. All of it has ended the access.
`share_percent` is the expert's share at its debit, which `reply_transfer` gave them of a message
that they answered."""

access = sa.Table(
    "feature_access",
    METADATA,
    sa.Column(
        "transfer",
        sa.BigInteger,
        sa.ForeignKey("feature_purchases.transfer"),
        primary_key=True,
        autoincrement=False,
    ),
    sa.Column("member_id", sa.String(ID_CHARS), nullable=False),
    sa.Column("feature", sa.String(16), nullable=False),
    sa.Column("object_id", sa.String(ID_CHARS), nullable=False),
    sa.Column("from_ms", sa.BigInteger, nullable=False),
    sa.Column("until_ms", sa.BigInteger, nullable=False),
    sa.CheckConstraint("from_ms <= until_ms", name="ck_feature_access_window"),
    sa.Index("ix_feature_access_member", "member_id", "feature", "object_id", "until_ms"),
)
"""Who may see what, and when: [from_ms, until_ms), written with the purchase that gives it. An
object that its expert takes down stays in here: whoever paid keeps the access."""
