"""`parlour order list|show|refund`: members' purchases, and giving them back, for staff."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Annotated, Final, TypeVar

import typer
from babel.numbers import get_currency_precision

from billing_meter.order_refunds import NotRefunded, OrderRefund, OrderRefunds
from billing_meter.order_store import Order
from billing_meter.orders import Orders
from billing_meter.providers import ProviderUnavailable
from billing_meter.units import credits_text
from billing_meter.wallet import Wallet
from signaling.accounts import Accounts
from signaling.cli_common import (
    ByOption,
    CommandError,
    ConfigOption,
    DataOption,
    JsonOption,
    accounts_of,
    instant_text,
    settings,
    show,
    show_list,
    who,
)
from signaling.compose_payments import provider_of
from signaling.config import Config
from signaling.order_views import PRICE_MINOR_MAX
from signaling.store import opened_store, utc_now

REASONS: Final = {
    "key_invalid": "a key has 1 to 120 characters",
    "key_reused": "this key was used for another refund of this order",
    "unknown_order": "there is no such order that was paid",
    "not_refundable": "nothing is left of this order that can be given back",
    "exceeds_price": "more would go back than was paid",
    "credits_spent": "its credits are spent or held; see `parlour order show` for what is left",
    "refund_pending": "the provider has not answered about another refund of this order; "
    "the server goes on asking",
}
order_cli = typer.Typer(no_args_is_help=True, help="Orders: purchases, and giving them back.")
OrderArgument = Annotated[str, typer.Argument(help="The order's id, as receipts show it.")]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Desk:
    orders: Orders
    refunds: OrderRefunds
    accounts: Accounts


@order_cli.command("list")
def order_list(
    member: Annotated[str, typer.Argument(help="The member's name.")],
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a member's orders, the newest first."""

    async def look(desk: _Desk) -> list[dict[str, object]]:
        account = await desk.accounts.by_name(member)
        if account is None or account.kind != "member":
            raise CommandError("no_member", f"there is no member {member!r}")
        return [_shown(order) for order in await desk.orders.list(account.account_id)]

    show_list("orders", asyncio.run(_with_desk(settings(config, data), look)), as_json)


@order_cli.command("show")
def order_show(
    order: OrderArgument,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show an order, and how much of it can be given back now."""

    async def look(desk: _Desk) -> dict[str, object]:
        found = await desk.orders.find(order)
        if found is None:
            raise CommandError("unknown_order", f"there is no order {order!r}")
        possible = await desk.refunds.refundable(found)
        left = {"refundable": _price(possible.price_minor, found.currency)}
        return _shown(found) | left | {"refundable_credits": credits_text(possible.units)}

    show(asyncio.run(_with_desk(settings(config, data), look)), as_json)


@order_cli.command("refund")
def order_refund(
    order: OrderArgument,
    price: Annotated[
        str | None, typer.Option(help="A part of the price; without it all that is left.")
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="Repeated with the same key it is the same refund.")
    ] = None,
    by: ByOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take unspent credits of an order and give their money back."""

    async def act(desk: _Desk) -> dict[str, object]:
        found = await desk.orders.find(order)
        if found is None:
            raise CommandError("unknown_order", f"there is no order {order!r}")
        price_minor = None if price is None else _minor(price, found.currency)
        try:
            outcome = await desk.refunds.request(
                order, price_minor, key or uuid.uuid4().hex, who(by)
            )
        except ProviderUnavailable:
            raise CommandError("provider_unavailable", "the provider was not reached") from None
        if isinstance(outcome, NotRefunded):
            raise CommandError(outcome.code, REASONS[outcome.code])
        return _refund_shown(outcome, found.currency)

    show(asyncio.run(_with_desk(settings(config, data), act)), as_json)


async def _with_desk(config: Config, act: Callable[[_Desk], Awaitable[T]]) -> T:
    provider = provider_of(config, lambda: "")
    try:
        async with opened_store(config) as database:
            wallet = Wallet(database, utc_now=utc_now)
            orders = Orders(database, wallet, provider, utc_now=utc_now)
            with accounts_of(config, database) as accounts:
                return await act(_Desk(orders, OrderRefunds(database, wallet, provider), accounts))
    finally:
        await provider.close()


def _shown(order: Order) -> dict[str, object]:
    return {
        "order": order.order_id,
        "state": order.state.value,
        "credits": credits_text(order.credits_units),
        "price": _price(order.price_minor, order.currency),
        "method": order.method,
        "ordered": instant_text(order.created_at_ms),
        "taken_back": credits_text(order.refunded_units),
    }


def _refund_shown(refund: OrderRefund, currency: str) -> dict[str, object]:
    return {
        "refund": refund.refund_id,
        "order": refund.order_id,
        "state": refund.state,
        "price": _price(refund.price_minor, currency),
        "credits": credits_text(refund.units),
        "by": refund.decided_by,
    }


def _price(minor: int, currency: str) -> str:
    return f"{Decimal(minor).scaleb(-get_currency_precision(currency))} {currency}"


def _minor(text: str, currency: str) -> int:
    try:
        minor = Decimal(text).scaleb(get_currency_precision(currency))
    except InvalidOperation:
        raise CommandError("bad_price", f"--price {text!r} is not an amount") from None
    if not minor.is_finite() or minor != minor.to_integral_value():
        raise CommandError("bad_price", f"--price {text!r} is not an amount of {currency}")
    if not 1 <= minor <= PRICE_MINOR_MAX:
        raise CommandError("bad_price", f"--price {text!r} is not a price")
    return int(minor)
