"""The tables of purchases: orders, how they are paid, and what was given back or taken back."""

from __future__ import annotations

import sqlalchemy as sa

from billing_meter.database import ID_CHARS, KEY_CHARS, METADATA

orders = sa.Table(
    "orders",
    METADATA,
    sa.Column("order_id", sa.String(ID_CHARS), primary_key=True),
    sa.Column("key", sa.String(KEY_CHARS), nullable=False, unique=True),
    sa.Column("request_hash", sa.String(64), nullable=False),
    sa.Column("member_id", sa.String(ID_CHARS), nullable=False),
    sa.Column("origin", sa.String(16), nullable=False),
    sa.Column("package_id", sa.String(ID_CHARS), nullable=False),
    sa.Column("method", sa.String(32), nullable=False),
    sa.Column("credits_units", sa.BigInteger, nullable=False),
    sa.Column("price_minor", sa.BigInteger, nullable=False),
    sa.Column("list_price_minor", sa.BigInteger, nullable=False),
    sa.Column("currency", sa.String(3), nullable=False),
    sa.Column("promotion_id", sa.String(ID_CHARS)),
    sa.Column("country", sa.String(2)),
    sa.Column("descriptor", sa.String(32), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("failure", sa.String(32)),
    sa.Column("transfer", sa.BigInteger, sa.ForeignKey("ledger_transfers.transfer")),
    sa.Column("refunded_units", sa.BigInteger, nullable=False),
    sa.Column("created_at_ms", sa.BigInteger, nullable=False),
    sa.Column("authorized_at_ms", sa.BigInteger),
    sa.Column("settled_at_ms", sa.BigInteger),
    sa.Column("ended_at_ms", sa.BigInteger),
    sa.CheckConstraint(
        "state IN ('created', 'authorized', 'settled', 'failed', 'refunded', 'charged_back')",
        name="ck_orders_state",
    ),
    sa.CheckConstraint("credits_units > 0 AND price_minor >= 0", name="ck_orders_amounts"),
    sa.CheckConstraint(
        "(state IN ('settled', 'refunded', 'charged_back')) = (transfer IS NOT NULL)",
        name="ck_orders_settled_by_transfer",
    ),
    sa.Index("ix_orders_member", "member_id", "created_at_ms"),
    sa.Index("ix_orders_state", "state"),
)

attempts = sa.Table(
    "payment_attempts",
    METADATA,
    sa.Column("attempt_id", sa.String(ID_CHARS), primary_key=True),
    sa.Column("order_id", sa.String(ID_CHARS), sa.ForeignKey("orders.order_id"), nullable=False),
    sa.Column("provider", sa.String(32), nullable=False),
    sa.Column("provider_ref", sa.String(KEY_CHARS)),
    sa.Column("token", sa.String(KEY_CHARS), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("failure", sa.String(32)),
    sa.Column("created_at_ms", sa.BigInteger, nullable=False),
    sa.Column("resolved_at_ms", sa.BigInteger),
    sa.Column("redirect_url", sa.Text),
    sa.Column("expires_at_ms", sa.BigInteger),
    sa.CheckConstraint(
        "state IN ('pending', 'settled', 'declined')", name="ck_payment_attempts_state"
    ),
    sa.Index("ix_payment_attempts_order", "order_id"),
    sa.Index("ix_payment_attempts_state", "state"),
)
"""Written before the provider is asked; its id is the provider's idempotency key. `token` is the
provider's own word for a card: no card number ever comes here. `redirect_url` is the provider's
page for this attempt, open until `expires_at_ms`."""

cards = sa.Table(
    "payment_cards",
    METADATA,
    sa.Column("member_id", sa.String(ID_CHARS), primary_key=True),
    sa.Column("provider", sa.String(32), primary_key=True),
    sa.Column("token", sa.String(KEY_CHARS), nullable=False),
    sa.Column("customer", sa.String(KEY_CHARS), nullable=False),
    sa.Column("fingerprint", sa.String(KEY_CHARS)),
    sa.Column("brand", sa.String(32)),
    sa.Column("last4", sa.String(4)),
    sa.Column("updated_at_ms", sa.BigInteger, nullable=False),
)
"""The card that a member paid with last, as the provider names it; auto-reload charges it."""

events = sa.Table(
    "payment_events",
    METADATA,
    sa.Column("provider", sa.String(32), primary_key=True),
    sa.Column("event_id", sa.String(KEY_CHARS), primary_key=True),
    sa.Column("kind", sa.String(64), nullable=False),
    sa.Column("order_id", sa.String(ID_CHARS), sa.ForeignKey("orders.order_id"), nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
)
"""Webhooks that took effect, written in that transaction: each counts once, for ever."""

reloads = sa.Table(
    "auto_reloads",
    METADATA,
    sa.Column("member_id", sa.String(ID_CHARS), primary_key=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("package_id", sa.String(ID_CHARS), nullable=False),
    sa.Column("method", sa.String(32), nullable=False),
    sa.Column("token", sa.String(KEY_CHARS)),
    sa.Column("daily_cap", sa.Integer, nullable=False),
    sa.Column("order_id", sa.String(ID_CHARS)),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("backoff_until_ms", sa.BigInteger),
    sa.Column("day", sa.Integer, nullable=False),
    sa.Column("day_count", sa.Integer, nullable=False),
    sa.Column("serial", sa.BigInteger, nullable=False),
    sa.Column("notice", sa.String(32)),
    sa.Column("updated_at_ms", sa.BigInteger, nullable=False),
    sa.CheckConstraint(
        "state IN ('armed', 'in_flight', 'backoff', 'off')", name="ck_auto_reloads_state"
    ),
    sa.CheckConstraint("daily_cap BETWEEN 1 AND 50", name="ck_auto_reloads_cap"),
)

order_refunds = sa.Table(
    "order_refunds",
    METADATA,
    sa.Column("refund_id", sa.String(ID_CHARS), primary_key=True),
    sa.Column("order_id", sa.String(ID_CHARS), sa.ForeignKey("orders.order_id"), nullable=False),
    sa.Column("key", sa.String(KEY_CHARS), nullable=False),
    sa.Column("price_minor", sa.BigInteger, nullable=False),
    sa.Column("before_minor", sa.BigInteger, nullable=False),
    sa.Column("units", sa.BigInteger, nullable=False),
    sa.Column("transfer", sa.BigInteger, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("reload_off", sa.Integer, nullable=False),
    sa.Column("decided_by", sa.String(ID_CHARS), nullable=False),
    sa.Column("requested_at_ms", sa.BigInteger, nullable=False),
    sa.Column("resolved_at_ms", sa.BigInteger),
    sa.CheckConstraint("state IN ('pending', 'done', 'refused')", name="ck_order_refunds_state"),
    sa.CheckConstraint(
        "(state = 'pending') = (resolved_at_ms IS NULL)", name="ck_order_refunds_resolved"
    ),
    sa.CheckConstraint("price_minor > 0 AND units > 0", name="ck_order_refunds_amount"),
    sa.UniqueConstraint("order_id", "key", name="uq_order_refunds_key"),
    sa.Index("ix_order_refunds_state", "state", "requested_at_ms"),
)
"""Purchases that staff gives back; written with the transfer that takes their credits."""

reversals = sa.Table(
    "order_reversals",
    METADATA,
    sa.Column("order_id", sa.String(ID_CHARS), sa.ForeignKey("orders.order_id"), primary_key=True),
    sa.Column("dispute_id", sa.String(KEY_CHARS), primary_key=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("price_minor", sa.BigInteger, nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.CheckConstraint(
        "state IN ('refunded', 'inquiry', 'open', 'lost', 'won')", name="ck_order_reversals_state"
    ),
    sa.CheckConstraint(
        "(state = 'refunded') = (dispute_id = '')", name="ck_order_reversals_refunded"
    ),
    sa.CheckConstraint("price_minor >= 0", name="ck_order_reversals_amount"),
)
"""What providers told last of money that went back: a row for each dispute, and one without a
dispute for all refunds together. The credits of an order follow from its rows."""
