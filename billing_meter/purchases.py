"""What rooms and pages call when a member buys something of an expert, and when staff undo it.

`buy` debits and writes all that follows from it in one transaction; `until` and `may_see` answer
whether somebody has access; `refund` gives the price or a part of it back to the buckets that it
came from and takes the expert's share of it back, once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace

import sqlalchemy as sa

from billing_meter import access_rows, ledger, purchase_refunds, purchase_rows, schema
from billing_meter.features import REPLY, REPLY_KEY, TERMS, Access, Buy, Feature
from billing_meter.ledger import Refused
from billing_meter.ledger_store import LedgerTransaction
from billing_meter.purchase_refunds import REASON_CHARS_MAX
from billing_meter.purchase_rows import Purchase
from billing_meter.sales import Also, Sold
from billing_meter.wallet import Wallet

__all__ = ["REASON_CHARS_MAX", "AlsoReplied", "Purchase", "Purchases"]


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
        async with self._wallet.database.read() as connection:
            return await purchase_rows.of_member(connection, member_id, before, limit)

    async def one(self, transfer: int) -> Purchase | None:
        """One purchase by its transfer."""
        async with self._wallet.database.read() as connection:
            return await purchase_rows.one(connection, transfer)

    async def access_until(self, transfers: Collection[int]) -> Mapping[int, int]:
        """When the access that these purchases gave ends, by purchase; none for what gives none."""
        async with self._wallet.database.read() as connection:
            given = await access_rows.of_transfers(connection, transfers)
        return {transfer: access.until_ms for transfer, access in given.items()}

    async def refunded_since(self, at_ms: int) -> Sequence[Purchase]:
        """What was given back at `at_ms` or later."""
        async with self._wallet.database.read() as connection:
            return await purchase_rows.refunded_since(connection, at_ms)

    async def sent(self, expert_id: str, feature: Feature, since_ms: int) -> Mapping[str, int]:
        """Units by member that stand since an instant: who leads, who helped an expert to win."""
        async with self._wallet.database.read() as connection:
            return await purchase_rows.sent(connection, expert_id, feature, since_ms)

    async def replied(self, transfer: int, also: AlsoReplied | None = None) -> Purchase | Refused:
        """The expert answered a message: now they have their share of it, once.

        `also` is written with it: the reply itself. Refused with `unknown_purchase` for what is no
        message, `already_replied`, or `already_refunded` when nothing of its price is left; then
        `also` is not written.
        """
        async with self._wallet.ledger.transaction() as transaction:
            answer = await _replied(transaction, transfer)
            if also is not None and not isinstance(answer, Refused):
                await also(transaction)
            return answer

    async def refund(
        self, transfer: int, decided_by: str, units: int | None = None, reason: str = ""
    ) -> Purchase | Refused:
        """Give a purchase back, once: all of it, which ends its access, or `units` of its price.

        Refused with `unknown_purchase`, `already_refunded` or `exceeds_price`. The member is told
        by mail, with the reason. ValueError below 1 unit and for a reason that is too long.
        """
        if units is not None and units < 1:
            raise ValueError("a refund gives something back")
        if len(reason) > REASON_CHARS_MAX:
            raise ValueError(f"a reason has at most {REASON_CHARS_MAX} characters")
        async with self._wallet.ledger.transaction() as transaction:
            return await purchase_refunds.give_back(
                transaction, transfer, decided_by, units, reason
            )


async def _replied(transaction: LedgerTransaction, number: int) -> Purchase | Refused:
    connection = transaction.connection
    bought = await purchase_rows.one(connection, number, lock=True)
    if bought is None or not TERMS[bought.feature].earned_by_reply:
        return Refused("unknown_purchase")
    if bought.replied_at_ms is not None:
        return Refused("already_replied", replayed=True)
    if not bought.standing_units:
        return Refused("already_refunded")
    reply = None
    if share := ledger.share(bought.standing_units, bought.share_percent):
        key = f"{REPLY_KEY}{number}"
        entry = purchase_refunds.share_entry(key, bought, share, kind=REPLY)
        reply = await transaction.write([entry])
    mine = schema.purchases.c.transfer == number
    values = {"replied_at_ms": transaction.at_ms, "reply_transfer": reply}
    await connection.execute(sa.update(schema.purchases).where(mine).values(values))
    return replace(bought, replied_at_ms=transaction.at_ms, reply_transfer=reply)
