"""Group sessions and the contributions to them."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0018_groups"
down_revision: str | None = "0017_purchases"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_OPEN = sa.text("state IN ('pre_session', 'live')")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "group_sessions",
        sa.Column("group_id", sa.String(64), primary_key=True),
        sa.Column("expert_id", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(32)),
        sa.Column("goal_units", sa.BigInteger, nullable=False),
        sa.Column("minimum_units", sa.BigInteger, nullable=False),
        sa.Column("length_ms", sa.BigInteger, nullable=False),
        sa.Column("pre_session_ms", sa.BigInteger, nullable=False),
        sa.Column("start_policy", sa.String(32), nullable=False),
        sa.Column("allow_late", sa.Boolean, nullable=False),
        sa.Column("node", sa.String(64)),
        sa.Column("beat", sa.BigInteger, nullable=False),
        sa.Column("played_ms", sa.BigInteger, nullable=False),
        sa.Column("pledged_units", sa.BigInteger, nullable=False),
        sa.Column("captured_units", sa.BigInteger, nullable=False),
        sa.Column("refunded_units", sa.BigInteger, nullable=False),
        sa.Column("goal_pledge", sa.String(64)),
        sa.Column("start_pledge", sa.String(64)),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("opened_at_ms", sa.BigInteger),
        sa.Column("started_at_ms", sa.BigInteger),
        sa.Column("ended_at_ms", sa.BigInteger),
        *_group_checks(),
    )
    op.create_index("ix_group_sessions_expert", "group_sessions", ["expert_id", "created_at_ms"])
    op.create_index("ix_group_sessions_state", "group_sessions", ["state", "node"])
    op.create_index(
        "ux_group_sessions_one_open",
        "group_sessions",
        ["expert_id"],
        unique=True,
        sqlite_where=_OPEN,
        postgresql_where=_OPEN,
    )
    op.create_table(
        "group_pledges",
        sa.Column(
            "pledge_id", sa.String(64), sa.ForeignKey("ledger_holds.hold_id"), primary_key=True
        ),
        sa.Column(
            "group_id", sa.String(64), sa.ForeignKey("group_sessions.group_id"), nullable=False
        ),
        sa.Column("member_id", sa.String(64), nullable=False),
        sa.Column("units", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("joined_ms", sa.BigInteger),
        sa.Column("transfer", sa.BigInteger, sa.ForeignKey("ledger_transfers.transfer")),
        sa.Column("refunded_units", sa.BigInteger, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.CheckConstraint(
            "state IN ('held', 'captured', 'released')", name="ck_group_pledges_state"
        ),
        sa.CheckConstraint(
            "(state = 'held') = (transfer IS NULL)", name="ck_group_pledges_transfer"
        ),
        sa.CheckConstraint(
            "units > 0 AND refunded_units >= 0 AND refunded_units <= units"
            " AND (state = 'captured' OR refunded_units = 0)",
            name="ck_group_pledges_units",
        ),
    )
    op.create_index("ix_group_pledges_group", "group_pledges", ["group_id", "member_id"])


def _group_checks() -> list[sa.CheckConstraint]:
    return [
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
            "node IS NOT NULL OR state NOT IN ('pre_session', 'live')",
            name="ck_group_sessions_owned",
        ),
        sa.CheckConstraint(
            "refunded_units >= 0 AND refunded_units <= captured_units"
            " AND captured_units <= pledged_units",
            name="ck_group_sessions_units",
        ),
        sa.CheckConstraint(
            "played_ms >= 0 AND played_ms <= length_ms", name="ck_group_sessions_played"
        ),
    ]


def downgrade() -> None:
    """Drop them."""
    op.drop_table("group_pledges")
    op.drop_table("group_sessions")
