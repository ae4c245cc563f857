"""Payouts proved from their rows: their transfers, their accounts, and what was final by then.

What a payout took must have been final when it took it: that is worked out here from the journal
alone, transfer by transfer, and not by the queries that decided it (`earned_rows.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from billing_meter import ledger, payout_rules, schema
from billing_meter.payout_rules import PAYOUT_KINDS, PayoutState
from billing_meter.refunds import SESSION_REFUND
from billing_meter.sessions import REFUND_WINDOW_MS
from billing_meter.till_store import SESSION_CHARGE

Problem = tuple[str, str, str]
"""Code, subject, detail of a finding."""
_T, _L = schema.transfers, schema.postings

_EXPECTED: Mapping[PayoutState, frozenset[str]] = {
    PayoutState.REQUESTED: frozenset({payout_rules.HELD}),
    PayoutState.APPROVED: frozenset({payout_rules.HELD}),
    PayoutState.PAID: frozenset({payout_rules.HELD, payout_rules.PAID}),
    PayoutState.FAILED: frozenset({payout_rules.HELD, payout_rules.BACK}),
    PayoutState.DENIED: frozenset({payout_rules.HELD, payout_rules.BACK}),
    PayoutState.CANCELLED: frozenset({payout_rules.HELD, payout_rules.BACK}),
    PayoutState.RETURNED: frozenset({payout_rules.HELD, payout_rules.PAID, payout_rules.RETURNED}),
}


async def problems(connection: AsyncConnection) -> tuple[int, list[Problem]]:
    """How many payouts there are, and what is wrong with them."""
    rows = (await connection.execute(sa.select(schema.payouts))).mappings().all()
    moved = await _transfers(connection)
    found: list[Problem] = []
    open_units: dict[str, int] = {}
    for row in rows:
        subject = f"payout:{row['payout_id']}"
        state = PayoutState(row["state"])
        found += [("payout_wrong", subject, text) for text in _row(row, moved.pop(subject, {}))]
        if state in payout_rules.OPEN:
            account = ledger.payout_account(row["expert_id"])
            open_units[account] = open_units.get(account, 0) + row["units"]
    found += [("payout_missing", subject, "transfers of no payout") for subject in sorted(moved)]
    found += await _accounts(connection, open_units)
    for expert_id in sorted({row["expert_id"] for row in rows}):
        found += await _covered(connection, expert_id)
    return len(rows), found


def _row(row: sa.RowMapping, moved: Mapping[str, tuple[int, str]]) -> Iterator[str]:
    """Where a payout's row and its transfers disagree."""
    state = PayoutState(row["state"])
    if moved.keys() != _EXPECTED[state]:
        yield f"{state}, but its transfers are {', '.join(sorted(moved)) or 'none'}"
    for kind, (units, expert_id) in moved.items():
        if (units, expert_id) != (row["units"], row["expert_id"]):
            yield f"{kind} of {units} units of {expert_id}, the row has {row['units']}"
    if payout_rules.amount_minor(row["units"]) != row["amount_minor"]:
        yield f"{row['units']} units are not {row['amount_minor']} in money"


async def _transfers(connection: AsyncConnection) -> dict[str, dict[str, tuple[int, str]]]:
    query = sa.select(_T.c.subject, _T.c.kind, _T.c.units, _T.c.expert_id).where(
        _T.c.kind.in_(sorted(PAYOUT_KINDS)), _T.c.outcome == "posted"
    )
    moved: dict[str, dict[str, tuple[int, str]]] = {}
    for subject, kind, units, expert_id in await connection.execute(query):
        moved.setdefault(subject, {})[kind] = (units, expert_id)
    return moved


async def _accounts(connection: AsyncConnection, open_units: Mapping[str, int]) -> list[Problem]:
    """What is in payouts is what open payouts hold."""
    table = schema.accounts.c
    query = sa.select(table.account, table.units).where(table.account.like("expert:%:payout"))
    stored = {account: units for account, units in await connection.execute(query)}
    return [
        ("payout_account", account, f"has {stored.get(account, 0)}, open payouts {units}")
        for account in sorted(stored.keys() | open_units.keys())
        if (units := open_units.get(account, 0)) != stored.get(account, 0)
    ]


@dataclass(slots=True)
class _Source:
    """What an expert earned by one thing, and until when it could be asked back."""

    units: int = 0
    spans: list[tuple[int, int | None]] = field(default_factory=list)
    """[from, to) in which it was not final; to None: still."""

    def pending_at(self, at_ms: int) -> bool:
        return any(start <= at_ms and (end is None or at_ms < end) for start, end in self.spans)


async def _covered(connection: AsyncConnection, expert_id: str) -> list[Problem]:
    """Each payout left in `payable` at least what could still be asked back."""
    sources = await _sessions(connection, expert_id)
    named: dict[int, str] = {}
    balance, found = 0, list[Problem]()
    async for row in await connection.stream(_journal(expert_id)):
        balance += row.units
        if row.kind in PAYOUT_KINDS:
            pending = sum(s.units for s in sources.values() if s.pending_at(row.at_ms))
            if row.kind == payout_rules.HELD and balance < pending:
                detail = f"left {balance} units, but {pending} were not final"
                found.append(("payout_not_final", row.subject, detail))
            continue
        name = named[row.transfer] = _source(row, named)
        end_ms = row.at_ms + REFUND_WINDOW_MS
        source = sources.setdefault(name, _Source(spans=[(row.at_ms, end_ms)]))
        source.units += row.units
    return found


def _source(row: sa.Row[Any], named: Mapping[int, str]) -> str:
    """What a transfer belongs to; a reversal to what it takes back."""
    if row.reverses is not None:
        return named.get(row.reverses, f"transfer:{row.reverses}")
    if row.kind == SESSION_CHARGE:
        return str(row.subject)
    if row.kind == SESSION_REFUND:
        return f"session:{row.subject.removeprefix('refund:')}"
    return f"transfer:{row.transfer}"


async def _sessions(connection: AsyncConnection, expert_id: str) -> dict[str, _Source]:
    sessions, refunds = schema.sessions.c, schema.refunds.c
    query = (
        sa.select(
            sessions.session_id,
            sessions.opened_at_ms,
            sessions.ended_at_ms,
            refunds.requested_at_ms,
            refunds.decided_at_ms,
        )
        .select_from(schema.sessions.outerjoin(schema.refunds))
        .where(sessions.expert_id == expert_id)
    )
    sources = {}
    for row in await connection.execute(query):
        end_ms = None if row.ended_at_ms is None else row.ended_at_ms + REFUND_WINDOW_MS
        spans: list[tuple[int, int | None]] = [(row.opened_at_ms, end_ms)]
        if row.requested_at_ms is not None:
            spans.append((row.requested_at_ms, row.decided_at_ms))
        sources[f"session:{row.session_id}"] = _Source(spans=spans)
    return sources


def _journal(expert_id: str) -> sa.Select[Any]:
    return (
        sa.select(_T.c.transfer, _T.c.at_ms, _T.c.kind, _T.c.subject, _T.c.reverses, _L.c.units)
        .select_from(_T.join(_L))
        .where(_T.c.expert_id == expert_id, _L.c.account == ledger.payable_account(expert_id))
        .order_by(_T.c.transfer)
    )
