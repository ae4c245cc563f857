"""Statements: what changed a member's credits or an expert's earnings, line by line.

Also the door to the proofs: `verify` and `reconcile` are re-exported for the command line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from billing_meter import schema
from billing_meter.database import Database
from billing_meter.history import (
    SESSION_SUBJECT,
    Owner,
    StatementLine,
    accounts_of,
    shown_kind,
    transactions,
)
from billing_meter.seals import seal
from billing_meter.verify import Finding, Report, reconcile, verify

__all__ = [
    "SESSION_SUBJECT",
    "Finding",
    "Report",
    "Statement",
    "StatementLine",
    "reconcile",
    "seal",
    "statement",
    "transactions",
    "verify",
]

_Change = tuple[int, int, str, str | None, str | None, int]
"""Transfer, at_ms, kind, subject, expert, signed units."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One owner and period [from_ms, to_ms): opening + Σ lines = closing, or there are findings."""

    owner_id: str
    from_ms: int
    to_ms: int
    opening_units: int
    closing_units: int
    lines: tuple[StatementLine, ...]
    findings: tuple[Finding, ...]


async def statement(
    database: Database, owner_id: str, from_ms: int, to_ms: int, *, owner: Owner = "member"
) -> Statement:
    """A member's credits (held ones included) or what an expert is owed over a period."""
    async with database.read() as connection:
        opening = await _total(connection, owner, owner_id, before_ms=from_ms)
        rows = await _changes(connection, owner, owner_id, from_ms, to_ms)
        closing = await _total(connection, owner, owner_id, before_ms=to_ms)
        stored = await _stored(connection, owner, owner_id)
        replayed = await _total(connection, owner, owner_id)
    lines = _lines(rows, opening)
    findings = []
    if opening + sum(line.units for line in lines) != closing:
        findings.append(Finding("statement_wrong", owner_id, "lines do not add up to the end"))
    if stored != replayed:
        detail = f"account has {stored}, the journal gives {replayed}"
        findings.append(Finding("balance_wrong", owner_id, detail))
    return Statement(owner_id, from_ms, to_ms, opening, closing, tuple(lines), tuple(findings))


def _lines(rows: Sequence[_Change], opening: int) -> list[StatementLine]:
    """Merge the transfers of each session, then run the balance along."""
    merged: dict[str, StatementLine] = {}
    for transfer, at_ms, kind, subject, expert_id, units in rows:
        name, shown = f"transfer:{transfer}", shown_kind(kind, subject)
        if subject is not None and subject.startswith(SESSION_SUBJECT) and kind != "reversal":
            name, shown = subject, "session"
        before = merged.pop(name, None)
        total = units + (0 if before is None else before.units)
        merged[name] = StatementLine(transfer, at_ms, shown, subject, total, 0, expert_id)
    lines, balance = [], opening
    for line in merged.values():
        balance += line.units
        lines.append(replace(line, balance_after_units=balance))
    return lines


async def _changes(
    connection: AsyncConnection, owner: Owner, owner_id: str, from_ms: int, to_ms: int | None
) -> Sequence[_Change]:
    table, lines = schema.transfers, schema.postings
    mine = table.c.member_id if owner == "member" else table.c.expert_id
    total = sa.func.sum(lines.c.units)
    head = (table.c.transfer, table.c.at_ms, table.c.kind, table.c.subject, table.c.expert_id)
    query = (
        sa.select(*head, total)
        .select_from(table.join(lines))
        .where(
            mine == owner_id,
            lines.c.account.in_(accounts_of(owner, owner_id)),
            table.c.at_ms >= from_ms,
        )
        .group_by(*head)
        .having(total != 0)
        .order_by(table.c.transfer)
    )
    if to_ms is not None:
        query = query.where(table.c.at_ms < to_ms)
    rows = await connection.execute(query)
    return [(row[0], row[1], row[2], row[3], row[4], int(row[5])) for row in rows]


async def _total(
    connection: AsyncConnection, owner: Owner, owner_id: str, *, before_ms: int | None = None
) -> int:
    table, lines = schema.transfers, schema.postings
    mine = table.c.member_id if owner == "member" else table.c.expert_id
    query = (
        sa.select(sa.func.coalesce(sa.func.sum(lines.c.units), 0))
        .select_from(table.join(lines))
        .where(mine == owner_id, lines.c.account.in_(accounts_of(owner, owner_id)))
    )
    if before_ms is not None:
        query = query.where(table.c.at_ms < before_ms)
    return int(await connection.scalar(query) or 0)


async def _stored(connection: AsyncConnection, owner: Owner, owner_id: str) -> int:
    table = schema.accounts
    query = sa.select(sa.func.coalesce(sa.func.sum(table.c.units), 0)).where(
        table.c.account.in_(accounts_of(owner, owner_id))
    )
    return int(await connection.scalar(query) or 0)
