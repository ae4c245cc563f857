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
    sa.Column("created_at_ms", sa.BigInteger, nullable=False),
    sa.Column("closed_at_ms", sa.BigInteger),
)

shares = sa.Table(
    "expert_shares",
    METADATA,
    sa.Column(
        "expert_id",
        sa.String(ID_CHARS),
        sa.ForeignKey("billing_experts.expert_id"),
        primary_key=True,
    ),
    sa.Column("private_percent", sa.Integer, nullable=False),
    sa.Column("cam2cam_percent", sa.Integer, nullable=False),
    sa.Column("two_way_audio_percent", sa.Integer, nullable=False),
    sa.Column("surprise_percent", sa.Integer, nullable=False),
    sa.Column("story_percent", sa.Integer, nullable=False),
    sa.Column("content_percent", sa.Integer, nullable=False),
    sa.Column("message_percent", sa.Integer, nullable=False),
    sa.Column("group_percent", sa.Integer, nullable=False),
    sa.CheckConstraint(
        "private_percent BETWEEN 0 AND 100 AND cam2cam_percent BETWEEN 0 AND 100"
        " AND two_way_audio_percent BETWEEN 0 AND 100 AND surprise_percent BETWEEN 0 AND 100"
        " AND story_percent BETWEEN 0 AND 100 AND content_percent BETWEEN 0 AND 100"
        " AND message_percent BETWEEN 0 AND 100 AND group_percent BETWEEN 0 AND 100",
        name="ck_expert_shares_percent",
    ),
)
"""Every expert's shares as they count for what begins or is bought from now on."""

share_changes = sa.Table(
    "expert_share_changes",
    METADATA,
    sa.Column(
        "expert_id",
        sa.String(ID_CHARS),
        sa.ForeignKey("billing_experts.expert_id"),
        primary_key=True,
    ),
    sa.Column("change", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("feature", sa.String(16), nullable=False),
    sa.Column("percent", sa.Integer, nullable=False),
    sa.Column("was_percent", sa.Integer, nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("changed_by", sa.String(ID_CHARS), nullable=False),
    sa.CheckConstraint("percent BETWEEN 0 AND 100", name="ck_expert_share_changes_percent"),
)
"""Every change of an expert's shares, numbered from 1 for each of them; never changed again."""

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
