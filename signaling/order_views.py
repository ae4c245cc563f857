"""An order as members and staff see it."""

from __future__ import annotations

from msgspec import Struct

from billing_meter.order_store import Order

PRICE_MINOR_MAX = 10**9
"""More cents than any package costs."""


class OrderView(Struct, kw_only=True, omit_defaults=True):
    """`failure` is `funds`, `card_expired`, `bank_blocked`, `needs_action`, `not_paid` or `other`.

    `list_price_minor` is there when a promotion made it cheaper. `redirect_url` is the provider's
    page on which the order can be paid now.
    """

    id: str
    state: str
    package: str
    method: str
    credits_units: int
    price_minor: int
    list_price_minor: int | None = None
    currency: str
    descriptor: str
    origin: str
    created_at_ms: int
    settled_at_ms: int | None = None
    failure: str | None = None
    refunded_units: int = 0
    redirect_url: str | None = None


def order_view(order: Order) -> OrderView:
    """Without the page to pay it on."""
    return OrderView(
        id=order.order_id,
        state=order.state.value,
        package=order.package_id,
        method=order.method,
        credits_units=order.credits_units,
        price_minor=order.price_minor,
        list_price_minor=(
            order.list_price_minor if order.list_price_minor != order.price_minor else None
        ),
        currency=order.currency,
        descriptor=order.descriptor,
        origin=order.origin,
        created_at_ms=order.created_at_ms,
        settled_at_ms=order.settled_at_ms,
        failure=order.failure,
        refunded_units=order.refunded_units,
    )
