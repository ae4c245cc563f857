"""Credits: balance, packages, orders, auto-reload."""

from __future__ import annotations

from typing import Annotated

from aiohttp import web
from msgspec import Meta, Struct

from billing_meter.orders import Method, Order, OrderRefused, OrderState
from billing_meter.promotions import Price
from billing_meter.reload import DAILY_CAP_MAX, ReloadRefused, ReloadSettings
from signaling import wire, wire_out
from signaling.idempotency import KEY_HEADER, key_of
from signaling.order_views import PRICE_MINOR_MAX, OrderView, order_view
from signaling.problem import Problem, refused
from signaling.routing import Access, Call, Route, json_reply
from signaling.services import take

Id = Annotated[str, Meta(min_length=1, max_length=64)]


class AutoReload(Struct, kw_only=True):
    """`notice` tells why it stopped: `declined`, `needs_action`, `money_back`, `daily_cap`, or the
    name of the limit or break that leaves nothing to buy for."""

    enabled: bool
    state: str
    threshold_units: int
    package: str
    daily_cap: int
    notice: str | None


class WalletReply(Struct, kw_only=True):
    """A member's balance and rights."""

    balance: wire.Balance
    premium: bool
    auto_reload: AutoReload
    debt_units: int
    """What a charge-back left owing; the next purchase pays it first."""


class Reduction(Struct, kw_only=True):
    """What a package costs now with one way to pay, and until when."""

    method: str
    price_minor: int
    percent: int
    ends_at_ms: int


class PackageView(Struct, kw_only=True):
    """Credits for a price in cents; `reductions` are the ways to pay that cost less now."""

    id: str
    credits_units: int
    price_minor: int
    currency: str
    preselected: bool
    reductions: list[Reduction]


class MethodView(Struct, kw_only=True):
    """A way to pay."""

    id: str
    label: str


class PackagesReply(Struct, kw_only=True):
    """What can be bought, how, and what the card statement will say."""

    packages: list[PackageView]
    methods: list[MethodView]
    descriptor: str
    redirects: bool
    """Whether one pays on the provider's own page; else with a token."""


class NewOrder(Struct, forbid_unknown_fields=True, kw_only=True):
    """A package and a way to pay. Needs the header Idempotency-Key.

    The server alone sets the price. `accepted_price_minor` is what the buyer saw: if it is not
    the price any more, nothing is ordered.
    """

    package: Id
    method: Id
    accepted_price_minor: Annotated[int, Meta(ge=0, le=PRICE_MINOR_MAX)] | None = None


class OrderPayment(Struct, forbid_unknown_fields=True, kw_only=True):
    """The payment provider's token of a card; none where it has a page of its own.

    A card number never comes here.
    """

    token: Annotated[str, Meta(max_length=200, pattern=r"\A([A-Za-z_][A-Za-z0-9_-]*)?\Z")] = ""


class OrderReply(Struct, kw_only=True):
    """One order."""

    order: OrderView


class OrdersReply(Struct, kw_only=True):
    """Newest first."""

    orders: list[OrderView]


class AutoReloadSettings(Struct, forbid_unknown_fields=True, kw_only=True):
    """Opt in or out; `package` and `daily_cap` count from the next purchase."""

    enabled: bool
    package: Id
    daily_cap: Annotated[int, Meta(ge=1, le=DAILY_CAP_MAX)]


REFUSALS = {
    "key_reused": (409, "This Idempotency-Key was used for another order."),
    "key_invalid": (400, "Idempotency-Key has 1 to 120 characters."),
    "unknown_package": (422, "There is no such package."),
    "unknown_method": (422, "There is no such way to pay here."),
    "unknown_order": (404, "There is no such order."),
    "token_unusable": (422, "Pay with a token here, or on the provider's page: see redirects."),
    "on_break": (409, "You are on a break from spending."),
    "order_closed": (409, "This order is closed; make a new one."),
    "price_changed": (409, "The price has changed; look at the new one first."),
    "package_too_small": (422, "This package is too small for auto-reload."),
    "bad_cap": (422, f"The daily cap is 1 to {DAILY_CAP_MAX}."),
    "no_payment_method": (409, "Buy credits once; then auto-reload knows a card."),
}
"""Every code of OrderRefused and ReloadRefused, with status and text."""


async def wallet(call: Call) -> web.Response:
    """Balance, standing and auto-reload."""
    member_id, services = call.account_id, call.services
    return json_reply(
        WalletReply(
            balance=wire_out.balance(await services.wallet.balance(member_id)),
            premium=await services.wallet.is_premium(member_id),
            auto_reload=_auto_reload(await services.reload.settings(member_id)),
            debt_units=await services.wallet.debt_units(member_id),
        )
    )


async def packages(call: Call) -> web.Response:
    """The price list of the visitor's country; empty methods mean that nothing is sold here."""
    orders = call.services.orders
    country = call.services.country(call.request)
    methods = orders.methods_in(country)
    prices = await orders.prices(country)
    return json_reply(
        PackagesReply(
            packages=[
                PackageView(
                    id=package.id,
                    credits_units=package.credits_units,
                    price_minor=package.price_minor,
                    currency=package.currency,
                    preselected=package.preselected,
                    reductions=[
                        reduction
                        for method in methods
                        if (reduction := _reduction(method, prices[package.id, method.id]))
                    ],
                )
                for package in await orders.packages()
            ],
            methods=[MethodView(id=method.id, label=method.label) for method in methods],
            descriptor=orders.descriptor,
            redirects=orders.redirects,
        )
    )


