"""The tables of money: ledger, wallet, private sessions, orders, auto-reload, outbox."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001_money"
down_revision: str | None = None
branch_labels: tuple[str, ...] | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "auto_reloads",
        sa.Column("member_id", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("package_id", sa.String(length=64), nullable=False),
        sa.Column("method", sa.String(length=32), nullable=False),
        sa.Column("token", sa.String(length=200), nullable=True),
        sa.Column("daily_cap", sa.Integer(), nullable=False),
        sa.Column("order_id", sa.String(length=64), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("backoff_until_ms", sa.BigInteger(), nullable=True),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("day_count", sa.Integer(), nullable=False),
        sa.Column("serial", sa.BigInteger(), nullable=False),
        sa.Column("notice", sa.String(length=32), nullable=True),
        sa.Column("updated_at_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "state IN ('armed', 'in_flight', 'backoff', 'off')", name="ck_auto_reloads_state"
        ),
        sa.CheckConstraint("daily_cap BETWEEN 1 AND 50", name="ck_auto_reloads_cap"),
        sa.PrimaryKeyConstraint("member_id"),
    )
    op.create_table(
        "billing_experts",
        sa.Column("expert_id", sa.String(length=64), nullable=False),
        sa.Column("share_percent", sa.Integer(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("closed_at_ms", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("share_percent BETWEEN 0 AND 100", name="ck_billing_experts_share"),
        sa.PrimaryKeyConstraint("expert_id"),
    )
    op.create_table(
        "billing_members",
        sa.Column("member_id", sa.String(length=64), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("premium_since_ms", sa.BigInteger(), nullable=True),
        sa.Column("last_purchase_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("closed_at_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("member_id"),
    )
    op.create_table(
        "billing_outbox",
        sa.Column("event_id", sa.String(length=200), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("member_id", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=200), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("delivered_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("event_id"),
    )
    op.create_index(
        "ix_billing_outbox_waiting", "billing_outbox", ["delivered_at_ms", "at_ms"], unique=False
    )
    op.create_table(
        "ledger_accounts",
        sa.Column("account", sa.String(length=200), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("units", sa.BigInteger(), nullable=False),
        sa.Column("may_be_negative", sa.Boolean(), nullable=False),
        sa.CheckConstraint(
            "units >= 0 OR may_be_negative", name="ck_ledger_accounts_never_negative"
        ),
        sa.PrimaryKeyConstraint("account"),
    )
    op.create_index(op.f("ix_ledger_accounts_owner"), "ledger_accounts", ["owner"], unique=False)
    op.create_table(
        "ledger_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("last_transfer", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("id = 1", name="ck_ledger_head_one_row"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "ledger_holds",
        sa.Column("hold_id", sa.String(length=64), nullable=False),
        sa.Column("member_id", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("promo_units", sa.BigInteger(), nullable=False),
        sa.Column("paid_units", sa.BigInteger(), nullable=False),
        sa.Column("taken_units", sa.BigInteger(), nullable=False),
        sa.Column("posted_units", sa.BigInteger(), nullable=False),
        sa.Column("returned_units", sa.BigInteger(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("closed_at_ms", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "state = 'open' OR promo_units + paid_units = 0", name="ck_ledger_holds_closed_empty"
        ),
        sa.CheckConstraint(
            "state IN ('open', 'posted', 'voided', 'expired')", name="ck_ledger_holds_state"
        ),
        sa.CheckConstraint("promo_units >= 0 AND paid_units >= 0", name="ck_ledger_holds_units"),
        sa.CheckConstraint(
            "taken_units = posted_units + returned_units + promo_units + paid_units",
            name="ck_ledger_holds_conserved",
        ),
        sa.PrimaryKeyConstraint("hold_id"),
    )
    op.create_index("ix_ledger_holds_member", "ledger_holds", ["member_id", "state"], unique=False)
    op.create_table(
        "ledger_seals",
        sa.Column("seal", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("last_transfer", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("seal"),
        sa.UniqueConstraint("last_transfer"),
    )
    op.create_table(
        "ledger_transfers",
        sa.Column("transfer", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("request_hash", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("refusal", sa.String(length=32), nullable=True),
        sa.Column("member_id", sa.String(length=64), nullable=True),
        sa.Column("expert_id", sa.String(length=64), nullable=True),
        sa.Column("subject", sa.String(length=200), nullable=True),
        sa.Column("units", sa.BigInteger(), nullable=False),
        sa.Column("promo_units", sa.BigInteger(), nullable=False),
        sa.Column("paid_units", sa.BigInteger(), nullable=False),
        sa.Column("reverses", sa.BigInteger(), nullable=True),
        sa.Column("hold_id", sa.String(length=64), nullable=True),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "(outcome = 'refused') = (refusal IS NOT NULL)", name="ck_ledger_transfers_refusal"
        ),
        sa.CheckConstraint("outcome IN ('posted', 'refused')", name="ck_ledger_transfers_outcome"),
        sa.CheckConstraint(
            "units >= 0 AND promo_units >= 0 AND paid_units >= 0", name="ck_ledger_transfers_units"
        ),
        sa.ForeignKeyConstraint(
            ["reverses"],
            ["ledger_transfers.transfer"],
        ),
        sa.PrimaryKeyConstraint("transfer"),
        sa.UniqueConstraint("key"),
    )
    op.create_index(
        "ix_ledger_transfers_expert", "ledger_transfers", ["expert_id", "at_ms"], unique=False
    )
    op.create_index(
        "ix_ledger_transfers_member", "ledger_transfers", ["member_id", "transfer"], unique=False
    )
    op.create_index("ix_ledger_transfers_reverses", "ledger_transfers", ["reverses"], unique=False)
    op.create_table(
        "meter_owner",
        sa.Column("node", sa.String(length=64), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("node"),
    )
    op.create_table(
        "ledger_postings",
        sa.Column("transfer", sa.BigInteger(), nullable=False),
        sa.Column("account", sa.String(length=200), nullable=False),
        sa.Column("units", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("units <> 0", name="ck_ledger_postings_units"),
        sa.ForeignKeyConstraint(
            ["account"],
            ["ledger_accounts.account"],
        ),
        sa.ForeignKeyConstraint(
            ["transfer"],
            ["ledger_transfers.transfer"],
        ),
        sa.PrimaryKeyConstraint("transfer", "account"),
    )
    op.create_table(
        "meter_sessions",
        sa.Column("session_id", sa.String(length=64), nullable=False),
        sa.Column("node", sa.String(length=64), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=True),
        sa.Column("member_id", sa.String(length=64), nullable=False),
        sa.Column("expert_id", sa.String(length=64), nullable=False),
        sa.Column("hold_id", sa.String(length=64), nullable=True),
        sa.Column("share_percent", sa.Integer(), nullable=False),
        sa.Column("spend_limit_units", sa.BigInteger(), nullable=True),
        sa.Column("private_units_per_s", sa.Integer(), nullable=False),
        sa.Column("cam2cam_units_per_s", sa.Integer(), nullable=False),
        sa.Column("two_way_audio_units_per_s", sa.Integer(), nullable=False),
        sa.Column("private_s", sa.BigInteger(), nullable=False),
        sa.Column("cam2cam_s", sa.BigInteger(), nullable=False),
        sa.Column("two_way_audio_s", sa.BigInteger(), nullable=False),
        sa.Column("held_ms", sa.BigInteger(), nullable=False),
        sa.Column("cam2cam_held_ms", sa.BigInteger(), nullable=False),
        sa.Column("two_way_audio_held_ms", sa.BigInteger(), nullable=False),
        sa.Column("charged_units", sa.BigInteger(), nullable=False),
        sa.Column("posted_units", sa.BigInteger(), nullable=False),
        sa.Column("expert_units", sa.BigInteger(), nullable=False),
        sa.Column("entries", sa.BigInteger(), nullable=False),
        sa.Column("opened_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("started_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("marked_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("ended_at_ms", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "state = 'open' OR posted_units = charged_units", name="ck_meter_sessions_settled"
        ),
        sa.CheckConstraint("state IN ('open', 'closed')", name="ck_meter_sessions_state"),
        sa.CheckConstraint(
            "charged_units = private_s * private_units_per_s + cam2cam_s * cam2cam_units_per_s"
            " + two_way_audio_s * two_way_audio_units_per_s",
            name="ck_meter_sessions_charged",
        ),
        sa.CheckConstraint("posted_units <= charged_units", name="ck_meter_sessions_posted"),
        sa.CheckConstraint(
            "private_s * 1000 <= held_ms AND cam2cam_s * 1000 <= cam2cam_held_ms"
            " AND two_way_audio_s * 1000 <= two_way_audio_held_ms",
            name="ck_meter_sessions_whole_seconds",
        ),
        sa.ForeignKeyConstraint(
            ["hold_id"],
            ["ledger_holds.hold_id"],
        ),
        sa.PrimaryKeyConstraint("session_id"),
    )
    op.create_index(
        "ix_meter_sessions_expert", "meter_sessions", ["expert_id", "opened_at_ms"], unique=False
    )
    op.create_index(
        "ix_meter_sessions_member", "meter_sessions", ["member_id", "opened_at_ms"], unique=False
    )
    op.create_index("ix_meter_sessions_open", "meter_sessions", ["state", "node"], unique=False)
    op.create_table(
        "orders",
        sa.Column("order_id", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("request_hash", sa.String(length=64), nullable=False),
        sa.Column("member_id", sa.String(length=64), nullable=False),
        sa.Column("origin", sa.String(length=16), nullable=False),
        sa.Column("package_id", sa.String(length=64), nullable=False),
        sa.Column("method", sa.String(length=32), nullable=False),
        sa.Column("credits_units", sa.BigInteger(), nullable=False),
        sa.Column("price_minor", sa.BigInteger(), nullable=False),
        sa.Column("list_price_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("promotion_id", sa.String(length=64), nullable=True),
        sa.Column("country", sa.String(length=2), nullable=True),
        sa.Column("descriptor", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("failure", sa.String(length=32), nullable=True),
        sa.Column("transfer", sa.BigInteger(), nullable=True),
        sa.Column("refunded_units", sa.BigInteger(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("authorized_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("settled_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("ended_at_ms", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "(state IN ('settled', 'refunded', 'charged_back')) = (transfer IS NOT NULL)",
            name="ck_orders_settled_by_transfer",
        ),
        sa.CheckConstraint(
            "state IN ('created', 'authorized', 'settled', 'failed', 'refunded', 'charged_back')",
            name="ck_orders_state",
        ),
        sa.CheckConstraint("credits_units > 0 AND price_minor >= 0", name="ck_orders_amounts"),
        sa.ForeignKeyConstraint(
            ["transfer"],
            ["ledger_transfers.transfer"],
        ),
        sa.PrimaryKeyConstraint("order_id"),
        sa.UniqueConstraint("key"),
    )
    op.create_index("ix_orders_member", "orders", ["member_id", "created_at_ms"], unique=False)
    op.create_index("ix_orders_state", "orders", ["state"], unique=False)
    op.create_table(
        "payment_attempts",
        sa.Column("attempt_id", sa.String(length=64), nullable=False),
        sa.Column("order_id", sa.String(length=64), nullable=False),
        sa.Column("provider", sa.String(length=32), nullable=False),
        sa.Column("provider_ref", sa.String(length=200), nullable=True),
        sa.Column("token", sa.String(length=200), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("failure", sa.String(length=32), nullable=True),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("resolved_at_ms", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "state IN ('pending', 'settled', 'declined')", name="ck_payment_attempts_state"
        ),
        sa.ForeignKeyConstraint(
            ["order_id"],
            ["orders.order_id"],
        ),
        sa.PrimaryKeyConstraint("attempt_id"),
    )
    op.create_index("ix_payment_attempts_order", "payment_attempts", ["order_id"], unique=False)
    op.create_index("ix_payment_attempts_state", "payment_attempts", ["state"], unique=False)
    _seed()


def _seed() -> None:
    """The transfer counter and the platform's accounts."""
    head = sa.table(
        "ledger_head", sa.column("id", sa.Integer), sa.column("last_transfer", sa.BigInteger)
    )
    op.bulk_insert(head, [{"id": 1, "last_transfer": 0}])
    accounts = sa.table(
        "ledger_accounts",
        sa.column("account", sa.String),
        sa.column("owner", sa.String),
        sa.column("units", sa.BigInteger),
        sa.column("may_be_negative", sa.Boolean),
    )
    names = ("platform:revenue", "platform:promo_cost", "platform:gateway_clearing")
    op.bulk_insert(
        accounts,
        [
            {"account": name, "owner": "platform", "units": 0, "may_be_negative": True}
            for name in names
        ],
    )


