"""Staff decides on payouts, pays them by bank transfer, and notes how they ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from aiohttp import web
from msgspec import Meta, Struct

from billing_meter.payout_rules import OPEN, Payout, PayoutState
from billing_meter.payouts import (
    REASON_CHARS_MAX,
    REFERENCE_CHARS_MAX,
    PayoutRefused,
    Payouts,
)
from signaling.problem import Problem, refused
from signaling.routing import Access, Call, Route, json_reply

QUEUE_ITEMS = 50
"""Of one list; open ones are worked off from the oldest end."""
REFUSALS = {
    "no_payout": (404, "There is no such payout."),
    "wrong_state": (409, "This payout is in another state by now."),
    "not_covered": (409, "So much was taken back since that the expert would owe: deny it."),
    "with_provider": (409, "The payout provider pays this one and tells how it ends."),
}
Do = Literal["approve", "approve_manual", "deny", "paid", "failed", "returned"]


class StaffPayout(Struct, kw_only=True, omit_defaults=True):
    """With the whole account number, to be typed into the bank's page.

    `own`: of whoever asks, so somebody else decides. `manual`: staff ends it.
    """

    id: str
    state: str
    expert: str
    units: int
    amount_minor: int
    currency: str
    holder: str
    iban: str
    requested_at_ms: int
    own: bool = False
    manual: bool = False
    decided_at_ms: int | None = None
    decided_by: str | None = None
    closed_at_ms: int | None = None
    closed_by: str | None = None
    returned_at_ms: int | None = None
    returned_by: str | None = None
    reference: str | None = None
    reason: str | None = None


class PayoutQueue(Struct, kw_only=True):
    """Open payouts from the oldest, closed ones from the newest; `more`: these are not all.

    `provider`: approved payouts are sent by it unless they are approved to be paid by hand.
    """

    payouts: list[StaffPayout]
    more: bool
    provider: bool


class PayoutStep(Struct, forbid_unknown_fields=True, kw_only=True):
    """`paid` needs the bank's `reference`; `failed` and `returned` a `reason`, `deny` may have one.

    The expert sees both.
    """

    do: Do
    reference: Annotated[str, Meta(max_length=REFERENCE_CHARS_MAX)] = ""
    reason: Annotated[str, Meta(max_length=REASON_CHARS_MAX)] = ""


async def queue(call: Call) -> web.Response:
    """What waits for staff or the bank, or with `state=closed` what ended last."""
    match call.request.query.get("state", "open"):
        case "open":
            states = sorted(OPEN)
        case "closed":
            states = sorted(set(PayoutState) - OPEN)
        case _:
            raise Problem(422, "invalid", "state is open or closed.")
    payouts = call.services.payouts
    found = await payouts.of_states(*states, limit=QUEUE_ITEMS + 1)
    reply = PayoutQueue(
        payouts=await _views(call, found[:QUEUE_ITEMS]),
        more=len(found) > QUEUE_ITEMS,
        provider=payouts.has_provider,
    )
    return json_reply(reply)


async def step(call: Call) -> web.Response:
    """One step, once. An approved payout that a provider pays is sent at once."""
    body = await call.json(PayoutStep)
    payouts, payout_id, by = call.services.payouts, call.path["payout"], call.account_id
    found = await payouts.find(payout_id)
    if found is None:
        raise refused(REFUSALS, "no_payout")
    if found.expert_id == by:
        raise Problem(403, "own_payout", "Somebody else decides about a payout of yours.")
    try:
        outcome = await _do(payouts, body, payout_id, by)
    except ValueError as error:
        raise Problem(422, "invalid", f"{error}.") from None
    if isinstance(outcome, PayoutRefused):
        raise refused(REFUSALS, outcome.code)
    if outcome.state is PayoutState.APPROVED:
        outcome = await payouts.send(payout_id) or outcome
    return json_reply((await _views(call, [outcome]))[0])


async def _do(
    payouts: Payouts, body: PayoutStep, payout_id: str, by: str
) -> Payout | PayoutRefused:
    match body.do:
        case "approve":
            return await payouts.approve(payout_id, by)
        case "approve_manual":
            return await payouts.approve(payout_id, by, manual=True)
        case "deny":
            return await payouts.deny(payout_id, by, body.reason)
        case "paid":
            return await payouts.paid(payout_id, body.reference.strip(), by)
        case "failed":
            return await payouts.failed(payout_id, body.reason, by)
        case "returned":
            return await payouts.returned(payout_id, body.reason, by)


async def _views(call: Call, found: Sequence[Payout]) -> list[StaffPayout]:
    people = {one.expert_id for one in found}
    for one in found:
        people.update((one.decided_by or "", one.closed_by or "", one.returned_by or ""))
    names = await call.services.accounts.names(people)
    payouts = call.services.payouts
    return [_view(one, names, call.account_id, payouts.by_hand(one)) for one in found]


def _view(payout: Payout, names: Mapping[str, str], viewer: str, by_hand: bool) -> StaffPayout:
    return StaffPayout(
        id=payout.payout_id,
        state=payout.state.value,
        expert=names.get(payout.expert_id, ""),
        units=payout.units,
        amount_minor=payout.amount_minor,
        currency=payout.currency,
        holder=payout.holder,
        iban=payout.iban,
        requested_at_ms=payout.requested_at_ms,
        own=viewer == payout.expert_id,
        manual=by_hand,
        decided_at_ms=payout.decided_at_ms,
        # The command line and a provider write names that no account has.
        decided_by=names.get(payout.decided_by or "", payout.decided_by),
        closed_at_ms=payout.closed_at_ms,
        closed_by=names.get(payout.closed_by or "", payout.closed_by),
        returned_at_ms=payout.returned_at_ms,
        returned_by=names.get(payout.returned_by or "", payout.returned_by),
        reference=payout.reference,
        reason=payout.failure,
    )


ROUTES = (
    Route(
        "GET",
        "/api/v1/staff/payouts",
        queue,
        "Payouts, for staff",
        access=Access.STAFF,
        reply=PayoutQueue,
        query=("state",),
        refusals=("422 invalid",),
    ),
    Route(
        "POST",
        "/api/v1/staff/payouts/{payout}",
        step,
        "Decide on a payout, or note how it ended",
        access=Access.STAFF,
        body=PayoutStep,
        reply=StaffPayout,
        refusals=(
            "403 own_payout",
            "404 no_payout",
            "409 wrong_state",
            "409 not_covered",
            "409 with_provider",
            "422 invalid",
        ),
    ),
)