async def create_order(call: Call) -> web.Response:
    """Order a package; repeated with the same key and body it is the same order."""
    member_id = call.account_id
    body = await call.json(NewOrder)
    key = key_of(call)
    if not key:
        raise Problem(400, "key_missing", f"Send a unique {KEY_HEADER} with every new order.")
    take(call.services.limits.purchases, member_id, "orders")
    if not call.services.orders.methods:
        raise Problem(503, "payments_unavailable", "Credits cannot be bought here now.")
    outcome = await call.services.orders.create(
        member_id,
        body.package,
        body.method,
        key,
        country=call.services.country(call.request),
        accepted_price_minor=body.accepted_price_minor,
    )
    return json_reply(OrderReply(order=order_view(_accepted(outcome))), status=201)


async def pay(call: Call) -> web.Response:
    """Pay an order. A settled, failed or pending order comes back; repeating never pays twice."""
    member_id = call.account_id
    body = await call.json(OrderPayment)
    take(call.services.limits.purchases, member_id, "payments")
    outcome = await call.services.orders.pay(member_id, call.path["order"], body.token)
    return await _shown(call, outcome)


async def check_order(call: Call) -> web.Response:
    """Ask the provider about an order now, as when one comes back from its page."""
    member_id = call.account_id
    take(call.services.limits.purchases, member_id, "questions")
    return await _shown(call, await call.services.orders.check(member_id, call.path["order"]))


async def cancel_order(call: Call) -> web.Response:
    """Close an order that is not paid. One that was paid in the meantime comes back settled."""
    member_id = call.account_id
    take(call.services.limits.purchases, member_id, "questions")
    return await _shown(call, await call.services.orders.cancel(member_id, call.path["order"]))


async def _shown(call: Call, outcome: Order | OrderRefused) -> web.Response:
    """An order with the page to pay it on, if it has one."""
    order = _accepted(outcome)
    view = order_view(order)
    if order.state is OrderState.CREATED:
        view.redirect_url = await call.services.orders.redirect(order)
    return json_reply(OrderReply(order=view))


async def list_orders(call: Call) -> web.Response:
    """The member's orders."""
    orders = await call.services.orders.list(call.account_id)
    return json_reply(OrdersReply(orders=[order_view(order) for order in orders]))


async def set_auto_reload(call: Call) -> web.Response:
    """Opt in or out of auto-reload."""
    body = await call.json(AutoReloadSettings)
    outcome = await call.services.reload.set_settings(
        call.account_id,
        enabled=body.enabled,
        package_id=body.package,
        daily_cap=body.daily_cap,
    )
    if isinstance(outcome, ReloadRefused):
        raise refused(REFUSALS, outcome.code)
    call.services.hub.tell_member(call.account_id, wire.WalletChanged(part="auto_reload"))
    return json_reply(_auto_reload(outcome))


def _accepted(outcome: Order | OrderRefused) -> Order:
    if isinstance(outcome, OrderRefused):
        raise refused(REFUSALS, outcome.code)
    return outcome


def _reduction(method: Method, price: Price) -> Reduction | None:
    if price.promotion is None:
        return None
    return Reduction(
        method=method.id,
        price_minor=price.price_minor,
        percent=price.promotion.percent,
        ends_at_ms=price.promotion.ends_at_ms,
    )


def _auto_reload(settings: ReloadSettings) -> AutoReload:
    return AutoReload(
        enabled=settings.enabled,
        state=settings.state,
        threshold_units=settings.threshold_units,
        package=settings.package_id,
        daily_cap=settings.daily_cap,
        notice=settings.notice,
    )


ROUTES = (
    Route(
        "GET",
        "/api/v1/wallet",
        wallet,
        "Balance and auto-reload",
        access=Access.MEMBER,
        reply=WalletReply,
    ),
    Route("GET", "/api/v1/wallet/packages", packages, "The price list", reply=PackagesReply),
    Route(
        "PUT",
        "/api/v1/wallet/auto-reload",
        set_auto_reload,
        "Opt in or out of auto-reload",
        access=Access.MEMBER,
        body=AutoReloadSettings,
        reply=AutoReload,
        refusals=("409 no_payment_method", "422 package_too_small", "422 unknown_package"),
    ),
    Route(
        "GET",
        "/api/v1/orders",
        list_orders,
        "The member's orders",
        access=Access.MEMBER,
        reply=OrdersReply,
    ),
    Route(
        "POST",
        "/api/v1/orders",
        create_order,
        "Order a package",
        access=Access.MEMBER,
        body=NewOrder,
        reply=OrderReply,
        status=201,
        headers=(KEY_HEADER,),
        refusals=(
            "400 key_missing",
            "400 key_invalid",
            "409 key_reused",
            "409 on_break",
            "409 price_changed",
            "422 unknown_package",
            "422 unknown_method",
            "429 rate_limited",
            "503 payments_unavailable",
        ),
    ),
    Route(
        "POST",
        "/api/v1/orders/{order}/pay",
        pay,
        "Pay an order",
        access=Access.MEMBER,
        body=OrderPayment,
        reply=OrderReply,
        refusals=(
            "404 unknown_order",
            "409 on_break",
            "409 order_closed",
            "422 invalid",
            "422 token_unusable",
            "429 rate_limited",
        ),
    ),
    Route(
        "POST",
        "/api/v1/orders/{order}/check",
        check_order,
        "Ask the provider about an order",
        access=Access.MEMBER,
        reply=OrderReply,
        refusals=("404 unknown_order", "429 rate_limited"),
    ),
    Route(
        "POST",
        "/api/v1/orders/{order}/cancel",
        cancel_order,
        "Close an order that is not paid",
        access=Access.MEMBER,
        reply=OrderReply,
        refusals=("404 unknown_order", "429 rate_limited"),
    ),
)
