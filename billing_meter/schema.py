"""Every table of money under its short name: `schema.orders` is the table `orders`.

Instants are UTC milliseconds, amounts integer units. What belongs together is described together
(`ledger_schema.py`, `meter_schema.py` and so on); a new table goes there, and its name in here.
"""

from __future__ import annotations

import sqlalchemy as sa

from billing_meter.groups_schema import groups, pledges
from billing_meter.ledger_schema import (
    LINES_OF_THEIR_OWN,
    accounts,
    head,
    holds,
    postings,
    seals,
    transfers,
)
from billing_meter.meter_schema import marks, meter_owner, refunds, sessions
from billing_meter.offers_schema import free_claims, free_marks, promotions
from billing_meter.orders_schema import (
    attempts,
    cards,
    events,
    order_refunds,
    orders,
    reloads,
    reversals,
)
from billing_meter.outbox_schema import outbox
from billing_meter.payouts_schema import payout_destinations, payouts
from billing_meter.people_schema import (
    experts,
    members,
    share_changes,
    shares,
    spend_controls,
    spend_limits,
)
from billing_meter.purchases_schema import access, purchases
from billing_meter.rewards_schema import reward_cursor, reward_months, reward_ranks

__all__ = [
    "LINES_OF_THEIR_OWN",
    "TABLES",
    "access",
    "accounts",
    "attempts",
    "cards",
    "events",
    "experts",
    "free_claims",
    "free_marks",
    "groups",
    "head",
    "holds",
    "marks",
    "members",
    "meter_owner",
    "order_refunds",
    "orders",
    "outbox",
    "payout_destinations",
    "payouts",
    "pledges",
    "postings",
    "promotions",
    "purchases",
    "refunds",
    "reloads",
    "reversals",
    "reward_cursor",
    "reward_months",
    "reward_ranks",
    "seals",
    "sessions",
    "share_changes",
    "shares",
    "spend_controls",
    "spend_limits",
    "transfers",
]

TABLES: tuple[sa.Table, ...] = tuple(
    found for name in __all__ if isinstance(found := globals().get(name), sa.Table)
)
"""Every table of this package."""
