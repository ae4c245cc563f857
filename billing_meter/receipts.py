"""What an order's mails say: the facts of a receipt and of a failure, frozen as they were."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy.ext.asyncio import AsyncConnection

from billing_meter import outbox

if TYPE_CHECKING:
    from billing_meter.order_store import Order

RECEIPT = "receipt"
FAILURE = "purchase_failed"


async def queue_receipt(connection: AsyncConnection, order: Order, at_ms: int) -> None:
    """One receipt per settled order, whoever placed it; guarded by the order's state."""
    facts = _facts(order) | {"settled_at_ms": at_ms}
    await outbox.queue(connection, RECEIPT, order.member_id, order.order_id, facts, at_ms)


async def queue_failure(connection: AsyncConnection, order: Order, reason: str, at_ms: int) -> None:
    """Say why nothing was bought; `reason` is a DeclineReason."""
    facts = _facts(order) | {"reason": reason}
    await outbox.queue(connection, FAILURE, order.member_id, order.order_id, facts, at_ms)


def _facts(order: Order) -> dict[str, str | int | None]:
    return {
        "order": order.order_id,
        "origin": order.origin,
        "credits_units": order.credits_units,
        "price_minor": order.price_minor,
        "list_price_minor": order.list_price_minor,
        "currency": order.currency,
        "method": order.method,
        "descriptor": order.descriptor,
        "created_at_ms": order.created_at_ms,
    }
