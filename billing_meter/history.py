"""A member's history, page by page: what a page costs does not depend on how long the history is.

Two indexes give the lines in their order, newest first: transfers that are a line each, and private
sessions, which are one line however many grants they took. The balance beside a line is what the
member has now, less the lines above it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from billing_meter import ledger, schema
from billing_meter.database import Database
from billing_meter.features import Feature
from billing_meter.group_rules import GROUP_KIND

Owner = Literal["member", "expert"]
SESSION_SUBJECT = "session:"
REFUNDED_KINDS = frozenset({GROUP_KIND, *(feature.value for feature in Feature)})
"""What a reversal is called in a history by what it takes back: `content_refund`, for example."""
NEWEST = 2**63 - 1
_X, _L, _S = schema.transfers.c, schema.postings.c, schema.sessions.c


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One change; a private session is one line however many grants it took.

    `id` is the number of its last transfer: lines are in its order. `units` is signed. `expert_id`:
    of whom something was bought, or to whom it was paid. A session's `at_ms` is its end, or while
    it runs when its money moved last.
    """

    id: int
    at_ms: int
    kind: str
    subject: str | None
    units: int
    balance_after_units: int
    expert_id: str | None = None


def accounts_of(owner: Owner, owner_id: str) -> list[str]:
    """The accounts whose sum a statement is about."""
    match owner:
        case "member":
            return [
                ledger.paid_account(owner_id),
                ledger.promo_account(owner_id),
                ledger.held_account(owner_id),
            ]
        case "expert":
            return [ledger.payable_account(owner_id), ledger.payout_account(owner_id)]


def shown_kind(kind: str, subject: str | None) -> str:
    """What a line is called: a reversal of something bought is its refund."""
    about = (subject or "").partition(":")[0]
    return f"{about}_refund" if kind == "reversal" and about in REFUNDED_KINDS else kind


async def transactions(
    database: Database, member_id: str, *, before: int | None = None, limit: int = 50
) -> Sequence[StatementLine]:
    """A member's history, newest first; pass the last `id` as `before` for the next page."""
    edge = NEWEST if before is None else before
    async with database.read() as connection:
        found = [
            *await _lines_of_their_own(connection, member_id, edge, limit),
            *await _sessions(connection, member_id, edge, limit),
        ]
        balance = await _balance_before(connection, member_id, before)
    found.sort(key=lambda line: line.id, reverse=True)
    lines = []
    for line in found[:limit]:
        lines.append(replace(line, balance_after_units=balance))
        balance -= line.units
    return lines


async def _lines_of_their_own(
    connection: AsyncConnection, member_id: str, before: int, limit: int
) -> list[StatementLine]:
    mine = _L.account.in_(accounts_of("member", member_id))
    units = sa.func.sum(_L.units)
    query = (
        sa.select(_X.transfer, _X.at_ms, _X.kind, _X.subject, units, _X.expert_id)
        .select_from(schema.transfers.join(schema.postings))
        .where(_X.member_id == member_id, schema.LINES_OF_THEIR_OWN, _X.transfer < before, mine)
        .group_by(_X.transfer)
        .having(units != 0)
        .order_by(_X.transfer.desc())
        .limit(limit)
    )
    rows = await connection.execute(query)
    return [
        StatementLine(row[0], row[1], shown_kind(row[2], row[3]), row[3], int(row[4]), 0, row[5])
        for row in rows
    ]


async def _sessions(
    connection: AsyncConnection, member_id: str, before: int, limit: int
) -> list[StatementLine]:
    # Its own row tells all of it: a transfer's would be two more places of the disk for each.
    at_ms = sa.func.coalesce(_S.ended_at_ms, _S.marked_at_ms)
    query = (
        sa.select(_S.last_charge, at_ms, _S.session_id, _S.posted_units, _S.expert_id)
        .where(_S.member_id == member_id, _S.last_charge < before)
        .order_by(_S.last_charge.desc())
        .limit(limit)
    )
    return [
        StatementLine(row[0], row[1], "session", f"{SESSION_SUBJECT}{row[2]}", -row[3], 0, row[4])
        for row in await connection.execute(query)
    ]


async def _balance_before(connection: AsyncConnection, member_id: str, before: int | None) -> int:
    """What the member had after the newest line that is older than `before`."""
    accounts, mine = schema.accounts.c, accounts_of("member", member_id)
    query = sa.select(sa.func.sum(accounts.units)).where(accounts.account.in_(mine))
    balance = int(await connection.scalar(query) or 0)
    if before is None:
        return balance
    singles = (
        sa.select(sa.func.sum(_L.units))
        .select_from(schema.transfers.join(schema.postings))
        .where(
            _X.member_id == member_id,
            schema.LINES_OF_THEIR_OWN,
            _X.transfer >= before,
            _L.account.in_(mine),
        )
    )
    sessions = sa.select(sa.func.sum(_S.posted_units)).where(
        _S.member_id == member_id, _S.last_charge >= before
    )
    balance -= int(await connection.scalar(singles) or 0)
    return balance + int(await connection.scalar(sessions) or 0)
