"""Sessions that no till runs any more: settled from their rows alone, to their last mark."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from billing_meter import debts, marks_rows, schema, shares, till_store
from billing_meter.ledger_store import LedgerTransaction
from billing_meter.meter import Plan
from billing_meter.till_store import NOTHING


async def take_over(transaction: LedgerTransaction, node: str) -> tuple[int, int]:
    """Fence every earlier owner of the node and settle its open sessions; (epoch, how many)."""
    connection = transaction.connection
    epoch = await till_store.raise_epoch(connection, node, transaction.at_ms)
    open_ids = await _open_sessions(connection, node)
    settled = await settle_rows(transaction, open_ids, epoch, "server_stopped")
    await marks_rows.forget(connection, node, epoch)
    return epoch, settled


async def sweep(transaction: LedgerTransaction, node: str, epoch: int, at_ms: int) -> int:
    """Fence a silent owner and settle its sessions; 0 when it has written meanwhile."""
    connection = transaction.connection
    if not await till_store.fence_silent(connection, node, epoch, at_ms):
        return 0
    open_ids = await _open_sessions(connection, node)
    settled = await settle_rows(transaction, open_ids, epoch + 1, "server_stopped")
    await marks_rows.forget(connection, node, epoch + 1)
    return settled


async def _open_sessions(connection: AsyncConnection, node: str) -> Sequence[str]:
    query = sa.select(schema.sessions.c.session_id).where(
        schema.sessions.c.state == "open", schema.sessions.c.node == node
    )
    return (await connection.scalars(query)).all()


async def settle_rows(
    transaction: LedgerTransaction, session_ids: Sequence[str], epoch: int, reason: str
) -> int:
    """Close stored sessions at their own marks: post what was charged, give the rest back.

    Closed and unknown ones are left alone. Returns how many were closed.
    """
    connection = transaction.connection
    table = schema.sessions
    books = await till_store.read_books(connection, session_ids)
    stored = await marks_rows.durable_rows(connection, session_ids)
    rows = [row for row in stored.values() if row["state"] == "open"]
    for row in rows:
        order, before = till_store.order_of(row), books[row["session_id"]][1]
        await connection.execute(
            sa.update(table).where(table.c.session_id == order.session_id).values(epoch=epoch)
        )
        earned = shares.of_session_row(row).earned(shares.units_of_row(row))
        plan = Plan(row["charged_units"], 0, None, earned_units=earned)
        number = await transaction.next_transfer()
        settled = till_store.settle(order, epoch, before, plan, NOTHING, number)
        after = before if settled is None else settled.books
        mark = till_store.mark_in(row, epoch, after, reason)
        change = till_store.hold_change(before, after, True, transaction.at_ms)
        await till_store.write_marks(connection, [mark])
        await till_store.write_holds(connection, [change])
        if settled is not None:
            first = await transaction.write([settled.entry])
            await debts.pay_from(transaction, first, [settled.entry])
    return len(rows)
