"""The tables of group sessions as far as money needs them, and of the contributions to them."""

from __future__ import annotations

import sqlalchemy as sa

from billing_meter.database import ID_CHARS, METADATA

_OPEN = sa.text("state IN ('pre_session', 'live')")

groups = sa.Table(
    "group_sessions",
    METADATA,
    sa.Column("group_id", sa.String(ID_CHARS), primary_key=True),
    sa.Column("expert_id", sa.String(ID_CHARS), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("reason", sa.String(32)),
    sa.Column("goal_units", sa.BigInteger, nullable=False),
    sa.Column("minimum_units", sa.BigInteger, nullable=False),
    sa.Column("length_ms", sa.BigInteger, nullable=False),
    sa.Column("pre_session_ms", sa.BigInteger, nullable=False),
    sa.Column("start_policy", sa.String(32), nullable=False),
    sa.Column("allow_late", sa.Boolean, nullable=False),
    sa.Column("node", sa.String(ID_CHARS)),
    sa.Column("beat", sa.BigInteger, nullable=False),
    sa.Column("played_ms", sa.BigInteger, nullable=False),
    sa.Column("pledged_units", sa.BigInteger, nullable=False),
    sa.Column("captured_units", sa.BigInteger, nullable=False),
    sa.Column("refunded_units", sa.BigInteger, nullable=False),
    sa.Column("goal_pledge", sa.String(ID_CHARS)),
    sa.Column("start_pledge", sa.String(ID_CHARS)),
    sa.Column("created_at_ms", sa.BigInteger, nullable=False),
    sa.Column("opened_at_ms", sa.BigInteger),
    sa.Column("started_at_ms", sa.BigInteger),
    sa.Column("ended_at_ms", sa.BigInteger),
    sa.Column("share_percent", sa.Integer),
    sa.CheckConstraint(
        "state IN ('scheduled', 'pre_session', 'live', 'ended', 'cancelled', 'expired')",
        name="ck_group_sessions_state",
    ),
    sa.CheckConstraint(
        "(state IN ('ended', 'cancelled', 'expired')) = (ended_at_ms IS NOT NULL)"
        " AND (ended_at_ms IS NULL) = (reason IS NULL)",
        name="ck_group_sessions_over",
    ),
    sa.CheckConstraint(
        "(state IN ('live', 'ended')) = (started_at_ms IS NOT NULL)",
        name="ck_group_sessions_started",
    ),
    sa.CheckConstraint(
        "node IS NOT NULL OR state NOT IN ('pre_session', 'live')", name="ck_group_sessions_owned"
    ),
    sa.CheckConstraint(
        "refunded_units >= 0 AND refunded_units <= captured_units"
        " AND captured_units <= pledged_units",
        name="ck_group_sessions_units",
    ),
    sa.CheckConstraint(
        "played_ms >= 0 AND played_ms <= length_ms", name="ck_group_sessions_played"
    ),
    sa.Index("ix_group_sessions_expert", "expert_id", "created_at_ms"),
    sa.Index("ix_group_sessions_state", "state", "node"),
    sa.Index(
        "ux_group_sessions_one_open",
        "expert_id",
        unique=True,
        sqlite_where=_OPEN,
        postgresql_where=_OPEN,
    ),
)
"""`beat` moves while the owner (`node`) lives, `played_ms` is the durable mark of what was shown;
`goal_pledge` is the contribution that brought it to its goal, `start_pledge` the one that started
it. `share_percent` is the expert's share at the start, for all who take part, late comers too."""

pledges = sa.Table(
    "group_pledges",
    METADATA,
    sa.Column(
        "pledge_id", sa.String(ID_CHARS), sa.ForeignKey("ledger_holds.hold_id"), primary_key=True
    ),
    sa.Column(
        "group_id", sa.String(ID_CHARS), sa.ForeignKey("group_sessions.group_id"), nullable=False
    ),
    sa.Column("member_id", sa.String(ID_CHARS), nullable=False),
    sa.Column("units", sa.BigInteger, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("joined_ms", sa.BigInteger),
    sa.Column("transfer", sa.BigInteger, sa.ForeignKey("ledger_transfers.transfer")),
    sa.Column("refunded_units", sa.BigInteger, nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.CheckConstraint("state IN ('held', 'captured', 'released')", name="ck_group_pledges_state"),
    sa.CheckConstraint("(state = 'held') = (transfer IS NULL)", name="ck_group_pledges_transfer"),
    sa.CheckConstraint(
        "units > 0 AND refunded_units >= 0 AND refunded_units <= units"
        " AND (state = 'captured' OR refunded_units = 0)",
        name="ck_group_pledges_units",
    ),
    sa.Index("ix_group_pledges_group", "group_id", "member_id"),
)
"""One contribution: its hold has the same id. `transfer` captured it or gave it back; `joined_ms`
is how much had been shown when its member joined a live group."""
