"""The tables of what is offered: promotions, and free credits with the marks of whom had them."""

from __future__ import annotations

import sqlalchemy as sa

from billing_meter.database import ID_CHARS, KEY_CHARS, METADATA

promotions = sa.Table(
    "promotions",
    METADATA,
    sa.Column("promotion_id", sa.String(ID_CHARS), primary_key=True),
    sa.Column("percent", sa.Integer, nullable=False),
    sa.Column("starts_at_ms", sa.BigInteger, nullable=False),
    sa.Column("ends_at_ms", sa.BigInteger, nullable=False),
    sa.Column("packages", sa.Text, nullable=False),
    sa.Column("countries", sa.Text, nullable=False),
    sa.Column("excluded_methods", sa.Text, nullable=False),
    sa.Column("created_at_ms", sa.BigInteger, nullable=False),
    sa.CheckConstraint("percent BETWEEN 1 AND 90", name="ck_promotions_percent"),
    sa.CheckConstraint("starts_at_ms <= ends_at_ms", name="ck_promotions_window"),
    sa.Index("ix_promotions_window", "ends_at_ms", "starts_at_ms"),
)
"""Discounts. The lists are words with blanks between; an ended one has a closed window."""

free_claims = sa.Table(
    "free_credit_claims",
    METADATA,
    sa.Column("claim_id", sa.String(ID_CHARS), primary_key=True),
    sa.Column("member_id", sa.String(ID_CHARS), nullable=False),
    sa.Column("token", sa.String(KEY_CHARS), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("failure", sa.String(32)),
    sa.Column("created_at_ms", sa.BigInteger, nullable=False),
    sa.Column("resolved_at_ms", sa.BigInteger),
    sa.Column("email_mark", sa.String(64)),
    sa.Column("provider_ref", sa.String(KEY_CHARS)),
    sa.Column("redirect_url", sa.Text),
    sa.Column("redirect_until_ms", sa.BigInteger),
    sa.CheckConstraint(
        "state IN ('pending', 'granted', 'declined', 'not_eligible')",
        name="ck_free_credit_claims_state",
    ),
    sa.Index("ix_free_credit_claims_member", "member_id", "created_at_ms"),
)
"""Written before the provider is asked; the id is its idempotency key."""

free_marks = sa.Table(
    "free_credit_marks",
    METADATA,
    sa.Column("mark", sa.String(64), primary_key=True),
    sa.Column("kind", sa.String(8), nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
)
"""Salted hashes of cards and addresses that had the free credits; kept when accounts are not."""
