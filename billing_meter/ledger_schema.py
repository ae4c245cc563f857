"""The tables of the ledger; its journal (`transfers`, `postings`, `seals`) is never edited."""

from __future__ import annotations

import sqlalchemy as sa

from billing_meter.database import ID_CHARS, KEY_CHARS, METADATA

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
