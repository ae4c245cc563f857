"""The tables of private sessions: who meters them, what they used, what is asked back for them."""

from __future__ import annotations

import sqlalchemy as sa

from billing_meter.database import ID_CHARS, METADATA

meter_owner = sa.Table(
    "meter_owner",
    METADATA,
    sa.Column("node", sa.String(ID_CHARS), primary_key=True),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
)
"""The epoch of the process that may write a node's sessions; every start raises it."""

sessions = sa.Table(
    "meter_sessions",
    METADATA,
    sa.Column("session_id", sa.String(ID_CHARS), primary_key=True),
    sa.Column("node", sa.String(ID_CHARS), nullable=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("reason", sa.String(32)),
    sa.Column("member_id", sa.String(ID_CHARS), nullable=False),
    sa.Column("expert_id", sa.String(ID_CHARS), nullable=False),
    sa.Column("hold_id", sa.String(ID_CHARS), sa.ForeignKey("ledger_holds.hold_id")),
    sa.Column("share_percent", sa.Integer, nullable=False),
    sa.Column("spend_limit_units", sa.BigInteger),
    sa.Column("private_units_per_s", sa.Integer, nullable=False),
    sa.Column("cam2cam_units_per_s", sa.Integer, nullable=False),
    sa.Column("two_way_audio_units_per_s", sa.Integer, nullable=False),
    sa.Column("private_s", sa.BigInteger, nullable=False),
    sa.Column("cam2cam_s", sa.BigInteger, nullable=False),
    sa.Column("two_way_audio_s", sa.BigInteger, nullable=False),
    sa.Column("held_ms", sa.BigInteger, nullable=False),
    sa.Column("cam2cam_held_ms", sa.BigInteger, nullable=False),
    sa.Column("two_way_audio_held_ms", sa.BigInteger, nullable=False),
    sa.Column("charged_units", sa.BigInteger, nullable=False),
    sa.Column("posted_units", sa.BigInteger, nullable=False),
    sa.Column("expert_units", sa.BigInteger, nullable=False),
    sa.Column("entries", sa.BigInteger, nullable=False),
    sa.Column("opened_at_ms", sa.BigInteger, nullable=False),
    sa.Column("started_at_ms", sa.BigInteger),
    sa.Column("marked_at_ms", sa.BigInteger, nullable=False),
    sa.Column("ended_at_ms", sa.BigInteger),
    sa.Column("page", sa.Integer),
    sa.Column("last_charge", sa.BigInteger),
    sa.Column("cam2cam_share_percent", sa.Integer, nullable=False),
    sa.Column("two_way_audio_share_percent", sa.Integer, nullable=False),
    sa.CheckConstraint("state IN ('open', 'closed')", name="ck_meter_sessions_state"),
    sa.CheckConstraint(
        "charged_units = private_s * private_units_per_s + cam2cam_s * cam2cam_units_per_s"
        " + two_way_audio_s * two_way_audio_units_per_s",
        name="ck_meter_sessions_charged",
    ),
    sa.CheckConstraint(
        "private_s * 1000 <= held_ms AND cam2cam_s * 1000 <= cam2cam_held_ms"
        " AND two_way_audio_s * 1000 <= two_way_audio_held_ms",
        name="ck_meter_sessions_whole_seconds",
    ),
    sa.CheckConstraint("posted_units <= charged_units", name="ck_meter_sessions_posted"),
    sa.CheckConstraint(
        "state = 'open' OR posted_units = charged_units", name="ck_meter_sessions_settled"
    ),
    sa.Index("ix_meter_sessions_open", "state", "node"),
    sa.Index("ix_meter_sessions_member", "member_id", "opened_at_ms"),
    sa.Index("ix_meter_sessions_expert", "expert_id", "opened_at_ms"),
    sa.Index("ix_meter_sessions_charged", "member_id", "last_charge"),
)
"""One row per private session, brought up to date whenever its money moves; what it used since is
on its `page` of `meter_marks`. `charged − posted` is used already and still lies in the hold.
`last_charge` is the number of its last transfer that charged anything. The expert's shares are
those of its opening."""

marks = sa.Table(
    "meter_marks",
    METADATA,
    sa.Column("node", sa.String(ID_CHARS), primary_key=True),
    sa.Column("page", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("record", sa.LargeBinary, nullable=False),
    # Each row is written anew every second: room beside it keeps that within its page.
    postgresql_with={"fillfactor": 40},
)
"""What the open sessions of a node have used by the last tick, many in one record (`marks.py`)."""

refunds = sa.Table(
    "refunds",
    METADATA,
    sa.Column(
        "session_id",
        sa.String(ID_CHARS),
        sa.ForeignKey("meter_sessions.session_id"),
        primary_key=True,
    ),
    sa.Column("member_id", sa.String(ID_CHARS), nullable=False),
    sa.Column("expert_id", sa.String(ID_CHARS), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("charged_units", sa.BigInteger, nullable=False),
    sa.Column("granted_units", sa.BigInteger, nullable=False),
    sa.Column("complaint", sa.Text, nullable=False),
    sa.Column("requested_at_ms", sa.BigInteger, nullable=False),
    sa.Column("decided_at_ms", sa.BigInteger),
    sa.Column("decided_by", sa.String(ID_CHARS)),
    sa.CheckConstraint("state IN ('requested', 'approved', 'denied')", name="ck_refunds_state"),
    sa.CheckConstraint(
        "granted_units >= 0 AND granted_units <= charged_units"
        " AND (state = 'approved') = (granted_units > 0)",
        name="ck_refunds_granted",
    ),
    sa.CheckConstraint(
        "(state = 'requested') = (decided_at_ms IS NULL)", name="ck_refunds_decided"
    ),
    sa.Index("ix_refunds_state", "state", "requested_at_ms"),
    sa.Index("ix_refunds_decided", "decided_at_ms"),
)
"""What members asked back for private sessions, once for each, and what was decided."""
