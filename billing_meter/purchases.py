"""What rooms and pages call when a member buys something of an expert, and when staff undo it.

`buy` debits and writes all that follows from it in one transaction; `until` and `may_see` answer
whether somebody has access; `refund` gives the price back to the buckets that it came from, takes
the expert's share back and ends the access, once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from billing_meter import access_rows, features, ledger, schema
from billing_meter.features import REPLY, TERMS, Access, Buy, Feature
from billing_meter.ledger import Draw, Entry, Posted, Refused, Reverse
from billing_meter.ledger_store import LedgerTransaction
from billing_meter.sales import Also, Sold
from billing_meter.wallet import Wallet, pay_debt

_P = schema.purchases.c
REFUND_KEY: Final = "unbuy:"
REPLY_KEY: Final = "reply:"
UNREPLY_KEY: Final = "unreply:"


@dataclass(frozen=True, slots=True)
class Purchase:
    """One purchase; `refunded_at_ms` when it was given back, by whom and with which transfer.

    `replied_at_ms` when its expert answered a message, and had their share of it.
    """

    transfer: int
    member_id: str
    expert_id: str
    feature: Feature
    object_id: str
    units: int
    at_ms: int
    refund_transfer: int | None
    refunded_at_ms: int | None
    refunded_by: str | None
    reply_transfer: int | None
    replied_at_ms: int | None


AlsoReplied = Callable[[LedgerTransaction], Awaitable[None]]
"""What the caller writes in the transaction of a reply that counts, as `sales.Also` does."""


class Purchases:
    """Surprises, story passes, content and messages: their money and their access."""

    def __init__(self, wallet: Wallet) -> None:
        self._wallet = wallet

    async def buy(self, buy: Buy, also: Also | None = None) -> Sold:
        """Buy it: `Bought`, or `Refused` with a code, for good under the buyer's key.

        Codes: those of `features.RefusalCode`, `insufficient_credits`, those of spend limits and
        breaks, and `key_reused`. `also` is written with it or not at all. ValueError for requests
        that cannot be meant, DatabaseUnavailable without an answer (the same key tells later).
        """
        return await self._wallet.counter.buy(buy, also)

    async def may_see(
        self, member_id: str, feature: Feature, object_id: str, at_ms: int | None = None
    ) -> bool:
        """Whether the member has access, now or at an instant."""
        return object_id in await self.until(member_id, feature, [object_id], at_ms)

    async def until(
        self,
        member_id: str,
        feature: Feature,
        object_ids: Collection[str],
        at_ms: int | None = None,
    ) -> Mapping[str, int]:
        """Which of these objects the member has access to, and when it ends."""
        at_ms = self._wallet.ledger.now_ms() if at_ms is None else at_ms
        async with self._wallet.database.read() as connection:
            return await access_rows.until(connection, member_id, feature, object_ids, at_ms)

    async def windows(self, member_id: str, feature: Feature, object_id: str) -> Sequence[Access]:
        """Every window that the member has had of an object, the earliest first."""
        async with self._wallet.database.read() as connection:
            return await access_rows.of_place(connection, (member_id, feature, object_id))

    async def of_member(
        self, member_id: str, *, before: int | None = None, limit: int = 50
    ) -> Sequence[Purchase]:
        """A member's purchases, the newest first; the last `transfer` is the next `before`."""
        query = sa.select(schema.purchases).where(_P.member_id == member_id)
        if before is not None:
            query = query.where(_P.transfer < before)
        query = query.order_by(_P.transfer.desc()).limit(limit)
        async with self._wallet.database.read() as connection:
            return [_purchase(row) for row in (await connection.execute(query)).mappings()]

    async def one(self, transfer: int) -> Purchase | None:
        """One purchase by its transfer."""
        query = sa.select(schema.purchases).where(_P.transfer == transfer)
        async with self._wallet.database.read() as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
        return None if row is None else _purchase(row)

    async def sent(self, expert_id: str, feature: Feature, since_ms: int) -> Mapping[str, int]:
        """Units by member that stand since an instant: who leads, who helped an expert to win."""
        query = (
            sa.select(_P.member_id, sa.func.sum(_P.units))
            .where(
                _P.expert_id == expert_id,
                _P.feature == feature.value,
                _P.at_ms >= since_ms,
                _P.refund_transfer.is_(None),
            )
            .group_by(_P.member_id)
        )
        async with self._wallet.database.read() as connection:
            return {row[0]: int(row[1]) for row in await connection.execute(query)}

    async def replied(self, transfer: int, also: AlsoReplied | None = None) -> Purchase | Refused:
        """The expert answered a message: now they have their share of it, once.

        `also` is written with it: the reply itself. Refused with `unknown_purchase` for what is no
        message, `already_replied`, or `already_refunded`; then `also` is not written.
        """
        async with self._wallet.ledger.transaction() as transaction:
            answer = await _replied(transaction, transfer)
            if also is not None and not isinstance(answer, Refused):
                await also(transaction)
            return answer

    async def refund(self, transfer: int, decided_by: str) -> Purchase | Refused:
        """Give a purchase back in full, once: `unknown_purchase`, or `already_refunded`."""
        async with self._wallet.ledger.transaction() as transaction:
            return await _refund(transaction, transfer, decided_by)


