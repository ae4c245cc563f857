"""Asking for the price of a private session back."""

from __future__ import annotations

from typing import Annotated

from aiohttp import web
from msgspec import Meta, Struct

from billing_meter.refunds import (
    COMPLAINT_CHARS_MAX,
    Refund,
    RefundRefused,
    Refunds,
    RefundState,
)
from signaling import wire
from signaling.problem import refused
from signaling.routing import Access, Call, Route, json_reply
from signaling.services import take

REFUSALS = {
    "no_session": (404, "There is no such session."),
    "no_refund": (404, "Nothing was asked back for this session."),
    "not_ended": (409, "The session goes on."),
    "nothing_charged": (409, "The session cost nothing."),
    "window_closed": (409, "A refund can be asked for within 24 hours of the session's end."),
    "already_requested": (409, "A refund was asked for already."),
}


class RefundRequest(Struct, forbid_unknown_fields=True, kw_only=True):
    """What was wrong, in the member's words."""

    complaint: Annotated[str, Meta(min_length=1, max_length=COMPLAINT_CHARS_MAX, pattern=r"\S")]


class RefundReply(Struct, kw_only=True, omit_defaults=True):
    """A request as it stands. `granted_units` went back to the member's buckets."""

    session: str
    state: RefundState
    charged_units: int
    granted_units: int
    complaint: str
    requested_at_ms: int
    decided_at_ms: int | None = None


async def ask(call: Call) -> web.Response:
    """Ask once, within 24 hours of the session's end; staff decides."""
    member_id = call.account_id
    body = await call.json(RefundRequest)
    take(call.services.limits.purchases, member_id, "refund requests")
    refunds = Refunds(call.services.wallet.ledger)
    outcome = await refunds.request(call.path["session"], member_id, body.complaint)
    if isinstance(outcome, RefundRefused):
        raise refused(REFUSALS, outcome.code)
    call.services.hub.tell_member(member_id, wire.WalletChanged(part="refunds"))
    return json_reply(_reply(outcome), status=201)


async def look(call: Call) -> web.Response:
    """What became of a request; only its member is told."""
    found = await Refunds(call.services.wallet.ledger).of_session(call.path["session"])
    if found is None or found.member_id != call.account_id:
        raise refused(REFUSALS, "no_refund")
    return json_reply(_reply(found))


def _reply(refund: Refund) -> RefundReply:
    return RefundReply(
        session=refund.session_id,
        state=refund.state,
        charged_units=refund.charged_units,
        granted_units=refund.granted_units,
        complaint=refund.complaint,
        requested_at_ms=refund.requested_at_ms,
        decided_at_ms=refund.decided_at_ms,
    )


ROUTES = (
    Route(
        "POST",
        "/api/v1/sessions/{session}/refund",
        ask,
        "Ask for a session's price back",
        access=Access.MEMBER,
        body=RefundRequest,
        reply=RefundReply,
        status=201,
        refusals=(
            "404 no_session",
            "409 not_ended",
            "409 nothing_charged",
            "409 window_closed",
            "409 already_requested",
            "429 rate_limited",
        ),
    ),
    Route(
        "GET",
        "/api/v1/sessions/{session}/refund",
        look,
        "What became of a refund request",
        access=Access.MEMBER,
        reply=RefundReply,
        refusals=("404 no_refund",),
    ),
)