def downgrade() -> None:
    """Remove the tables, and with them the books: only for a database without money."""
    op.drop_index("ix_payment_attempts_state", table_name="payment_attempts")
    op.drop_index("ix_payment_attempts_order", table_name="payment_attempts")
    op.drop_table("payment_attempts")
    op.drop_index("ix_orders_state", table_name="orders")
    op.drop_index("ix_orders_member", table_name="orders")
    op.drop_table("orders")
    op.drop_index("ix_meter_sessions_open", table_name="meter_sessions")
    op.drop_index("ix_meter_sessions_member", table_name="meter_sessions")
    op.drop_index("ix_meter_sessions_expert", table_name="meter_sessions")
    op.drop_table("meter_sessions")
    op.drop_table("ledger_postings")
    op.drop_table("meter_owner")
    op.drop_index("ix_ledger_transfers_reverses", table_name="ledger_transfers")
    op.drop_index("ix_ledger_transfers_member", table_name="ledger_transfers")
    op.drop_index("ix_ledger_transfers_expert", table_name="ledger_transfers")
    op.drop_table("ledger_transfers")
    op.drop_table("ledger_seals")
    op.drop_index("ix_ledger_holds_member", table_name="ledger_holds")
    op.drop_table("ledger_holds")
    op.drop_table("ledger_head")
    op.drop_index(op.f("ix_ledger_accounts_owner"), table_name="ledger_accounts")
    op.drop_table("ledger_accounts")
    op.drop_index("ix_billing_outbox_waiting", table_name="billing_outbox")
    op.drop_table("billing_outbox")
    op.drop_table("billing_members")
    op.drop_table("billing_experts")
    op.drop_table("auto_reloads")
