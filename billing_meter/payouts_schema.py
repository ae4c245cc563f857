"""The tables of what experts are paid."""

from __future__ import annotations

import sqlalchemy as sa

from billing_meter.database import ID_CHARS, KEY_CHARS, METADATA

payout_destinations = sa.Table(
    "payout_destinations",
    METADATA,
    sa.Column("expert_id", sa.String(ID_CHARS), primary_key=True),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("iban", sa.String(34), nullable=False),
    sa.Column("updated_at_ms", sa.BigInteger, nullable=False),
)
"""Where experts are paid to; each payout keeps the one that it was asked for with."""

payouts = sa.Table(
    "payouts",
    METADATA,
    sa.Column("payout_id", sa.String(ID_CHARS), primary_key=True),
    sa.Column("key", sa.String(KEY_CHARS), nullable=False, unique=True),
    sa.Column("request_hash", sa.String(64), nullable=False),
    sa.Column("expert_id", sa.String(ID_CHARS), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("units", sa.BigInteger, nullable=False),
    sa.Column("amount_minor", sa.BigInteger, nullable=False),
    sa.Column("currency", sa.String(3), nullable=False),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("iban", sa.String(34), nullable=False),
    sa.Column("channel", sa.String(32)),
    sa.Column("reference", sa.String(KEY_CHARS)),
    sa.Column("failure", sa.String(KEY_CHARS)),
    sa.Column("requested_at_ms", sa.BigInteger, nullable=False),
    sa.Column("decided_at_ms", sa.BigInteger),
    sa.Column("decided_by", sa.String(ID_CHARS)),
    sa.Column("closed_at_ms", sa.BigInteger),
    sa.Column("closed_by", sa.String(ID_CHARS)),
    sa.Column("returned_at_ms", sa.BigInteger),
    sa.Column("returned_by", sa.String(ID_CHARS)),
    sa.CheckConstraint(
        "state IN ('requested', 'approved', 'paid', 'failed', 'denied', 'cancelled', 'returned')",
        name="ck_payouts_state",
    ),
    sa.CheckConstraint("units > 0 AND amount_minor > 0", name="ck_payouts_amount"),
    sa.CheckConstraint(
        "(state IN ('requested', 'approved')) = (closed_at_ms IS NULL)", name="ck_payouts_closed"
    ),
    sa.CheckConstraint(
        "(state IN ('approved', 'paid', 'failed', 'returned')) = (channel IS NOT NULL)",
        name="ck_payouts_channel",
    ),
    sa.Index("ix_payouts_expert", "expert_id", "requested_at_ms"),
    sa.Index("ix_payouts_state", "state", "requested_at_ms"),
    sa.Index(
        "ux_payouts_one_open",
        "expert_id",
        unique=True,
        sqlite_where=sa.text("closed_at_ms IS NULL"),
        postgresql_where=sa.text("closed_at_ms IS NULL"),
    ),
)
"""Each is asked for by an expert, decided by staff, and paid by `channel` or given back."""
