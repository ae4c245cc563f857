"""Tables of accounts and web sessions; they share the metadata with money and rooms."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Boolean, CheckConstraint, Column, ForeignKey, String, Table

from billing_meter.database import METADATA

accounts = Table(
    "accounts",
    METADATA,
    Column("account_id", String(40), primary_key=True),
    Column("kind", String(8), nullable=False),
    Column("username", String(32), nullable=False),
    # Unique whatever the case and the look-alike forms: NFKC and casefold are done by the writer.
    Column("username_folded", String(64), nullable=False, unique=True),
    # Not unique on purpose: a refusal would tell a stranger who has an account.
    Column("email", String(254), nullable=True),
    Column("password_hash", String(255), nullable=True),
    Column("language", String(2), nullable=False),
    Column("premium_wanted", Boolean, nullable=False),
    Column("suspended", Boolean, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    CheckConstraint("kind IN ('member', 'expert')", name="account_kind"),
)

experts = Table(
    "experts",
    METADATA,
    Column("account_id", String(40), ForeignKey("accounts.account_id"), primary_key=True),
    Column("name", String(32), nullable=False, unique=True),
    Column("display_name", String(60), nullable=False),
    Column("headline", String(120), nullable=False),
    Column("about", String(4000), nullable=False),
    Column("categories", JSON, nullable=False),
    Column("languages", JSON, nullable=False),
    Column("private_units_per_s", BigInteger, nullable=False),
    Column("cam2cam_units_per_s", BigInteger, nullable=False),
    Column("two_way_audio_units_per_s", BigInteger, nullable=False),
    Column("cam2cam", Boolean, nullable=False),
    Column("two_way_audio", Boolean, nullable=False),
    Column("stream_key_hash", String(64), nullable=False, unique=True),
    Column("stream_key_hint", String(8), nullable=False),
    Column("stream_key_changed_at_ms", BigInteger, nullable=False),
    CheckConstraint(
        "private_units_per_s >= 0 AND cam2cam_units_per_s >= 0 AND two_way_audio_units_per_s >= 0",
        name="expert_prices",
    ),
)

web_sessions = Table(
    "web_sessions",
    METADATA,
    # SHA-256 of the cookie: who reads the database cannot sign in with what is in it.
    Column("token_hash", String(64), primary_key=True),
    Column("account_id", String(40), ForeignKey("accounts.account_id"), nullable=False, index=True),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("expires_at_ms", BigInteger, nullable=False, index=True),
)

staff_roles = Table(
    "staff_roles",
    METADATA,
    Column("account_id", String(40), ForeignKey("accounts.account_id"), primary_key=True),
    Column("since_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("given_by", String(64), nullable=False),
    Column("until_ms", BigInteger),
    Column("taken_by", String(64)),
    CheckConstraint("(until_ms IS NULL) = (taken_by IS NULL)", name="staff_role_taken"),
)
"""Who is or was staff; a row is ended and never removed. The command line alone writes here."""
