"""Members who owe pay that first, also of what a session gives back to them."""

from __future__ import annotations

from collections.abc import Sequence

from billing_meter import ledger
from billing_meter.ledger import Entry, PayDebt, Posted
from billing_meter.ledger_rows import read_buckets, read_units
from billing_meter.ledger_store import LedgerTransaction


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
    names = {ledger.debt_account(member_id): member_id for member_id in member_ids}
    units = await read_units(transaction.connection, names)
    return {names[account]: -there for account, there in units.items() if there < 0}
