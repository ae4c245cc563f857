"""The tables of money. Instants are UTC milliseconds, amounts integer units, rows never edited
where they are a journal (`transfers`, `postings`, `seals`)."""

from __future__ import annotations

import sqlalchemy as sa

from billing_meter.database import METADATA
from billing_meter.offers_schema import free_claims as free_claims
from billing_meter.offers_schema import free_marks as free_marks
from billing_meter.offers_schema import promotions as promotions
from billing_meter.rewards_schema import reward_cursor, reward_months, reward_ranks

ID_CHARS = 64
KEY_CHARS = 200
LINES_OF_THEIR_OWN = sa.text(
    "outcome = 'posted' AND kind NOT IN ('session_charge', 'session_hold', 'hold', 'hold_void')"
)
"""Transfers that are a line of a statement each: a session's many are one line together, what is
only set aside is none. Queries say it in these words, so that the index of that name answers."""

accounts = sa.Table(
    "ledger_accounts",
    METADATA,
    sa.Column("account", sa.String(KEY_CHARS), primary_key=True),
    sa.Column("owner", sa.String(ID_CHARS), nullable=False, index=True),
    sa.Column("units", sa.BigInteger, nullable=False),
    sa.Column("may_be_negative", sa.Boolean, nullable=False),
    sa.CheckConstraint("units >= 0 OR may_be_negative", name="ck_ledger_accounts_never_negative"),
)
"""Balances: projections of `postings`, kept in the same transaction, proved by replay."""

head = sa.Table(
    "ledger_head",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("last_transfer", sa.BigInteger, nullable=False),
    sa.CheckConstraint("id = 1", name="ck_ledger_head_one_row"),
)
"""One row: numbers transfers without gaps in commit order, so that a removed row is seen."""

