"""The journal as rows for somebody's own books: every transfer with its postings, page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import sqlalchemy as sa

from billing_meter import schema
from billing_meter.database import Database
from billing_meter.row_updates import ROWS_PER_STATEMENT

HEAD: Final = (
    "transfer",
    "at_ms",
    "kind",
    "outcome",
    "refusal",
    "key",
    "member_id",
    "expert_id",
    "subject",
    "reverses",
)
COLUMNS: Final = (*HEAD, "account", "units")

Row = tuple[Any, ...]


async def journal(database: Database, owner_id: str | None = None) -> AsyncIterator[list[Row]]:
    """Pages of rows in the journal's order, one for each posting; a refusal has one without.

    With an owner: what concerns that member or expert. What is written meanwhile may be in it.
    """
    table, after = schema.transfers, 0
    query = sa.select(*(table.c[name] for name in HEAD)).order_by(table.c.transfer)
    if owner_id is not None:
        query = query.where(sa.or_(table.c.member_id == owner_id, table.c.expert_id == owner_id))
    while True:
        async with database.read() as connection:
            page = query.where(table.c.transfer > after).limit(ROWS_PER_STATEMENT)
            heads = [tuple(row) for row in await connection.execute(page)]
            if not heads:
                return
            after = heads[-1][0]
            lines = schema.postings
            found = await connection.execute(
                sa.select(lines.c.transfer, lines.c.account, lines.c.units)
                .where(lines.c.transfer.in_([head[0] for head in heads]))
                .order_by(lines.c.transfer, lines.c.account)
            )
            postings: dict[int, list[tuple[str, int]]] = {}
            for transfer, account, units in found:
                postings.setdefault(transfer, []).append((account, units))
        yield [
            (*head, account, units)
            for head in heads
            for account, units in postings.get(head[0], [(None, None)])
        ]