async def _refund(
    transaction: LedgerTransaction, number: int, decided_by: str
) -> Purchase | Refused:
    connection, mine = transaction.connection, _P.transfer == number
    query = sa.select(schema.purchases).where(mine).with_for_update()
    row = (await connection.execute(query)).mappings().one_or_none()
    if row is None:
        return Refused("unknown_purchase")
    bought = _purchase(row)
    if bought.refund_transfer is not None:
        return Refused("already_refunded", replayed=True)
    subject = features.subject(bought.feature, bought.object_id)
    back = await transaction.execute(
        Reverse(f"{REFUND_KEY}{number}", number, bought.units, subject)
    )
    if not isinstance(back, Posted):
        return back
    values = {
        "refund_transfer": back.transfer,
        "refunded_at_ms": transaction.at_ms,
        "refunded_by": decided_by,
    }
    await connection.execute(sa.update(schema.purchases).where(mine).values(values))
    if TERMS[bought.feature].lasts_ms is not None:
        place = (bought.member_id, bought.feature, bought.object_id)
        windows = await access_rows.of_place(connection, place)
        after = features.without(windows, number, transaction.at_ms)
        await access_rows.move(connection, [w for w in after if w not in windows])
    if bought.reply_transfer is not None:
        await transaction.write([await _unreplied(transaction, bought)])
    if back.draw.paid:  # as a purchase of credits would: nobody spends what they owe
        came = Posted(back.transfer, back.draw.paid, back.draw)
        await pay_debt(transaction, bought.member_id, came, subject)
    return _purchase({**row, **values})


async def _replied(transaction: LedgerTransaction, number: int) -> Purchase | Refused:
    connection, mine = transaction.connection, _P.transfer == number
    query = sa.select(schema.purchases).where(mine).with_for_update()
    row = (await connection.execute(query)).mappings().one_or_none()
    if row is None or not TERMS[Feature(row["feature"])].earned_by_reply:
        return Refused("unknown_purchase")
    bought = _purchase(row)
    if bought.replied_at_ms is not None:
        return Refused("already_replied", replayed=True)
    if bought.refund_transfer is not None:
        return Refused("already_refunded")
    percent = (await transaction.shares([bought.expert_id]))[bought.expert_id]
    values: dict[str, int] = {"replied_at_ms": transaction.at_ms}
    if share := ledger.share(bought.units, percent):
        entry = _share_entry(f"{REPLY_KEY}{number}", bought, share, kind=REPLY)
        values["reply_transfer"] = await transaction.write([entry])
    await connection.execute(sa.update(schema.purchases).where(mine).values(values))
    return _purchase({**row, **values})


async def _unreplied(transaction: LedgerTransaction, bought: Purchase) -> Entry:
    """The transfer that takes an expert's share of a refunded message back."""
    lines = schema.postings.c
    share = await transaction.connection.scalar(
        sa.select(lines.units).where(
            lines.transfer == bought.reply_transfer,
            lines.account == ledger.payable_account(bought.expert_id),
        )
    )
    key = f"{UNREPLY_KEY}{bought.transfer}"
    return _share_entry(
        key, bought, -int(share or 0), kind="reversal", reverses=bought.reply_transfer
    )


def _share_entry(
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


def _purchase(row: Mapping[str, Any] | sa.RowMapping) -> Purchase:
    return Purchase(**{**row, "feature": Feature(row["feature"])})
