"""The free credits: claimed by validating a card, once per person."""

from __future__ import annotations

from aiohttp import web
from msgspec import Struct

from billing_meter.free_credits import FREE_UNITS, Claim, TooManyTries
from billing_meter.providers import ProviderUnavailable
from signaling.problem import Problem, refused
from signaling.routes_wallet import REFUSALS, OrderPayment
from signaling.routing import Access, Call, Route, json_reply
from signaling.services import take


class FreeCreditsReply(Struct, kw_only=True, omit_defaults=True):
    """`state` is `unavailable`, `eligible`, `pending`, `declined`, `granted` or `not_eligible`;
    `failure` says why a card was declined, as for orders. `redirects`: cards are validated on the
    provider's page, at `redirect_url` while a claim is pending; else with a token."""

    state: str
    units: int
    redirects: bool = False
    failure: str | None = None
    redirect_url: str | None = None


async def offer(call: Call) -> web.Response:
    """Whether there are free credits for this member, or how it stands with them."""
    account_id, email, known = await _who(call)
    return _reply(call, await call.services.free_credits.offer(account_id, email, known=known))


async def claim(call: Call) -> web.Response:
    """Validate a card with the provider, at no charge, and take the credits."""
    body = await call.json(OrderPayment)
    account_id, email, known = await _who(call)
    take(call.services.limits.purchases, account_id, "claims")
    if call.services.free_credits.redirects == bool(body.token):
        raise refused(REFUSALS, "token_unusable")
    try:
        made = await call.services.free_credits.claim(account_id, email, body.token, known=known)
    except ProviderUnavailable:
        made = Claim("pending")
    if isinstance(made, TooManyTries):
        raise Problem(409, "too_many_cards", "Too many cards were declined today.")
    if made.state == "unavailable":
        raise Problem(503, "payments_unavailable", "Cards cannot be validated here now.")
    if made.state == "not_eligible":
        raise Problem(409, "not_eligible", "The free credits are for new members, once.")
    return _reply(call, made)


async def _who(call: Call) -> tuple[str, str | None, bool]:
    """(account, address, whether the address belongs to somebody who bought before)."""
    accounts, account_id = call.services.accounts, call.signed_in.account.account_id
    mailbox = await accounts.mailbox(account_id)
    if mailbox is None:
        return account_id, None, False
    return account_id, mailbox.email, await accounts.bought_elsewhere(account_id, mailbox.email)


def _reply(call: Call, made: Claim) -> web.Response:
    return json_reply(
        FreeCreditsReply(
            state=made.state,
            units=FREE_UNITS,
            redirects=call.services.free_credits.redirects,
            failure=made.failure,
            redirect_url=made.redirect_url,
        )
    )


ROUTES = (
    Route(
        "GET",
        "/api/v1/wallet/free-credits",
        offer,
        "Whether there are free credits",
        access=Access.MEMBER,
        reply=FreeCreditsReply,
    ),
    Route(
        "POST",
        "/api/v1/wallet/free-credits",
        claim,
        "Claim the free credits",
        access=Access.MEMBER,
        body=OrderPayment,
        reply=FreeCreditsReply,
        refusals=(
            "409 not_eligible",
            "409 too_many_cards",
            "422 invalid",
            "422 token_unusable",
            "429 rate_limited",
            "503 payments_unavailable",
        ),
    ),
)
