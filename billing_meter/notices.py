"""What members are told by mail beside receipts: refunds, charge-backs, auto-reload, payouts.

Each is queued in the transaction that it tells of, and guarded like it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from billing_meter import outbox, schema
from billing_meter.iban import masked

if TYPE_CHECKING:
    from billing_meter.order_store import Order
    from billing_meter.payout_rules import Payout
    from billing_meter.purchase_rows import Purchase
    from billing_meter.refunds import Refund

REFUND_DECIDED = "refund_decided"
PURCHASE_REFUNDED = "purchase_refunded"
MONEY_BACK = "money_back"
RELOAD_OFF = "reload_off"
PAYOUT = "payout"

MoneyBack = Literal["purchase_refund", "charge_back", "dispute_won"]


async def queue_refund_decided(connection: AsyncConnection, refund: Refund, at_ms: int) -> None:
    """Approved or denied, once per session."""
    table = schema.sessions.c
    ended_at_ms: int | None = await connection.scalar(
        sa.select(table.ended_at_ms).where(table.session_id == refund.session_id)
    )
    facts: dict[str, str | int | None] = {
        "session": refund.session_id,
        "state": refund.state,
        "charged_units": refund.charged_units,
        "granted_units": refund.granted_units,
        "requested_at_ms": refund.requested_at_ms,
        "ended_at_ms": ended_at_ms,
    }
    subject = refund.session_id
    await outbox.queue(connection, REFUND_DECIDED, refund.member_id, subject, facts, at_ms)


async def queue_purchase_refunded(connection: AsyncConnection, given: Purchase) -> None:
    """Staff gave a purchase of an expert's back, all or a part: once per purchase."""
    facts: dict[str, str | int | None] = {
        "feature": given.feature.value,
        "purchase": given.transfer,
        "units": given.units,
        "refunded_units": given.refunded_units,
        "at_ms": given.at_ms,
        "reason": given.refund_reason,
    }
    subject = str(given.transfer)
    at_ms = given.refunded_at_ms or 0
    await outbox.queue(connection, PURCHASE_REFUNDED, given.member_id, subject, facts, at_ms)


async def queue_money_back(
    connection: AsyncConnection,
    order: Order,
    what: MoneyBack,
    transfer: int,
    units: int,
    debt_units: int,
    reload_off: bool,
    at_ms: int,
) -> None:
    """Credits of an order were taken since its money went back, or came again: once per transfer.

    `debt_units` is all that the member owes now.
    """
    facts: dict[str, str | int | None] = {
        "order": order.order_id,
        "what": what,
        "units": units,
        "debt_units": debt_units,
        "reload_off": int(reload_off),
        "credits_units": order.credits_units,
        "price_minor": order.price_minor,
        "currency": order.currency,
        "method": order.method,
        "created_at_ms": order.created_at_ms,
    }
    await outbox.queue(connection, MONEY_BACK, order.member_id, str(transfer), facts, at_ms)


async def queue_reload_off(
    connection: AsyncConnection, member_id: str, notice: str, at_ms: int
) -> None:
    """Auto-reload switched itself off; `notice` is that of its settings. Once per switching off:
    only the member can switch it on again in between."""
    subject = f"{member_id}:{at_ms}"
    await outbox.queue(connection, RELOAD_OFF, member_id, subject, {"notice": notice}, at_ms)


async def queue_payout(connection: AsyncConnection, payout: Payout, at_ms: int) -> None:
    """How an expert's payout ended, or that the bank sent it back: once per state."""
    facts: dict[str, str | int | None] = {
        "payout": payout.payout_id,
        "state": payout.state.value,
        "units": payout.units,
        "amount_minor": payout.amount_minor,
        "currency": payout.currency,
        "iban": masked(payout.iban),
        "reference": payout.reference,
        "reason": payout.failure,
        "requested_at_ms": payout.requested_at_ms,
    }
    subject = f"{payout.payout_id}:{payout.state.value}"
    await outbox.queue(connection, PAYOUT, payout.expert_id, subject, facts, at_ms)
