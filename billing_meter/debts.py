"""Members who owe pay that first, also of what a session gives back to them."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from billing_meter import ledger, schema
from billing_meter.ledger import Entry, PayDebt, Posted
from billing_meter.ledger_rows import read_buckets
from billing_meter.ledger_store import LedgerTransaction
from billing_meter.row_updates import ROWS_PER_STATEMENT


async def pay_from(transaction: LedgerTransaction, first: int, entries: Sequence[Entry]) -> None:
    """Where these transfers just gave bought units back, pay what their members owe of them.

    `first` is the number of the first one. What another session of a member took of it in the same
    transaction is not there any more: the rest of the debt waits.
    """
    came: dict[str, tuple[int, Entry]] = {}
    for transfer, entry in enumerate(entries, first):
        if entry.member_id is not None:
            paid = ledger.paid_account(entry.member_id)
            if entry.postings.get(paid, 0) > 0:
                came[entry.member_id] = (transfer, entry)
    owed = await _owed(transaction, sorted(came))
    there = await read_buckets(transaction.connection, sorted(owed)) if owed else {}
    for member_id, units in owed.items():
        part = min(units, there[member_id].paid)
        if part:
            transfer, entry = came[member_id]
            about = f"hold:{entry.hold_id}" if entry.hold_id else entry.subject or ""
            request = PayDebt(f"debt:{transfer}", member_id, part, about)
            outcome = await transaction.execute(request)
            assert isinstance(outcome, Posted)


async def _owed(transaction: LedgerTransaction, member_ids: Sequence[str]) -> dict[str, int]:
    """What those of them owe who owe anything."""
    table, found = schema.accounts.c, dict[str, int]()
    for start in range(0, len(member_ids), ROWS_PER_STATEMENT):
        names = {ledger.debt_account(m): m for m in member_ids[start : start + ROWS_PER_STATEMENT]}
        query = sa.select(table.account, table.units).where(table.account.in_(list(names)))
        rows = await transaction.connection.execute(query.where(table.units < 0))
        found |= {names[row.account]: -row.units for row in rows}
    return found
