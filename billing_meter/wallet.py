"""The wallet: a member's balance, grants and rights that follow from buying."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from billing_meter import ledger, limits_rows, schema, share_rows
from billing_meter.counter import Counter
from billing_meter.database import Database
from billing_meter.ledger import Outcome, PayDebt, Posted, PromoGrant, Purchase
from billing_meter.ledger_rows import insert_missing, open_account, read_debt
from billing_meter.ledger_store import Balance, LedgerStore, LedgerTransaction, read_balances
from billing_meter.meter_types import UNLIMITED, Leeway
from billing_meter.shares import DEFAULT_SHARES, Shares

ACTIVE_WINDOW_MS = 30 * 24 * 60 * 60 * 1_000
"""Without a settled purchase for this long, a premium member loses the four extras."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a member's purchases give them."""

    premium: bool
    premium_since_ms: int | None
    last_purchase_at_ms: int | None
    extras_until_ms: int
    """When albums for active members, emojis, the translator and likes are locked."""


NOBODY = Standing(False, None, None, 0)


def standing(
    created_at_ms: int, premium_since_ms: int | None, last_purchase_at_ms: int | None
) -> Standing:
    """Extras end exactly 30 × 24 h after the last settled purchase that still stands.

    Without one: after the day on which the account became premium, else after it was made.
    """
    since_ms = created_at_ms
    for later_ms in (premium_since_ms, last_purchase_at_ms):
        since_ms = since_ms if later_ms is None else later_ms
    return Standing(
        premium=premium_since_ms is not None,
        premium_since_ms=premium_since_ms,
        last_purchase_at_ms=last_purchase_at_ms,
        extras_until_ms=since_ms + ACTIVE_WINDOW_MS,
    )


def _ignore_balance(_member_id: str, _balance: Balance) -> None:
    """Nobody listens."""


def _ignore_premium(_member_id: str) -> None:
    """Nobody listens."""


class Wallet:
    """`on_balance` and `on_premium` are called synchronously, after the commit.

    What is spent at once goes over the `counter`, sessions over `billing_meter.till`.
    """

    def __init__(self, database: Database, *, utc_now: Callable[[], datetime]) -> None:
        self.database = database
        self.ledger = LedgerStore(database, utc_now=utc_now)
        self.counter = Counter(self.ledger)
        self.on_balance: Callable[[str, Balance], None] = _ignore_balance
        self.on_premium: Callable[[str], None] = _ignore_premium
        self.on_standing: Callable[[str], None] = _ignore_premium
        """Like `on_premium`, and at every purchase that settles or goes back."""
        self.ledger.listen(lambda member_id, balance: self.on_balance(member_id, balance))
        self.ledger.on_standing = lambda member_id: self.on_standing(member_id)

    @property
    def writable(self) -> bool:
        """Whether the store takes writes, as far as is known."""
        return self.database.health.trouble(time.monotonic_ns()) is None

    async def open_member(self, member_id: str) -> None:
        """Make a member's accounts; again is harmless."""
        async with self.database.write() as connection:
            await ensure_member(connection, member_id, self.ledger.now_ms())

    async def open_expert(self, expert_id: str, shares: Shares = DEFAULT_SHARES) -> None:
        """Make an expert's account; again is harmless and keeps the first shares."""
        async with self.database.write() as connection:
            await ensure_expert(connection, expert_id, self.ledger.now_ms(), shares)

    async def balance(self, member_id: str) -> Balance:
        """Up to the last durable second of running sessions; zero for the unknown."""
        async with self.database.read() as connection:
            return (await read_balances(connection, [member_id]))[member_id]

    async def leeway(self, member_id: str) -> Leeway:
        """What the member's own limits leave now; a look, no promise: debits ask again."""
        now_ms = self.ledger.now_ms()
        async with self.database.read() as connection:
            found = await limits_rows.read_limits(connection, [member_id], now_ms)
        return found[member_id].leeway if member_id in found else UNLIMITED

    async def debt_units(self, member_id: str) -> int:
        """What a member owes after a charge-back of credits that were spent."""
        async with self.database.read() as connection:
            return await read_debt(connection, member_id)

    async def standing(self, member_id: str) -> Standing:
        """Premium, and the extras of feature A7."""
        table = schema.members
        query = sa.select(
            table.c.created_at_ms, table.c.premium_since_ms, table.c.last_purchase_at_ms
        ).where(table.c.member_id == member_id)
        async with self.database.read() as connection:
            row = (await connection.execute(query)).one_or_none()
        return NOBODY if row is None else standing(*row)

    async def is_premium(self, member_id: str) -> bool:
        """Whether any credits ever arrived."""
        return (await self.standing(member_id)).premium

    async def grant_promo(self, member_id: str, units: int, key: str, reason: str) -> Outcome:
        """Give credits; they make a basic member premium, but are not a purchase."""
        request = PromoGrant(key, member_id, units, reason)
        async with self.ledger.transaction() as transaction:
            outcome = await transaction.execute(request)
            fresh = isinstance(outcome, Posted) and not outcome.replayed
            upgraded = fresh and await make_premium(transaction, member_id, purchase=False)
        if upgraded:
            self.on_premium(member_id)
        return outcome

    async def credit_purchase(self, member_id: str, units: int, key: str, subject: str) -> Outcome:
        """Credit bought units outside an order (imports, the command line); key as always."""
        async with self.ledger.transaction() as transaction:
            outcome, upgraded = await credit_in(
                transaction, Purchase(key, member_id, units, subject)
            )
        if upgraded:
            self.on_premium(member_id)
        return outcome


