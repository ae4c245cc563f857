"""Staff gives purchases back: a member's orders, what is left of one, and its refunds."""

from __future__ import annotations

from typing import Annotated

from aiohttp import web
from msgspec import Meta, Struct

from billing_meter.order_refunds import NotRefunded, OrderRefund, RefundState
from billing_meter.order_store import Order
from billing_meter.providers import ProviderUnavailable
from signaling.idempotency import KEY_HEADER, key_of
from signaling.order_views import PRICE_MINOR_MAX, OrderView, order_view
from signaling.problem import Problem, refused
from signaling.routing import Access, Call, Route, json_reply

REFUSALS = {
    "key_invalid": (400, f"{KEY_HEADER} has 1 to 120 characters."),
    "key_reused": (409, f"This {KEY_HEADER} was used for another refund."),
    "unknown_order": (404, "There is no such order that was paid."),
    "not_refundable": (409, "There is nothing left of this order that can be given back."),
    "exceeds_price": (422, "More would go back than was paid."),
    "credits_spent": (409, "Its credits are spent or held; only what is left can be given back."),
    "refund_pending": (409, "The provider has not answered about another refund of this order."),
    "refund_refused": (409, "The provider does not give this money back."),
}


class RefundedOrder(Struct, kw_only=True, omit_defaults=True):
    """One refund of an order; `pending` until the provider has answered."""

    id: str
    state: RefundState
    price_minor: int
    units: int
    decided_by: str
    requested_at_ms: int
    resolved_at_ms: int | None = None


class StaffOrder(Struct, kw_only=True):
    """An order with its member; so much of it can be given back now, at most."""

    member: str
    order: OrderView
    refundable_minor: int
    refundable_units: int
    refunds: list[RefundedOrder]


class StaffOrders(Struct, kw_only=True):
    """A member's orders, newest first."""

    orders: list[OrderView]


class OrderRefundRequest(Struct, forbid_unknown_fields=True, kw_only=True):
    """So much of the price; without it all that is left. Needs the header Idempotency-Key."""

    price_minor: Annotated[int, Meta(ge=1, le=PRICE_MINOR_MAX)] | None = None


async def orders_of(call: Call) -> web.Response:
    """The orders of one member, by name."""
    name = call.request.query.get("member", "")
    member = await call.services.accounts.by_name(name)
    if member is None or member.kind != "member":
        raise Problem(404, "no_member", "There is no member of this name.")
    orders = await call.services.orders.list(member.account_id)
    return json_reply(StaffOrders(orders=[order_view(order) for order in orders]))


async def look(call: Call) -> web.Response:
    """One order, with what can be given back of it."""
    return json_reply(await _shown(call, await _found(call)))


async def give_back(call: Call) -> web.Response:
    """Take unspent credits and give their money back; repeated with the same key it is the same."""
    body = await call.json(OrderRefundRequest)
    key = key_of(call)
    if not key:
        raise Problem(400, "key_missing", f"Send a unique {KEY_HEADER} with every new refund.")
    order = await _found(call)
    if order.member_id == call.account_id:
        raise Problem(403, "own_order", "Somebody else decides about an order of yours.")
    try:
        outcome = await call.services.order_refunds.request(
            order.order_id, body.price_minor, key, call.account_id
        )
    except ProviderUnavailable:
        raise Problem(503, "provider_unavailable", "The provider could not be asked.") from None
    if isinstance(outcome, NotRefunded):
        raise refused(REFUSALS, outcome.code)
    if outcome.state == "refused":
        raise refused(REFUSALS, "refund_refused")
    return json_reply(await _shown(call, await _found(call)), status=201)


async def _found(call: Call) -> Order:
    order = await call.services.orders.find(call.path["order"])
    if order is None:
        raise refused(REFUSALS, "unknown_order")
    return order


async def _shown(call: Call, order: Order) -> StaffOrder:
    refunds = call.services.order_refunds
    possible = await refunds.refundable(order)
    given = await refunds.of_order(order.order_id)
    names = await call.services.accounts.names(
        {order.member_id, *(refund.decided_by for refund in given)}
    )
    return StaffOrder(
        member=names.get(order.member_id, ""),
        order=order_view(order),
        refundable_minor=possible.price_minor,
        refundable_units=possible.units,
        refunds=[_refund(refund, names.get(refund.decided_by, "")) for refund in given],
    )


def _refund(refund: OrderRefund, by: str) -> RefundedOrder:
    return RefundedOrder(
        id=refund.refund_id,
        state=refund.state,
        price_minor=refund.price_minor,
        units=refund.units,
        decided_by=by or refund.decided_by,  # the command line writes a name of the system
        requested_at_ms=refund.requested_at_ms,
        resolved_at_ms=refund.resolved_at_ms,
    )


ROUTES = (
    Route(
        "GET",
        "/api/v1/staff/orders",
        orders_of,
        "A member's orders, for staff",
        access=Access.STAFF,
        reply=StaffOrders,
        query=("member",),
        refusals=("404 no_member",),
    ),
    Route(
        "GET",
        "/api/v1/staff/orders/{order}",
        look,
        "An order, for staff",
        access=Access.STAFF,
        reply=StaffOrder,
        refusals=("404 unknown_order",),
    ),
    Route(
        "POST",
        "/api/v1/staff/orders/{order}/refunds",
        give_back,
        "Give an order's money back",
        access=Access.STAFF,
        body=OrderRefundRequest,
        reply=StaffOrder,
        status=201,
        headers=(KEY_HEADER,),
        refusals=(
            "400 key_missing",
            "400 key_invalid",
            "403 own_order",
            "404 unknown_order",
            "409 key_reused",
            "409 not_refundable",
            "409 credits_spent",
            "409 refund_pending",
            "409 refund_refused",
            "422 exceeds_price",
            "422 invalid",
            "503 provider_unavailable",
        ),
    ),
)
