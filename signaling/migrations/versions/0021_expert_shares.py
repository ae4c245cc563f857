"""A share of each feature for every expert, and the shares with which everything began."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0021_expert_shares"
down_revision: str | None = "0020_purchase_refunds"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

FEATURES = (
    "private",
    "cam2cam",
    "two_way_audio",
    "surprise",
    "story",
    "content",
    "message",
    "group",
)
OF_SESSIONS = ("cam2cam_share_percent", "two_way_audio_share_percent")
THEIRS = (
    "COALESCE((SELECT share_percent FROM billing_experts"
    " WHERE billing_experts.expert_id = {table}.expert_id), 0)"
)
"""There was one share for each expert, which nothing could change."""


def upgrade() -> None:
    """Make the tables and columns; the one share that there was is the share of every feature."""
    op.create_table(
        "expert_shares",
        sa.Column("expert_id", sa.String(64), nullable=False),
        *(sa.Column(f"{name}_percent", sa.Integer, nullable=False) for name in FEATURES),
        sa.CheckConstraint(
            " AND ".join(f"{name}_percent BETWEEN 0 AND 100" for name in FEATURES),
            name="ck_expert_shares_percent",
        ),
        sa.ForeignKeyConstraint(["expert_id"], ["billing_experts.expert_id"]),
        sa.PrimaryKeyConstraint("expert_id"),
    )
    op.create_table(
        "expert_share_changes",
        sa.Column("expert_id", sa.String(64), nullable=False),
        sa.Column("change", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("feature", sa.String(16), nullable=False),
        sa.Column("percent", sa.Integer, nullable=False),
        sa.Column("was_percent", sa.Integer, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("changed_by", sa.String(64), nullable=False),
        sa.CheckConstraint("percent BETWEEN 0 AND 100", name="ck_expert_share_changes_percent"),
        sa.ForeignKeyConstraint(["expert_id"], ["billing_experts.expert_id"]),
        sa.PrimaryKeyConstraint("expert_id", "change"),
    )
    columns = ", ".join(f"{name}_percent" for name in FEATURES)
    same = ", ".join("share_percent" for _ in FEATURES)
    op.execute(
        f"INSERT INTO expert_shares (expert_id, {columns})"
        f" SELECT expert_id, {same} FROM billing_experts"
    )
    # A column that may not be empty needs something for the rows there are: written right below.
    for name in OF_SESSIONS:
        op.add_column(
            "meter_sessions", sa.Column(name, sa.Integer, nullable=False, server_default="0")
        )
    op.execute(
        "UPDATE meter_sessions SET " + ", ".join(f"{n} = share_percent" for n in OF_SESSIONS)
    )
    op.add_column(
        "feature_purchases",
        sa.Column("share_percent", sa.Integer, nullable=False, server_default="0"),
    )
    theirs = THEIRS.format(table="feature_purchases")
    op.execute(f"UPDATE feature_purchases SET share_percent = {theirs}")
    op.add_column("group_sessions", sa.Column("share_percent", sa.Integer, nullable=True))
    theirs = THEIRS.format(table="group_sessions")
    op.execute(f"UPDATE group_sessions SET share_percent = {theirs} WHERE started_at_ms > 0")
    with op.batch_alter_table("billing_experts") as experts:
        experts.drop_constraint("ck_billing_experts_share", type_="check")
        experts.drop_column("share_percent")


def downgrade() -> None:
    """One share again, that of the session; what others were and became is lost."""
    op.add_column(
        "billing_experts",
        sa.Column("share_percent", sa.Integer, nullable=False, server_default="0"),
    )
    op.execute(
        "UPDATE billing_experts SET share_percent = (SELECT private_percent FROM expert_shares"
        " WHERE expert_shares.expert_id = billing_experts.expert_id)"
    )
    with op.batch_alter_table("billing_experts") as experts:
        experts.create_check_constraint(
            "ck_billing_experts_share", "share_percent BETWEEN 0 AND 100"
        )
    op.drop_column("group_sessions", "share_percent")
    op.drop_column("feature_purchases", "share_percent")
    for name in reversed(OF_SESSIONS):
        op.drop_column("meter_sessions", name)
    op.drop_table("expert_share_changes")
    op.drop_table("expert_shares")
