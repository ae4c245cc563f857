"""The expert's payouts: where they go, asking for one, taking it back."""

from __future__ import annotations

from typing import Annotated

from aiohttp import web
from msgspec import Meta, Struct

from billing_meter import payout_rules
from billing_meter.iban import TYPED_CHARS_MAX, masked
from billing_meter.payout_rules import HOLDER_CHARS_MAX, Destination, Payout
from billing_meter.payouts import PayoutRefused
from signaling.idempotency import KEY_HEADER, key_of
from signaling.problem import Problem, refused
from signaling.routes_earnings import EarnedNow, earned_now
from signaling.routing import Access, Call, Route, json_reply
from signaling.services import take

PAYOUTS_SHOWN = 50
UNITS_MAX = 10**15
"""More than anybody owns; sums stay below 2^63."""
REFUSALS = {
    "key_invalid": (400, "Idempotency-Key has 1 to 120 characters."),
    "key_reused": (409, "This Idempotency-Key was used for another payout."),
    "payout_in_flight": (409, "A payout is under way; there is one at a time."),
    "no_destination": (409, "Name a bank account first."),
    "exceeds_available": (409, "So much is not available."),
    "below_minimum": (409, "This is less than the smallest payout."),
    "no_payout": (404, "There is no such payout."),
    "wrong_state": (409, "This payout was decided already."),
}


class DestinationBody(Struct, forbid_unknown_fields=True, kw_only=True):
    """A bank account: its holder, and its IBAN with or without blanks."""

    holder: Annotated[str, Meta(min_length=1, max_length=HOLDER_CHARS_MAX)]
    iban: Annotated[str, Meta(min_length=1, max_length=TYPED_CHARS_MAX)]


class DestinationView(Struct, kw_only=True):
    """The account, its number shortened to what its owner recognises."""

    holder: str
    iban: str


class NewPayout(Struct, forbid_unknown_fields=True, kw_only=True):
    """How much, down to whole cents; without it all that is available. Needs Idempotency-Key."""

    units: Annotated[int, Meta(ge=1, le=UNITS_MAX)] | None = None


class PayoutView(Struct, kw_only=True, omit_defaults=True):
    """`requested` until staff decides, `approved` until it is there; then how it ended."""

    id: str
    state: str
    units: int
    amount_minor: int
    currency: str
    holder: str
    iban: str
    requested_at_ms: int
    decided_at_ms: int | None = None
    closed_at_ms: int | None = None
    returned_at_ms: int | None = None
    reference: str | None = None
    reason: str | None = None


class PayoutsReply(Struct, kw_only=True):
    """The newest first. A credit is paid out as `minor_per_credit` of the currency."""

    now: EarnedNow
    minimum_units: int
    minor_per_credit: int
    currency: str
    destination: DestinationView | None
    payouts: list[PayoutView]


class PayoutReply(Struct, kw_only=True):
    """One payout."""

    payout: PayoutView


async def look(call: Call) -> web.Response:
    """What can be paid out, to where, and what became of earlier payouts."""
    payouts, expert_id = call.services.payouts, call.account_id
    listed = await payouts.of_expert(expert_id, limit=PAYOUTS_SHOWN)
    reply = PayoutsReply(
        now=earned_now(await payouts.earned(expert_id)),
        minimum_units=payouts.minimum_units,
        minor_per_credit=payout_rules.MINOR_PER_CREDIT,
        currency=payout_rules.CURRENCY,
        destination=_destination(await payouts.destination(expert_id)),
        payouts=[payout_view(payout) for payout in listed],
    )
    return json_reply(reply)


async def ask(call: Call) -> web.Response:
    """Ask for a payout; its units are held until it is paid or given back."""
    body = await call.json(NewPayout)
    take(call.services.limits.purchases, call.account_id, "payouts")
    key = key_of(call) or ""
    outcome = await call.services.payouts.request(call.account_id, key, body.units)
    return _reply(outcome, status=201)


async def cancel(call: Call) -> web.Response:
    """Take a payout back that nobody has decided yet."""
    return _reply(await call.services.payouts.cancel(call.account_id, call.path["payout"]))


async def keep_destination(call: Call) -> web.Response:
    """Where the next payout goes; one that is under way goes where it was asked to."""
    body = await call.json(DestinationBody)
    take(call.services.limits.purchases, call.account_id, "changes")
    try:
        kept = await call.services.payouts.set_destination(call.account_id, body.holder, body.iban)
    except ValueError as error:
        raise Problem(422, "bad_account", f"{error}.") from None
    view = _destination(kept)
    assert view is not None
    return json_reply(view)


def payout_view(payout: Payout) -> PayoutView:
    """As its expert sees it."""
    return PayoutView(
        id=payout.payout_id,
        state=payout.state.value,
        units=payout.units,
        amount_minor=payout.amount_minor,
        currency=payout.currency,
        holder=payout.holder,
        iban=masked(payout.iban),
        requested_at_ms=payout.requested_at_ms,
        decided_at_ms=payout.decided_at_ms,
        closed_at_ms=payout.closed_at_ms,
        returned_at_ms=payout.returned_at_ms,
        reference=payout.reference,
        reason=payout.failure,
    )


def _reply(outcome: Payout | PayoutRefused, status: int = 200) -> web.Response:
    if isinstance(outcome, PayoutRefused):
        raise refused(REFUSALS, outcome.code)
    return json_reply(PayoutReply(payout=payout_view(outcome)), status=status)


def _destination(found: Destination | None) -> DestinationView | None:
    return None if found is None else DestinationView(holder=found.holder, iban=masked(found.iban))


ROUTES = (
    Route(
        "GET",
        "/api/v1/payouts",
        look,
        "The expert's payouts",
        access=Access.EXPERT,
        reply=PayoutsReply,
    ),
    Route(
        "POST",
        "/api/v1/payouts",
        ask,
        "Ask for a payout",
        access=Access.EXPERT,
        body=NewPayout,
        reply=PayoutReply,
        status=201,
        headers=(KEY_HEADER,),
        refusals=(
            "400 key_invalid",
            "409 key_reused",
            "409 payout_in_flight",
            "409 no_destination",
            "409 exceeds_available",
            "409 below_minimum",
            "422 invalid",
            "429 rate_limited",
        ),
    ),
    Route(
        "PUT",
        "/api/v1/payouts/destination",
        keep_destination,
        "Where payouts go",
        access=Access.EXPERT,
        body=DestinationBody,
        reply=DestinationView,
        refusals=("422 bad_account", "422 invalid", "429 rate_limited"),
    ),
    Route(
        "POST",
        "/api/v1/payouts/{payout}/cancel",
        cancel,
        "Take a payout back",
        access=Access.EXPERT,
        reply=PayoutReply,
        refusals=("404 no_payout", "409 wrong_state"),
    ),
)
