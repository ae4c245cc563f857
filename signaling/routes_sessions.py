"""What a private session cost, for its two people only."""

from __future__ import annotations

from aiohttp import web

from billing_meter.ledger_store import utc_ms
from billing_meter.sessions import SessionRecord, session_record
from rooms.private import EndReason
from signaling import wire, wire_out
from signaling.problem import Problem
from signaling.routing import Access, Call, Route, json_reply


async def session(call: Call) -> web.Response:
    """The summary; a stranger gets the same 404 as for a session that never was."""
    account = call.signed_in.account
    record = await session_record(call.services.database, call.path["session"])
    if record is None or account.account_id not in (record.member_id, record.expert_id):
        raise Problem(404, "no_session", "There is no such session.")
    is_member = account.account_id == record.member_id
    member = await call.services.accounts.by_id(record.member_id)
    expert = call.services.experts.expert(record.expert_id)
    return json_reply(
        _summary(
            record,
            expert="" if expert is None else expert.name,
            member="" if member is None else member.username,
            is_member=is_member,
        )
    )


def _summary(
    record: SessionRecord, *, expert: str, member: str, is_member: bool
) -> wire.PrivateSummary:
    summary = record.summary
    return wire.PrivateSummary(
        session=summary.session_id,
        reason=_reason(summary.reason, is_expert=not is_member),
        expert=expert,
        member=member,
        held_ms=summary.held_ms,
        lines=[wire_out.cost_line(line) for line in summary.lines],
        total_units=summary.cost_units,
        started_at_ms=utc_ms(summary.started_at or summary.ended_at),
        ended_at_ms=utc_ms(summary.ended_at),
        balance_units=summary.balance_units if is_member else None,
        earned_units=None if is_member else summary.earned_units,
        refund_until_ms=(
            utc_ms(record.refund_until) if is_member and record.refund_until else None
        ),
    )


def _reason(stored: str, *, is_expert: bool) -> wire.EndReason:
    """A session that a crash cut off was settled by the next start, under the till's own word."""
    reason = next((known for known in EndReason if known == stored), EndReason.SERVER_STOPPED)
    return reason.told(is_expert).value


ROUTES = (
    Route(
        "GET",
        "/api/v1/sessions/{session}",
        session,
        "What a private session cost",
        access=Access.ACCOUNT,
        reply=wire.PrivateSummary,
        refusals=("404 no_session",),
    ),
)
