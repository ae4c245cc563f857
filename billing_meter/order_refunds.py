"""Purchases that staff gives back: unspent credits first, then the provider's money, each once.

The credits are taken in the transaction that writes the refund, so nobody spends them while the
provider is asked; when it refuses, they come back. Only what is still there can be refunded: bought
credits that are neither spent nor held; given ones never. An answer that was lost is looked for in
the total that the provider has given back, before it is asked again under the same key.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from billing_meter import notices, order_reversals, order_store, schema
from billing_meter.database import Database
from billing_meter.ledger import Posted, TakeBack
from billing_meter.ledger_rows import read_buckets, read_debt
from billing_meter.ledger_store import LedgerTransaction
from billing_meter.order_store import Order, OrderState
from billing_meter.providers import Charge, Provider, ProviderUnavailable, RefundRefused
from billing_meter.reversal_rows import Gone
from billing_meter.wallet import Wallet

KEY_CHARS_MAX: Final = 120
LISTED_MAX: Final = 50

RefundState = Literal["pending", "done", "refused"]
RefusedCode = Literal[
    "key_invalid",
    "key_reused",
    "unknown_order",
    "not_refundable",
    "exceeds_price",
    "credits_spent",
    "refund_pending",
]

log = logging.getLogger(__name__)
_T = schema.order_refunds
_R = _T.c


@dataclass(frozen=True, slots=True)
class OrderRefund:
    """One refund; `before_minor` is what the provider had given back of the order until then."""

    refund_id: str
    order_id: str
    key: str
    price_minor: int
    before_minor: int
    units: int
    transfer: int
    state: RefundState
    reload_off: int
    decided_by: str
    requested_at_ms: int
    resolved_at_ms: int | None


@dataclass(frozen=True, slots=True)
class NotRefunded:
    """Nothing changed."""

    code: RefusedCode


@dataclass(frozen=True, slots=True)
class Refundable:
    """What can be given back now, at most."""

    price_minor: int = 0
    units: int = 0


class OrderRefunds:
    """Staff's refunds of purchases; whoever calls checks who is staff."""

    def __init__(self, database: Database, wallet: Wallet, provider: Provider) -> None:
        self._database = database
        self._wallet = wallet
        self._provider = provider

    async def refundable(self, order: Order) -> Refundable:
        """At most so much of the price, and its credits."""
        if order.state is not OrderState.SETTLED:
            return Refundable()
        async with self._database.read() as connection:
            paid = (await read_buckets(connection, [order.member_id]))[order.member_id].paid
        units = min(order.credits_units - order.refunded_units, paid)
        # Rounded down: no more money than credits.
        return Refundable(order.price_minor * units // order.credits_units, units)

    async def of_order(self, order_id: str) -> Sequence[OrderRefund]:
        """An order's refunds, oldest first."""
        query = sa.select(_T).where(_R.order_id == order_id).order_by(_R.requested_at_ms)
        async with self._database.read() as connection:
            rows = (await connection.execute(query.limit(LISTED_MAX))).mappings()
            return [_refund(row) for row in rows]

    async def request(
        self, order_id: str, price_minor: int | None, key: str, by: str
    ) -> OrderRefund | NotRefunded:
        """Give so much of the price back, all that is left of it without one. Once per key.

        Still `pending` when the provider has not answered; `resume` goes on with it. Raises
        ProviderUnavailable when it does not even tell what went back before: nothing was begun.
        """
        if not 1 <= len(key) <= KEY_CHARS_MAX:
            return NotRefunded("key_invalid")
        while True:
            async with self._database.read() as connection:
                seen = await _count(connection, order_id)
                charge = await _paid_charge(connection, order_id)
            if charge is None:
                return NotRefunded("unknown_order")
            before_minor = await self._provider.refunded_total(charge)
            async with self._wallet.ledger.transaction() as transaction:
                known = await _by_key(transaction.connection, order_id, key)
                if known is not None:
                    break
                if seen != await _count(transaction.connection, order_id):
                    continue  # another refund came between: what the provider said is old
                begun = await _begin(transaction, order_id, price_minor, before_minor, key, by)
            return begun if isinstance(begun, NotRefunded) else await self._finish(begun)
        if price_minor not in (None, known.price_minor):
            return NotRefunded("key_reused")
        return known if known.state != "pending" else await self._finish(known, again=True)

    async def resume(self) -> int:
        """Go on with refunds that have no answer yet; how many have none still."""
        async with self._database.read() as connection:
            query = sa.select(_T).where(_R.state == "pending").order_by(_R.requested_at_ms)
            rows = (await connection.execute(query.limit(LISTED_MAX))).mappings().all()
        ended = [await self._finish(_refund(row), again=True) for row in rows]
        return sum(refund.state == "pending" for refund in ended)

    async def _finish(self, refund: OrderRefund, *, again: bool = False) -> OrderRefund:
        """Ask the provider; when it was asked before, first whether it did it."""
        async with self._database.read() as connection:
            charge = await _paid_charge(connection, refund.order_id)
        assert charge is not None
        expected_minor = refund.before_minor + refund.price_minor
        try:
            if not again or await self._provider.refunded_total(charge) < expected_minor:
                key = f"refund:{refund.refund_id}"
                await self._provider.refund(charge, refund.price_minor, key)
        except ProviderUnavailable:
            log.warning("the payment provider did not answer for refund %s", refund.refund_id)
            return refund
        except RefundRefused as refused:
            log.warning("refund %s was refused: %s", refund.refund_id, refused)
            return await self._end(refund, "refused")
        return await self._end(refund, "done")

    async def _end(self, refund: OrderRefund, state: RefundState) -> OrderRefund:
        async with self._wallet.ledger.transaction() as transaction:
            connection, at_ms = transaction.connection, transaction.at_ms
            ended = await connection.execute(
                sa.update(_T)
                .where(_R.refund_id == refund.refund_id, _R.state == "pending")
                .values(state=state, resolved_at_ms=at_ms)
            )
            if ended.rowcount == 1:
                order = await order_store.find(connection, refund.order_id, lock=True)
                assert order is not None
                if state == "done":
                    total_minor = refund.before_minor + refund.price_minor
                    await order_reversals.told(transaction, order, total_minor)
                    await _tell(transaction, order, refund)
                else:
                    await _give_again(transaction, order, refund)
            row = await connection.execute(sa.select(_T).where(_R.refund_id == refund.refund_id))
            return _refund(row.mappings().one())


async def _begin(
    transaction: LedgerTransaction,
    order_id: str,
    price_minor: int | None,
    before_minor: int,
    key: str,
    by: str,
) -> OrderRefund | NotRefunded:
    """Take the credits and write the refund, or say why not."""
    connection, at_ms = transaction.connection, transaction.at_ms
    order = await order_store.find(connection, order_id, lock=True)
    if order is None or order.transfer is None:
        return NotRefunded("unknown_order")
    if order.state is not OrderState.SETTLED:
        return NotRefunded("not_refundable")
    given = await _given_minor(connection, order_id)
    if given is None:
        return NotRefunded("refund_pending")
    before_minor = max(before_minor, given)
    disputed_minor = (await order_reversals.gone_of(transaction, order)).disputed_minor
    left_minor = order.price_minor - before_minor - disputed_minor
    asked_minor = left_minor if price_minor is None else price_minor
    if not 1 <= asked_minor <= left_minor:
        return NotRefunded("exceeds_price" if left_minor > 0 else "not_refundable")
    taken = await transaction.taken_back(order.transfer)
    gone = Gone(before_minor + asked_minor, disputed_minor)
    units = order_reversals.units_gone(order, gone) - taken
    if units < 1:
        return NotRefunded("not_refundable")
    if units > (await read_buckets(connection, [order.member_id]))[order.member_id].paid:
        return NotRefunded("credits_spent")
    refund_id = uuid.uuid4().hex
    subject = f"order:{order_id}"
    request = TakeBack(
        f"order_refund:{refund_id}", order.transfer, units, "purchase_refund", subject
    )
    outcome = await transaction.execute(request)
    if not isinstance(outcome, Posted):
        raise RuntimeError(f"a refund could not be booked: {outcome.code}")
    stopped = await order_reversals.stop_reload(transaction, order.member_id)
    state = order_reversals.state_of(order, taken + units, gone)
    await order_reversals.went_back(transaction, order, state, taken + units)
    refund = OrderRefund(
        refund_id=refund_id,
        order_id=order_id,
        key=key,
        price_minor=asked_minor,
        before_minor=before_minor,
        units=units,
        transfer=outcome.transfer,
        state="pending",
        reload_off=int(stopped),
        decided_by=by,
        requested_at_ms=at_ms,
        resolved_at_ms=None,
    )
    row = {name: getattr(refund, name) for name in OrderRefund.__slots__}
    await connection.execute(sa.insert(_T), [row])
    return refund


async def _given_minor(connection: AsyncConnection, order_id: str) -> int | None:
    """What staff gave back of an order so far; None while a refund of it has no answer."""
    query = sa.select(_R.state, sa.func.sum(_R.price_minor)).where(_R.order_id == order_id)
    rows = await connection.execute(query.group_by(_R.state))
    found: dict[str, int] = {state: int(minor) for state, minor in rows}
    return None if "pending" in found else found.get("done", 0)


async def _tell(transaction: LedgerTransaction, order: Order, refund: OrderRefund) -> None:
    debt_units = await read_debt(transaction.connection, order.member_id)
    await notices.queue_money_back(
        transaction.connection,
        order,
        "purchase_refund",
        refund.transfer,
        refund.units,
        debt_units,
        bool(refund.reload_off),
        transaction.at_ms,
    )


async def _give_again(transaction: LedgerTransaction, order: Order, refund: OrderRefund) -> None:
    """No money went back: the credits come again, and auto-reload is as it was.

    Unless a bank took the money meanwhile: then they are gone with that.
    """
    await order_reversals.follow(transaction, order, quietly=True)
    gone = await order_reversals.gone_of(transaction, order)
    if refund.reload_off and not gone.disputed_minor:
        await order_reversals.restart_reload(transaction, order.member_id, refund.requested_at_ms)


async def _count(connection: AsyncConnection, order_id: str) -> int:
    query = sa.select(sa.func.count()).where(_R.order_id == order_id)
    return int(await connection.scalar(query) or 0)


async def _by_key(connection: AsyncConnection, order_id: str, key: str) -> OrderRefund | None:
    query = sa.select(_T).where(_R.order_id == order_id, _R.key == key)
    row = (await connection.execute(query)).mappings().one_or_none()
    return None if row is None else _refund(row)


async def _paid_charge(connection: AsyncConnection, order_id: str) -> Charge | None:
    attempt_id = await order_store.paid_attempt(connection, order_id)
    if attempt_id is None:
        return None
    return await order_store.charge_of(connection, attempt_id, pending=False)


def _refund(row: sa.RowMapping) -> OrderRefund:
    values: dict[str, Any] = dict(row)
    return OrderRefund(**values)
