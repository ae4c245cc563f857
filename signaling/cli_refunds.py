"""`parlour refund list|approve|deny|purchases|purchase`: giving back what members paid experts.

Sessions are asked back by their members and decided once; other purchases staff give back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Final, TypeVar, get_args

import typer

from billing_meter.ledger import Refused
from billing_meter.ledger_store import LedgerStore
from billing_meter.purchase_rows import NUMBER_MAX
from billing_meter.purchases import REASON_CHARS_MAX, Purchase, Purchases
from billing_meter.refunds import Refund, RefundRefused, Refunds, RefundState
from billing_meter.units import credits_text, units_from_credits
from billing_meter.wallet import Wallet
from signaling.cli_common import (
    ByOption,
    CommandError,
    ConfigOption,
    DataOption,
    JsonOption,
    account_named,
    instant_text,
    settings,
    show,
    show_list,
    state_named,
    who,
)
from signaling.config import Config
from signaling.store import opened_store, utc_now

LISTED_MAX: Final = 200
refund_cli = typer.Typer(no_args_is_help=True, help="Refunds: what members ask back.")
SessionArgument = Annotated[str, typer.Argument(help="The session's id, as `list` shows it.")]
T = TypeVar("T")
PURCHASE_REASONS: Final = {
    "unknown_purchase": "there is no such purchase",
    "already_refunded": "this purchase was given back already",
    "exceeds_price": "more would go back than was paid",
}


@refund_cli.command("list")
def refund_list(
    state: Annotated[str, typer.Option(help="requested, approved or denied.")] = "requested",
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show requests, the oldest first."""
    wanted: RefundState = state_named(state, get_args(RefundState))
    found = asyncio.run(
        _with_refunds(
            settings(config, data), lambda refunds: refunds.of_state(wanted, limit=LISTED_MAX)
        )
    )
    show_list("refunds", [_shown(refund) for refund in found], as_json)


@refund_cli.command("approve")
def refund_approve(
    session: SessionArgument,
    credits_: Annotated[
        str | None, typer.Option("--credits", help="A part; without it all that was paid.")
    ] = None,
    by: ByOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give a session's price back, all or a part. The expert's share goes with it."""
    units = None if credits_ is None else _units(credits_)

    async def approve(refunds: Refunds) -> Refund | RefundRefused:
        asked = await refunds.of_session(session)
        if asked is None:
            return RefundRefused("no_refund")
        return await refunds.approve(session, units or asked.charged_units, who(by))

    _decided(asyncio.run(_with_refunds(settings(config, data), approve)), as_json)


@refund_cli.command("deny")
def refund_deny(
    session: SessionArgument,
    by: ByOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give nothing back, for good."""

    decider = who(by)
    outcome = asyncio.run(
        _with_refunds(settings(config, data), lambda refunds: refunds.deny(session, decider))
    )
    _decided(outcome, as_json)


@refund_cli.command("purchases")
def refund_purchases(
    member: Annotated[str, typer.Argument(help="The member's name.")],
    before: Annotated[
        int | None, typer.Option(help="Those before this number only.", min=1, max=NUMBER_MAX)
    ] = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a member bought of experts, the newest first."""
    chosen = settings(config, data)

    async def look() -> list[dict[str, object]]:
        async with opened_store(chosen) as database:
            account = await account_named(chosen, database, member)
            purchases = Purchases(Wallet(database, utc_now=utc_now))
            found = await purchases.of_member(account.account_id, before=before, limit=LISTED_MAX)
            return [_bought(one) for one in found]

    show_list("purchases", asyncio.run(look()), as_json)


@refund_cli.command("purchase")
def refund_purchase(
    number: Annotated[int, typer.Argument(help="Its number, as `purchases` shows it.")],
    credits_: Annotated[
        str | None,
        typer.Option("--credits", help="A part; without it all, which ends its access."),
    ] = None,
    reason: Annotated[str, typer.Option(help="The member reads it.")] = "",
    by: ByOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give back a surprise, a story pass, content or a message. The expert's share goes with it."""
    units = None if credits_ is None else _units(credits_)
    why = " ".join(reason.split())
    if len(why) > REASON_CHARS_MAX:
        raise CommandError("bad_reason", f"--reason has at most {REASON_CHARS_MAX} characters")
    chosen = settings(config, data)

    async def act() -> Purchase | Refused:
        async with opened_store(chosen) as database:
            purchases = Purchases(Wallet(database, utc_now=utc_now))
            return await purchases.refund(number, who(by), units, why)

    outcome = asyncio.run(act())
    if isinstance(outcome, Refused):
        raise CommandError(outcome.code, PURCHASE_REASONS.get(outcome.code, outcome.code))
    show(_bought(outcome), as_json)


async def _with_refunds(config: Config, act: Callable[[Refunds], Awaitable[T]]) -> T:
    async with opened_store(config) as database:
        return await act(Refunds(LedgerStore(database, utc_now=utc_now)))


def _decided(outcome: Refund | RefundRefused, as_json: bool) -> None:
    if isinstance(outcome, RefundRefused):
        reasons = {
            "no_refund": "nothing was asked back for this session",
            "already_decided": "this request was decided already",
            "exceeds_charge": "more would go back than the session cost",
        }
        raise CommandError(outcome.code, reasons.get(outcome.code, outcome.code))
    show(_shown(outcome), as_json)


def _shown(refund: Refund) -> dict[str, object]:
    return {
        "session": refund.session_id,
        "state": refund.state,
        "charged": credits_text(refund.charged_units),
        "granted": credits_text(refund.granted_units),
        "asked": instant_text(refund.requested_at_ms),
        "by": refund.decided_by or "-",
        "complaint": " ".join(refund.complaint.split()),
    }


def _bought(purchase: Purchase) -> dict[str, object]:
    return {
        "number": purchase.transfer,
        "bought": instant_text(purchase.at_ms),
        "feature": purchase.feature.value,
        "object": purchase.object_id,
        "price": credits_text(purchase.units),
        "given_back": credits_text(purchase.refunded_units or 0),
        "by": purchase.refunded_by or "-",
        "reason": purchase.refund_reason or "-",
    }


def _units(text: str) -> int:
    try:
        units = units_from_credits(text)
    except ValueError as error:
        raise CommandError("bad_credits", f"--credits {text!r}: {error}") from None
    if units < 1:
        raise CommandError("bad_credits", "--credits must be more than nothing")
    return units