async def credit_in(transaction: LedgerTransaction, request: Purchase) -> tuple[Outcome, bool]:
    """Credit a purchase and upgrade the member in the same transaction; (outcome, upgraded)."""
    outcome = await transaction.execute(request)
    if not isinstance(outcome, Posted) or outcome.replayed:
        return outcome, False
    await pay_debt(transaction, request.member_id, outcome, request.subject)
    return outcome, await make_premium(transaction, request.member_id, purchase=True)


async def pay_debt(
    transaction: LedgerTransaction, member_id: str, came: Posted, subject: str
) -> None:
    """Of the units that just came in, pay what the member owes."""
    owed = min(came.units, await read_debt(transaction.connection, member_id))
    if owed:
        request = PayDebt(f"debt:{came.transfer}", member_id, owed, subject)
        outcome = await transaction.execute(request)
        if not isinstance(outcome, Posted):
            raise RuntimeError(f"a debt was not paid: {outcome.code}")


async def make_premium(transaction: LedgerTransaction, member_id: str, *, purchase: bool) -> bool:
    """Note a credit in the member's row; True when it made a basic member premium."""
    table = schema.members
    mine = table.c.member_id == member_id
    transaction.standings[member_id] = None
    if purchase:
        await transaction.connection.execute(
            sa.update(table).where(mine).values(last_purchase_at_ms=transaction.at_ms)
        )
    result = await transaction.connection.execute(
        sa.update(table)
        .where(mine, table.c.premium_since_ms.is_(None))
        .values(premium_since_ms=transaction.at_ms)
    )
    return result.rowcount == 1


async def recount_purchases(transaction: LedgerTransaction, member_id: str) -> None:
    """After a purchase went back, or came again: the last one that still stands counts.

    Refunded and charged-back orders do not; imports that no order made do.
    """
    orders, transfers = schema.orders.c, schema.transfers.c
    settled = sa.select(sa.func.max(orders.settled_at_ms)).where(
        orders.member_id == member_id, orders.state == "settled"
    )
    of_order = sa.select(orders.order_id).where(orders.transfer == transfers.transfer)
    imported = sa.select(sa.func.max(transfers.at_ms)).where(
        transfers.member_id == member_id,
        transfers.kind == "purchase",
        transfers.outcome == "posted",
        ~of_order.exists(),
    )
    found = [await transaction.connection.scalar(query) for query in (settled, imported)]
    last_at_ms = max((at_ms for at_ms in found if at_ms is not None), default=None)
    await transaction.connection.execute(
        sa.update(schema.members)
        .where(schema.members.c.member_id == member_id)
        .values(last_purchase_at_ms=last_at_ms)
    )
    transaction.standings[member_id] = None


async def ensure_member(connection: AsyncConnection, member_id: str, at_ms: int) -> None:
    """The member's row and three accounts, if they are missing."""
    row = {"member_id": member_id, "created_at_ms": at_ms}
    if not await insert_missing(connection, schema.members, "member_id", row):
        return
    names = (ledger.paid_account, ledger.promo_account, ledger.held_account)
    for name in names:
        await open_account(connection, name(member_id), member_id, may_be_negative=False)


async def ensure_expert(
    connection: AsyncConnection, expert_id: str, at_ms: int, shares: Shares
) -> Shares:
    """The expert's rows and account, if they are missing; returns the shares that are in force."""
    row = {"expert_id": expert_id, "created_at_ms": at_ms}
    if await insert_missing(connection, schema.experts, "expert_id", row):
        await connection.execute(sa.insert(schema.shares), [share_rows.row_of(expert_id, shares)])
        name = ledger.payable_account(expert_id)
        await open_account(connection, name, expert_id, may_be_negative=True)
    return (await share_rows.read(connection, [expert_id]))[expert_id]


async def prepare_ledger(database: Database) -> None:
    """The platform's accounts and the transfer counter, if they are missing."""
    async with database.write() as connection:
        await insert_missing(connection, schema.head, "id", {"id": 1, "last_transfer": 0})
        for account, may_be_negative in ledger.PLATFORM_ACCOUNTS.items():
            await open_account(connection, account, "platform", may_be_negative=may_be_negative)
