"""A member's transactions for the wallet: one line per session, one per other transfer."""

from __future__ import annotations

import sqlalchemy as sa
from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncConnection

from billing_meter import ledger, schema
from billing_meter.database import Database

PAGE_ITEMS = 30
SESSION_SUBJECT = "session:"


class Transaction(Struct, kw_only=True, omit_defaults=True):
    """`units` is what the member's balance changed by; `kind` is `session` or a transfer's."""

    id: str
    at_ms: int
    kind: str
    units: int
    session: str | None = None


class TransactionsReply(Struct, kw_only=True):
    """Newest first; `next` is the `before` of the next page."""

    items: list[Transaction]
    next: int | None


async def transactions(
    database: Database, member_id: str, before_ms: int | None
) -> TransactionsReply:
    """One page, of items older than `before_ms`."""
    async with database.read() as connection:
        items = await _sessions(connection, member_id, before_ms)
        items += await _transfers(connection, member_id, before_ms)
    items.sort(key=lambda item: (item.at_ms, item.id), reverse=True)
    page = items[:PAGE_ITEMS]
    return TransactionsReply(items=page, next=page[-1].at_ms if len(items) > len(page) else None)


async def _sessions(
    connection: AsyncConnection, member_id: str, before_ms: int | None
) -> list[Transaction]:
    """Sessions that cost something; a running one with what it has cost so far."""
    table = schema.sessions.c
    query = (
        sa.select(table.session_id, table.opened_at_ms, table.charged_units)
        .where(table.member_id == member_id, table.charged_units > 0)
        .order_by(table.opened_at_ms.desc())
        .limit(PAGE_ITEMS + 1)
    )
    if before_ms is not None:
        query = query.where(table.opened_at_ms < before_ms)
    rows = (await connection.execute(query)).all()
    return [
        Transaction(
            id=row.session_id,
            at_ms=row.opened_at_ms,
            kind="session",
            units=-row.charged_units,
            session=row.session_id,
        )
        for row in rows
    ]


async def _transfers(
    connection: AsyncConnection, member_id: str, before_ms: int | None
) -> list[Transaction]:
    """All else that moved the balance; what is only set aside is no transaction."""
    accounts = [
        ledger.paid_account(member_id),
        ledger.promo_account(member_id),
        ledger.held_account(member_id),
    ]
    head, part = schema.transfers.c, schema.postings.c
    change = sa.func.sum(part.units)
    query = (
        sa.select(head.transfer, head.at_ms, head.kind, change.label("units"))
        .join_from(schema.transfers, schema.postings, head.transfer == part.transfer)
        .where(
            head.member_id == member_id,
            head.outcome == "posted",
            sa.or_(head.subject.is_(None), head.subject.not_like(SESSION_SUBJECT + "%")),
            part.account.in_(accounts),
        )
        .group_by(head.transfer, head.at_ms, head.kind)
        .having(change != 0)
        .order_by(head.transfer.desc())
        .limit(PAGE_ITEMS + 1)
    )
    if before_ms is not None:
        query = query.where(head.at_ms < before_ms)
    rows = (await connection.execute(query)).all()
    return [
        Transaction(id=f"t{row.transfer}", at_ms=row.at_ms, kind=row.kind, units=row.units)
        for row in rows
    ]
