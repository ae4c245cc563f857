"""The tables of whom money belongs to: members with what they may spend, and experts."""

from __future__ import annotations

import sqlalchemy as sa

from billing_meter.database import ID_CHARS, METADATA

members = sa.Table(
    "billing_members",
    METADATA,
    sa.Column("member_id", sa.String(ID_CHARS), primary_key=True),
    sa.Column("created_at_ms", sa.BigInteger, nullable=False),
    sa.Column("premium_since_ms", sa.BigInteger),
    sa.Column("last_purchase_at_ms", sa.BigInteger),
    sa.Column("closed_at_ms", sa.BigInteger),
)

experts = sa.Table(
    "billing_experts",
    METADATA,
    sa.Column("expert_id", sa.String(ID_CHARS), primary_key=True),
    sa.Column("share_percent", sa.Integer, nullable=False),
    sa.Column("created_at_ms", sa.BigInteger, nullable=False),
    sa.Column("closed_at_ms", sa.BigInteger),
    sa.CheckConstraint("share_percent BETWEEN 0 AND 100", name="ck_billing_experts_share"),
)

spend_controls = sa.Table(
    "spend_controls",
    METADATA,
    sa.Column("member_id", sa.String(ID_CHARS), primary_key=True),
    sa.Column("time_zone", sa.String(ID_CHARS), nullable=False),
    sa.Column("break_until_ms", sa.BigInteger),
    sa.Column("updated_at_ms", sa.BigInteger, nullable=False),
)
"""Members who ever set a limit or took a break. Each has one row of `spend_limits` per span."""

spend_limits = sa.Table(
    "spend_limits",
    METADATA,
    sa.Column(
        "member_id",
        sa.String(ID_CHARS),
        sa.ForeignKey("spend_controls.member_id"),
        primary_key=True,
    ),
    sa.Column("span", sa.String(16), primary_key=True),
    sa.Column("limit_units", sa.BigInteger),
    sa.Column("next_units", sa.BigInteger),
    sa.Column("next_at_ms", sa.BigInteger),
    sa.Column("start_ms", sa.BigInteger, nullable=False),
    sa.Column("counted_units", sa.BigInteger, nullable=False),
    sa.Column("since_transfer", sa.BigInteger, nullable=False),
    sa.CheckConstraint("span IN ('session', 'day', 'week', 'month')", name="ck_spend_limits_span"),
    sa.CheckConstraint(
        "counted_units >= 0 AND (limit_units IS NULL OR limit_units >= 0)"
        " AND (next_units IS NULL OR next_units >= 0)",
        name="ck_spend_limits_units",
    ),
    sa.CheckConstraint("next_units IS NULL OR next_at_ms IS NOT NULL", name="ck_spend_limits_next"),
)
"""`counted_units` is what was spent since the window began and what is held now; it moves in the
transaction that moves the money. A session's row counts nothing."""
