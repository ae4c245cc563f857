"""The tables of the Reward Club: all of it is counted out of the journal and could be again."""

from __future__ import annotations

import sqlalchemy as sa

from billing_meter.database import ID_CHARS, METADATA

reward_cursor = sa.Table(
    "reward_cursor",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("transfer", sa.BigInteger, nullable=False),
    sa.CheckConstraint("id = 1", name="ck_reward_cursor_one_row"),
)
"""The last transfer whose points are counted."""

reward_months = sa.Table(
    "reward_months",
    METADATA,
    sa.Column("member_id", sa.String(ID_CHARS), primary_key=True),
    sa.Column("month", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("units", sa.BigInteger, nullable=False),
)
"""What members spent in a month (year × 100 + month, UTC), less what came back in it."""

reward_ranks = sa.Table(
    "reward_ranks",
    METADATA,
    sa.Column("member_id", sa.String(ID_CHARS), primary_key=True),
    sa.Column("rank_name", sa.String(16), primary_key=True),
    sa.Column("reached_at_ms", sa.BigInteger, nullable=False),
)
"""When a member last reached a rank."""
