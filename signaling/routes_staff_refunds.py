"""Staff decides on refunds: what is asked, the facts of the session, one decision for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from aiohttp import web
from msgspec import Meta, Struct

from billing_meter.ledger_store import utc_ms
from billing_meter.refunds import Past, Refund, RefundRefused, Refunds, RefundState
from billing_meter.sessions import SessionRecord, session_records
from signaling import wire, wire_out
from signaling.problem import Problem, refused
from signaling.routing import Access, Call, Route, json_reply

QUEUE_ITEMS = 50
"""Of one list; the queue is worked off from its oldest end, the rest comes when these are done."""
GRANT_UNITS_MAX = 10**12
REFUSALS = {
    "no_refund": (404, "Nothing was asked back for this session."),
    "already_decided": (409, "This request was decided already."),
    "exceeds_charge": (422, "More would go back than the session cost."),
}


class SessionFacts(Struct, kw_only=True):
    """What the meter kept of the session: of its `open_ms` there was media for `held_ms`."""

    started_at_ms: int
    ended_at_ms: int
    reason: str
    held_ms: int
    open_ms: int
    lines: list[wire.CostLine]


class PastRequests(Struct, kw_only=True):
    """The member's requests in all, this one included."""

    requested: int
    approved: int
    granted_units: int


class RefundItem(Struct, kw_only=True, omit_defaults=True):
    """A request with what one needs to decide it. `own`: by or about whoever asks, not theirs."""

    session: str
    state: RefundState
    member: str
    expert: str
    charged_units: int
    granted_units: int
    complaint: str
    requested_at_ms: int
    facts: SessionFacts
    past: PastRequests
    own: bool = False
    decided_at_ms: int | None = None
    decided_by: str | None = None


class RefundQueue(Struct, kw_only=True):
    """Open requests from the oldest, decided ones from the newest; `more`: these are not all."""

    refunds: list[RefundItem]
    more: bool


class RefundDecision(Struct, forbid_unknown_fields=True, kw_only=True):
    """`granted_units` go back to the member, all or a part of the charge; 0 denies."""

    granted_units: Annotated[int, Meta(ge=0, le=GRANT_UNITS_MAX)]


async def queue(call: Call) -> web.Response:
    """What waits for a decision, or with `state=decided` what was decided last."""
    refunds = Refunds(call.services.wallet.ledger)
    found: Sequence[Refund]
    match call.request.query.get("state", "requested"):
        case "requested":
            found = await refunds.of_state("requested", limit=QUEUE_ITEMS + 1)
        case "decided":
            found = await refunds.decided(limit=QUEUE_ITEMS + 1)
        case _:
            raise Problem(422, "invalid", "state is requested or decided.")
    items = await _items(call, refunds, found[:QUEUE_ITEMS])
    return json_reply(RefundQueue(refunds=items, more=len(found) > QUEUE_ITEMS))


async def decide(call: Call) -> web.Response:
    """Approve or deny, once. Repeating one's own decision gives it again."""
    body = await call.json(RefundDecision)
    session, by = call.path["session"], call.account_id
    refunds = Refunds(call.services.wallet.ledger)
    asked = await refunds.of_session(session)
    if asked is None:
        raise refused(REFUSALS, "no_refund")
    if by in (asked.member_id, asked.expert_id):
        raise Problem(403, "own_session", "Somebody else decides about a session of yours.")
    outcome: Refund | RefundRefused
    if body.granted_units:
        outcome = await refunds.approve(session, body.granted_units, by)
    else:
        outcome = await refunds.deny(session, by)
    if isinstance(outcome, RefundRefused):
        stored = await refunds.of_session(session)
        mine = stored is not None and stored.decided_by == by
        if stored is None or not mine or stored.granted_units != body.granted_units:
            raise refused(REFUSALS, outcome.code)
        outcome = stored
    await call.services.refund_watch.look()
    return json_reply((await _items(call, refunds, [outcome]))[0])


async def _items(call: Call, refunds: Refunds, found: Sequence[Refund]) -> list[RefundItem]:
    services = call.services
    records = await session_records(services.database, [one.session_id for one in found])
    past = await refunds.past([one.member_id for one in found])
    people = {one.decided_by or "" for one in found}
    people.update(*((one.member_id, one.expert_id) for one in found))
    names = await services.accounts.names(people)
    return [
        _item(one, records[one.session_id], past[one.member_id], names, call.account_id)
        for one in found
    ]


def _item(
    refund: Refund, record: SessionRecord, past: Past, names: Mapping[str, str], viewer: str
) -> RefundItem:
    return RefundItem(
        session=refund.session_id,
        state=refund.state,
        member=names.get(refund.member_id, ""),
        expert=names.get(refund.expert_id, ""),
        charged_units=refund.charged_units,
        granted_units=refund.granted_units,
        complaint=refund.complaint,
        requested_at_ms=refund.requested_at_ms,
        facts=_facts(record),
        past=PastRequests(
            requested=past.requested, approved=past.approved, granted_units=past.granted_units
        ),
        own=viewer in (refund.member_id, refund.expert_id),
        decided_at_ms=refund.decided_at_ms,
        # The command line writes a name of the system, which no account has.
        decided_by=names.get(refund.decided_by or "", refund.decided_by),
    )


def _facts(record: SessionRecord) -> SessionFacts:
    summary = record.summary
    started_ms = utc_ms(summary.started_at or summary.ended_at)
    ended_ms = utc_ms(summary.ended_at)
    return SessionFacts(
        started_at_ms=started_ms,
        ended_at_ms=ended_ms,
        reason=summary.reason,
        held_ms=summary.held_ms,
        open_ms=max(summary.held_ms, ended_ms - started_ms),
        lines=[wire_out.cost_line(line) for line in summary.lines],
    )


ROUTES = (
    Route(
        "GET",
        "/api/v1/staff/refunds",
        queue,
        "Refund requests, for staff",
        access=Access.STAFF,
        reply=RefundQueue,
        query=("state",),
        refusals=("422 invalid",),
    ),
    Route(
        "POST",
        "/api/v1/staff/refunds/{session}",
        decide,
        "Approve or deny a refund",
        access=Access.STAFF,
        body=RefundDecision,
        reply=RefundItem,
        refusals=(
            "403 own_session",
            "404 no_refund",
            "409 already_decided",
            "422 exceeds_charge",
            "422 invalid",
        ),
    ),
)
