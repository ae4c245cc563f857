"""Requests become entries, entries become rows, and rows become outcomes again (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from billing_meter import ledger
from billing_meter.ledger import (
    Debit,
    Draw,
    Entry,
    Outcome,
    Posted,
    PostHold,
    PromoGrant,
    Purchase,
    Refused,
    Request,
    Reverse,
    VoidHold,
)
from billing_meter.payout_rules import PAYOUT_KINDS

CREDIT_KINDS = frozenset({"purchase", "promo_grant"})
FINAL_KINDS = frozenset(
    {
        "reversal",
        "hold",
        "hold_void",
        "session_hold",
        "debt_payment",
        "session_refund",
        *PAYOUT_KINDS,
    }
)
"""Nothing of these can be reversed: they spent nothing, or are the correction themselves."""


def debit_entry(request: Debit, drawn: Draw, share_percent: int) -> Entry:
    """The transfer of a debit that takes `drawn`."""
    parts = ledger.member_parts(request.member_id, Draw() - drawn)
    expert_units = ledger.share(request.units, share_percent)
    parts += ledger.earned_parts(request.expert_id, request.units, expert_units)
    return entry_of(
        request,
        request.kind,
        parts,
        drawn,
        request.units,
        member_id=request.member_id,
        expert_id=request.expert_id,
    )


def outcome_of(row: Mapping[str, Any], request: Request) -> Outcome:
    """What a stored transfer tells who asks with its key."""
    if row["request_hash"] != ledger.hash_of(request):
        return Refused("key_reused")
    if row["outcome"] == "refused":
        return Refused(row["refusal"], replayed=True)
    drawn = Draw(row["promo_units"], row["paid_units"])
    return Posted(row["transfer"], row["units"], drawn, replayed=True)


def credit_entry(request: Purchase | PromoGrant) -> Entry:
    """The transfer of credits that come in."""
    if isinstance(request, Purchase):
        kind, source, given = "purchase", ledger.GATEWAY_CLEARING, Draw(paid=request.units)
    else:
        kind, source, given = "promo_grant", ledger.PROMO_COST, Draw(promo=request.units)
    parts = [*ledger.member_parts(request.member_id, given), (source, -request.units)]
    return entry_of(request, kind, parts, given, request.units, member_id=request.member_id)


def resolve_entry(
    request: PostHold | VoidHold, member_id: str, inside: Draw, used: Draw, share_percent: int
) -> Entry:
    """The transfer that ends a hold: `used` of what is inside is spent, the rest goes back."""
    parts = ledger.member_parts(member_id, inside - used)
    parts.append((ledger.held_account(member_id), -inside.units))
    expert_id, kind = None, "hold_void"
    if isinstance(request, PostHold):
        expert_id, kind = request.expert_id, request.kind
        expert_units = ledger.share(used.units, share_percent)
        parts += ledger.earned_parts(expert_id, used.units, expert_units)
    return entry_of(
        request,
        kind,
        parts,
        used,
        used.units,
        member_id=member_id,
        expert_id=expert_id,
        hold_id=request.hold_id,
    )


def reversal_entry(
    request: Reverse, row: Mapping[str, Any], lines: Mapping[str, int], done: Draw
) -> Entry:
    """The transfer that takes a part of the transfer `row` back, of which `done` went already."""
    after = ledger.unwind(done.units + request.units, Draw(row["promo_units"], row["paid_units"]))
    back = after - done
    given = row["kind"] in CREDIT_KINDS
    parts = ledger.member_parts(row["member_id"], Draw() - back if given else back)
    parts += counter_parts(lines, row["member_id"], row["units"], done.units, request.units)
    return entry_of(
        request,
        "reversal",
        parts,
        back,
        request.units,
        member_id=row["member_id"],
        expert_id=row["expert_id"],
        reverses=request.transfer,
    )


def counter_parts(
    lines: Mapping[str, int], member_id: str, units: int, before: int, more: int
) -> list[tuple[str, int]]:
    """The other side of a reversal, cumulatively exact; the first account takes the remainder."""
    own = f"member:{member_id}:"  # its buckets and holds: what a transfer moved among them stays
    others = {name: value for name, value in lines.items() if not name.startswith(own)}
    *shared, last = sorted(others)  # "expert:…" sorts before "platform:…", which takes the rest
    parts, left = [], -more if sum(others.values()) > 0 else more
    for account in shared:
        part = abs(others[account]) * (before + more) // units
        part -= abs(others[account]) * before // units
        signed = -part if others[account] > 0 else part
        parts.append((account, signed))
        left -= signed
    parts.append((last, left))
    return parts


def entry_of(
    request: Request,
    kind: str,
    parts: Iterable[tuple[str, int]],
    drawn: Draw,
    units: int,
    *,
    member_id: str,
    expert_id: str | None = None,
    reverses: int | None = None,
    hold_id: str | None = None,
) -> Entry:
    """A request's transfer with these postings."""
    return Entry(
        key=request.key,
        request_hash=ledger.hash_of(request),
        kind=kind,
        postings=ledger.postings_of(*parts),
        units=units,
        draw=drawn,
        member_id=member_id,
        expert_id=expert_id,
        subject=request.subject,
        reverses=reverses,
        hold_id=hold_id,
    )


def head_row(transfer: int, entry: Entry, at_ms: int) -> dict[str, Any]:
    """An entry as a row of `transfers`."""
    return {
        "transfer": transfer,
        "key": entry.key,
        "request_hash": entry.request_hash,
        "kind": entry.kind,
        "outcome": "refused" if entry.refusal else "posted",
        "refusal": entry.refusal,
        "member_id": entry.member_id,
        "expert_id": entry.expert_id,
        "subject": entry.subject,
        "units": entry.units,
        "promo_units": entry.draw.promo,
        "paid_units": entry.draw.paid,
        "reverses": entry.reverses,
        "hold_id": entry.hold_id,
        "at_ms": at_ms,
    }
