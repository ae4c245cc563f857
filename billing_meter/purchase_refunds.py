"""Staff give a purchase back: all of its price, which ends its access, or a part, which does not.

Members ask for private sessions only (`refunds.py`); what else went wrong support hears of, and
decides by itself. A purchase is given back once. What went back goes to the buckets that it came
from, bought credits first, and the expert's share of it is taken from what they earned.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from billing_meter import access_rows, features, ledger, notices, purchase_rows, schema
from billing_meter.features import TERMS
from billing_meter.ledger import Draw, Entry, Posted, Refused, Reverse
from billing_meter.ledger_store import LedgerTransaction
from billing_meter.purchase_rows import Purchase
from billing_meter.wallet import pay_debt

REFUND_KEY: Final = "unbuy:"
UNREPLY_KEY: Final = "unreply:"
REASON_CHARS_MAX: Final = 120
"""A line of a mail; the column has as many."""


async def give_back(
    transaction: LedgerTransaction, number: int, decided_by: str, units: int | None, reason: str
) -> Purchase | Refused:
    """`units` of it, or all; see `Purchases.refund`."""
    connection = transaction.connection
    bought = await purchase_rows.one(connection, number, lock=True)
    if bought is None:
        return Refused("unknown_purchase")
    if bought.refund_transfer is not None:
        return Refused("already_refunded", replayed=True)
    granted = bought.units if units is None else units
    if granted > bought.units:
        return Refused("exceeds_price")
    subject = features.subject(bought.feature, bought.object_id)
    back = await transaction.execute(Reverse(f"{REFUND_KEY}{number}", number, granted, subject))
    if not isinstance(back, Posted):
        return back
    values = {
        "refund_transfer": back.transfer,
        "refunded_units": granted,
        "refunded_at_ms": transaction.at_ms,
        "refunded_by": decided_by,
        "refund_reason": reason,
    }
    mine = schema.purchases.c.transfer == number
    await connection.execute(sa.update(schema.purchases).where(mine).values(values))
    if granted == bought.units and TERMS[bought.feature].lasts_ms is not None:
        await _end_access(transaction, bought)
    if bought.reply_transfer is not None:
        taken = await _unreplied(transaction, bought, granted)
        await transaction.write(taken)
    if back.draw.paid:  # as a purchase of credits would: nobody spends what they owe
        came = Posted(back.transfer, back.draw.paid, back.draw)
        await pay_debt(transaction, bought.member_id, came, subject)
    given = await purchase_rows.one(connection, number)
    assert given is not None, "a purchase that was given back is gone"
    await notices.queue_purchase_refunded(connection, given)
    return given


async def _end_access(transaction: LedgerTransaction, bought: Purchase) -> None:
    place = (bought.member_id, bought.feature, bought.object_id)
    windows = await access_rows.of_place(transaction.connection, place)
    after = features.without(windows, bought.transfer, transaction.at_ms)
    await access_rows.move(transaction.connection, [w for w in after if w not in windows])


async def _unreplied(transaction: LedgerTransaction, bought: Purchase, granted: int) -> list[Entry]:
    """The transfer that takes an expert's share of what went back of a message; none for none."""
    lines = schema.postings.c
    earned = await transaction.connection.scalar(
        sa.select(lines.units).where(
            lines.transfer == bought.reply_transfer,
            lines.account == ledger.payable_account(bought.expert_id),
        )
    )
    taken = int(earned or 0) * granted // bought.units
    key = f"{UNREPLY_KEY}{bought.transfer}"
    if not taken:
        return []
    return [share_entry(key, bought, -taken, kind="reversal", reverses=bought.reply_transfer)]


def share_entry(
    key: str, bought: Purchase, units: int, *, kind: str, reverses: int | None = None
) -> Entry:
    """`units` of what the platform has of a message to its expert, or back; no member's."""
    parts = [(ledger.payable_account(bought.expert_id), units), (ledger.REVENUE, -units)]
    return Entry(
        key=key,
        request_hash=ledger.request_hash(kind, {"transfer": bought.transfer}),
        kind=kind,
        postings=ledger.postings_of(*parts),
        units=0,
        draw=Draw(),
        expert_id=bought.expert_id,
        subject=features.subject(bought.feature, bought.object_id),
        reverses=reverses,
    )
