"""The table of what people are still to be told."""

from __future__ import annotations

import sqlalchemy as sa

from billing_meter.database import ID_CHARS, KEY_CHARS, METADATA

outbox = sa.Table(
    "outbox",
    METADATA,
    sa.Column("event_id", sa.String(KEY_CHARS), primary_key=True),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("member_id", sa.String(ID_CHARS), nullable=False),
    sa.Column("facts", sa.Text, nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("next_at_ms", sa.BigInteger, nullable=False),
    sa.Column("message_id", sa.String(ID_CHARS)),
    sa.Column("error", sa.String(KEY_CHARS)),
    sa.Column("sent_at_ms", sa.BigInteger),
    sa.CheckConstraint("state IN ('waiting', 'sent', 'dead')", name="ck_outbox_state"),
    sa.CheckConstraint("(state = 'sent') = (sent_at_ms IS NOT NULL)", name="ck_outbox_sent_at"),
    sa.Index("ix_outbox_due", "state", "next_at_ms"),
    sa.Index("ix_outbox_member", "member_id", "state", "at_ms"),
)
"""Mails, written in the transaction they tell of; `event_id` makes them once. `facts` is JSON
without an address: who gets it, and in which language, is looked up when it is sent."""