transfers = sa.Table(
    "ledger_transfers",
    METADATA,
    sa.Column("transfer", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("key", sa.String(KEY_CHARS), nullable=False, unique=True),
    sa.Column("request_hash", sa.String(64), nullable=False),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("outcome", sa.String(16), nullable=False),
    sa.Column("refusal", sa.String(32)),
    sa.Column("member_id", sa.String(ID_CHARS)),
    sa.Column("expert_id", sa.String(ID_CHARS)),
    sa.Column("subject", sa.String(KEY_CHARS)),
    sa.Column("units", sa.BigInteger, nullable=False),
    sa.Column("promo_units", sa.BigInteger, nullable=False),
    sa.Column("paid_units", sa.BigInteger, nullable=False),
    sa.Column("reverses", sa.BigInteger, sa.ForeignKey("ledger_transfers.transfer")),
    sa.Column("hold_id", sa.String(ID_CHARS)),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.CheckConstraint("outcome IN ('posted', 'refused')", name="ck_ledger_transfers_outcome"),
    sa.CheckConstraint(
        "(outcome = 'refused') = (refusal IS NOT NULL)", name="ck_ledger_transfers_refusal"
    ),
    sa.CheckConstraint(
        "units >= 0 AND promo_units >= 0 AND paid_units >= 0", name="ck_ledger_transfers_units"
    ),
    sa.Index("ix_ledger_transfers_member", "member_id", "transfer"),
    sa.Index("ix_ledger_transfers_expert", "expert_id", "at_ms"),
    sa.Index("ix_ledger_transfers_reverses", "reverses"),
    sa.Index(
        "ix_ledger_transfers_lines",
        "member_id",
        "transfer",
        sqlite_where=LINES_OF_THEIR_OWN,
        postgresql_where=LINES_OF_THEIR_OWN,
    ),
)
"""The journal's heads. `promo_units` and `paid_units` tell the buckets `units` came from (or went
to). Refusals are rows too, without postings."""

postings = sa.Table(
    "ledger_postings",
    METADATA,
    sa.Column(
        "transfer", sa.BigInteger, sa.ForeignKey("ledger_transfers.transfer"), primary_key=True
    ),
    sa.Column(
        "account",
        sa.String(KEY_CHARS),
        sa.ForeignKey("ledger_accounts.account"),
        primary_key=True,
    ),
    sa.Column("units", sa.BigInteger, nullable=False),
    sa.CheckConstraint("units <> 0", name="ck_ledger_postings_units"),
)
"""Double entry: the postings of one transfer sum to 0."""

seals = sa.Table(
    "ledger_seals",
    METADATA,
    sa.Column("seal", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("last_transfer", sa.BigInteger, nullable=False, unique=True),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
)
"""The hash chain, written off the hot path: each digest covers the one before and all transfers
with their postings since."""

holds = sa.Table(
    "ledger_holds",
    METADATA,
    sa.Column("hold_id", sa.String(ID_CHARS), primary_key=True),
    sa.Column("member_id", sa.String(ID_CHARS), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("promo_units", sa.BigInteger, nullable=False),
    sa.Column("paid_units", sa.BigInteger, nullable=False),
    sa.Column("taken_units", sa.BigInteger, nullable=False),
    sa.Column("posted_units", sa.BigInteger, nullable=False),
    sa.Column("returned_units", sa.BigInteger, nullable=False),
    sa.Column("created_at_ms", sa.BigInteger, nullable=False),
    sa.Column("expires_at_ms", sa.BigInteger),
    sa.Column("closed_at_ms", sa.BigInteger),
    sa.CheckConstraint(
        "state IN ('open', 'posted', 'voided', 'expired')", name="ck_ledger_holds_state"
    ),
    sa.CheckConstraint("promo_units >= 0 AND paid_units >= 0", name="ck_ledger_holds_units"),
    sa.CheckConstraint(
        "taken_units = posted_units + returned_units + promo_units + paid_units",
        name="ck_ledger_holds_conserved",
    ),
    sa.CheckConstraint(
        "state = 'open' OR promo_units + paid_units = 0", name="ck_ledger_holds_closed_empty"
    ),
    sa.Index("ix_ledger_holds_member", "member_id", "state"),
)
"""What of a member's `held` account belongs to what, and from which buckets."""

members = sa.Table(
    "billing_members",
    METADATA,
    sa.Column("member_id", sa.String(ID_CHARS), primary_key=True),
    sa.Column("created_at_ms", sa.BigInteger, nullable=False),
    sa.Column("premium_since_ms", sa.BigInteger),
    sa.Column("last_purchase_at_ms", sa.BigInteger),
    sa.Column("closed_at_ms", sa.BigInteger),
)

experts = sa.Table(
    "billing_experts",
    METADATA,
    sa.Column("expert_id", sa.String(ID_CHARS), primary_key=True),
    sa.Column("share_percent", sa.Integer, nullable=False),
    sa.Column("created_at_ms", sa.BigInteger, nullable=False),
    sa.Column("closed_at_ms", sa.BigInteger),
    sa.CheckConstraint("share_percent BETWEEN 0 AND 100", name="ck_billing_experts_share"),
)

spend_controls = sa.Table(
    "spend_controls",
    METADATA,
    sa.Column("member_id", sa.String(ID_CHARS), primary_key=True),
    sa.Column("time_zone", sa.String(ID_CHARS), nullable=False),
    sa.Column("break_until_ms", sa.BigInteger),
    sa.Column("updated_at_ms", sa.BigInteger, nullable=False),
)
"""Members who ever set a limit or took a break. Each has one row of `spend_limits` per span."""

spend_limits = sa.Table(
    "spend_limits",
    METADATA,
    sa.Column(
        "member_id",
        sa.String(ID_CHARS),
        sa.ForeignKey("spend_controls.member_id"),
        primary_key=True,
    ),
    sa.Column("span", sa.String(16), primary_key=True),
    sa.Column("limit_units", sa.BigInteger),
    sa.Column("next_units", sa.BigInteger),
    sa.Column("next_at_ms", sa.BigInteger),
    sa.Column("start_ms", sa.BigInteger, nullable=False),
    sa.Column("counted_units", sa.BigInteger, nullable=False),
    sa.Column("since_transfer", sa.BigInteger, nullable=False),
    sa.CheckConstraint("span IN ('session', 'day', 'week', 'month')", name="ck_spend_limits_span"),
    sa.CheckConstraint(
        "counted_units >= 0 AND (limit_units IS NULL OR limit_units >= 0)"
        " AND (next_units IS NULL OR next_units >= 0)",
        name="ck_spend_limits_units",
    ),
    sa.CheckConstraint("next_units IS NULL OR next_at_ms IS NOT NULL", name="ck_spend_limits_next"),
)
"""`counted_units` is what was spent since the window began and what is held now; it moves in the
transaction that moves the money. A session's row counts nothing."""

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
`last_charge` is the number of its last transfer that charged anything."""

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

TABLES = (
    accounts,
    head,
    transfers,
    postings,
    seals,
    holds,
    members,
    experts,
    spend_controls,
    spend_limits,
    meter_owner,
    sessions,
    marks,
    refunds,
    order_refunds,
    reversals,
    payout_destinations,
    payouts,
    orders,
    attempts,
    cards,
    events,
    reloads,
    outbox,
    promotions,
    free_claims,
    free_marks,
    reward_cursor,
    reward_months,
    reward_ranks,
)
"""Every table of this package."""
