"""Staff gives back what a member bought of experts: the purchases, and one refund of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from aiohttp import web
from msgspec import Meta, Struct

from billing_meter.features import Feature
from billing_meter.ledger import Refused
from billing_meter.purchases import REASON_CHARS_MAX, Purchase, Purchases
from signaling.problem import Problem, refused
from signaling.routes_transactions import before_of
from signaling.routing import Access, Call, Route, json_reply

PAGE_ITEMS = 30
UNITS_MAX = 10**12
NUMBER_DIGITS = 18
"""A number with more is none of a transfer's."""
REFUSALS = {
    "no_member": (404, "There is no member of this name."),
    "unknown_purchase": (404, "There is no such purchase."),
    "already_refunded": (409, "This purchase was given back already."),
    "exceeds_price": (422, "More would go back than was paid."),
}


class Bought(Struct, kw_only=True, omit_defaults=True):
    """One purchase; `access_until_ms`: when the access ends that it gives, if it gives any.

    `own`: of or from whoever asks, so somebody else decides about it.
    """

    purchase: int
    feature: Feature
    member: str
    expert: str
    object: str
    units: int
    at_ms: int
    access_until_ms: int | None = None
    own: bool = False
    replied_at_ms: int | None = None
    refunded_units: int | None = None
    refunded_at_ms: int | None = None
    refunded_by: str | None = None
    reason: str | None = None


class BoughtPage(Struct, kw_only=True):
    """Newest first; `next` is the `before` of the next page. `now_ms` is the server's clock."""

    purchases: list[Bought]
    next: int | None
    now_ms: int


class PurchaseRefund(Struct, forbid_unknown_fields=True, kw_only=True):
    """So much of the price, or all without it. A part leaves its access, all of it ends that.

    The member reads the reason.
    """

    granted_units: Annotated[int, Meta(ge=1, le=UNITS_MAX)] | None = None
    reason: Annotated[str, Meta(max_length=REASON_CHARS_MAX)] = ""


async def purchases_of(call: Call) -> web.Response:
    """What one member bought of experts, by the member's name."""
    services, before = call.services, before_of(call)
    member = await services.accounts.by_name(call.request.query.get("member", ""))
    if member is None or member.kind != "member":
        raise refused(REFUSALS, "no_member")
    purchases = Purchases(services.wallet)
    found = await purchases.of_member(member.account_id, before=before, limit=PAGE_ITEMS + 1)
    page = found[:PAGE_ITEMS]
    return json_reply(
        BoughtPage(
            purchases=await _shown(call, page),
            next=page[-1].transfer if len(found) > len(page) else None,
            now_ms=services.wallet.ledger.now_ms(),
        )
    )


async def give_back(call: Call) -> web.Response:
    """Give it back, once. Repeating one's own decision gives it again."""
    body = await call.json(PurchaseRefund)
    number, by = _number(call.path["purchase"]), call.account_id
    purchases = Purchases(call.services.wallet)
    bought = await purchases.one(number)
    if bought is None:
        raise refused(REFUSALS, "unknown_purchase")
    if by in (bought.member_id, bought.expert_id):
        raise Problem(403, "own_purchase", "Somebody else decides about a purchase of yours.")
    reason = " ".join(body.reason.split())
    outcome = await purchases.refund(number, by, body.granted_units, reason)
    if isinstance(outcome, Refused):
        stored = await purchases.one(number)
        granted = bought.units if body.granted_units is None else body.granted_units
        mine = stored is not None and stored.refunded_by == by
        if stored is None or not mine or stored.refunded_units != granted:
            raise refused(REFUSALS, outcome.code)
        outcome = stored
    await call.services.refund_watch.look()
    return json_reply((await _shown(call, [outcome]))[0])


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= NUMBER_DIGITS):
        raise refused(REFUSALS, "unknown_purchase")
    return int(text)


async def _shown(call: Call, found: Sequence[Purchase]) -> list[Bought]:
    services, viewer = call.services, call.account_id
    people = {one.refunded_by or "" for one in found}
    people.update(*((one.member_id, one.expert_id) for one in found))
    names = await services.accounts.names(people)
    until = await Purchases(services.wallet).access_until([one.transfer for one in found])
    return [
        Bought(
            purchase=one.transfer,
            feature=one.feature,
            member=names.get(one.member_id, ""),
            expert=names.get(one.expert_id, ""),
            object=one.object_id,
            units=one.units,
            at_ms=one.at_ms,
            access_until_ms=until.get(one.transfer),
            own=viewer in (one.member_id, one.expert_id),
            replied_at_ms=one.replied_at_ms,
            refunded_units=one.refunded_units,
            refunded_at_ms=one.refunded_at_ms,
            # The command line writes a name of the system, which no account has.
            refunded_by=names.get(one.refunded_by or "", one.refunded_by),
            reason=one.refund_reason or None,
        )
        for one in found
    ]


ROUTES = (
    Route(
        "GET",
        "/api/v1/staff/purchases",
        purchases_of,
        "What a member bought of experts, for staff",
        access=Access.STAFF,
        reply=BoughtPage,
        query=("member", "before"),
        refusals=("404 no_member", "422 invalid"),
    ),
    Route(
        "POST",
        "/api/v1/staff/purchases/{purchase}/refund",
        give_back,
        "Give a purchase of an expert's back",
        access=Access.STAFF,
        body=PurchaseRefund,
        reply=Bought,
        refusals=(
            "403 own_purchase",
            "404 unknown_purchase",
            "409 already_refunded",
            "422 exceeds_price",
            "422 invalid",
        ),
    ),
)
