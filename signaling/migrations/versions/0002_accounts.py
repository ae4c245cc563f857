"""Accounts, expert profiles and web sessions."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0002_accounts"
down_revision: str | None = "0001_money"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "accounts",
        sa.Column("account_id", sa.String(40), primary_key=True),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("username", sa.String(32), nullable=False),
        sa.Column("username_folded", sa.String(64), nullable=False, unique=True),
        sa.Column("email", sa.String(254), nullable=True),
        sa.Column("password_hash", sa.String(255), nullable=True),
        sa.Column("language", sa.String(2), nullable=False),
        sa.Column("premium_wanted", sa.Boolean, nullable=False),
        sa.Column("suspended", sa.Boolean, nullable=False),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.CheckConstraint("kind IN ('member', 'expert')", name="account_kind"),
    )
    op.create_table(
        "experts",
        sa.Column(
            "account_id", sa.String(40), sa.ForeignKey("accounts.account_id"), primary_key=True
        ),
        sa.Column("name", sa.String(32), nullable=False, unique=True),
        sa.Column("display_name", sa.String(60), nullable=False),
        sa.Column("headline", sa.String(120), nullable=False),
        sa.Column("about", sa.String(4000), nullable=False),
        sa.Column("categories", sa.JSON, nullable=False),
        sa.Column("languages", sa.JSON, nullable=False),
        sa.Column("private_units_per_s", sa.BigInteger, nullable=False),
        sa.Column("cam2cam_units_per_s", sa.BigInteger, nullable=False),
        sa.Column("two_way_audio_units_per_s", sa.BigInteger, nullable=False),
        sa.Column("cam2cam", sa.Boolean, nullable=False),
        sa.Column("two_way_audio", sa.Boolean, nullable=False),
        sa.Column("stream_key_hash", sa.String(64), nullable=False, unique=True),
        sa.Column("stream_key_hint", sa.String(8), nullable=False),
        sa.Column("stream_key_changed_at_ms", sa.BigInteger, nullable=False),
        sa.CheckConstraint(
            "private_units_per_s >= 0 AND cam2cam_units_per_s >= 0"
            " AND two_way_audio_units_per_s >= 0",
            name="expert_prices",
        ),
    )
    op.create_table(
        "web_sessions",
        sa.Column("token_hash", sa.String(64), primary_key=True),
        sa.Column(
            "account_id", sa.String(40), sa.ForeignKey("accounts.account_id"), nullable=False
        ),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_web_sessions_account_id", "web_sessions", ["account_id"])
    op.create_index("ix_web_sessions_expires_at_ms", "web_sessions", ["expires_at_ms"])


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("web_sessions")
    op.drop_table("experts")
    op.drop_table("accounts")
