"""Money of settled orders that went back: refunds, charge-backs, disputes won after all.

Each is a compensating transfer under a permanent key. Credits that the member has already spent
become a debt, which their next purchases pay first (`docs/decisions/a-charge-back-becomes-a-debt`).
All amounts are told by the provider as totals, so that lost, late and repeated reports end alike.
"""

from __future__ import annotations

import logging

import sqlalchemy as sa

from billing_meter import notices, order_store, schema
from billing_meter.ledger import Outcome, Posted, Reverse, TakeBack
from billing_meter.ledger_rows import read_debt
from billing_meter.ledger_store import LedgerTransaction
from billing_meter.order_store import Order, OrderState
from billing_meter.providers import Disputed
from billing_meter.wallet import pay_debt, recount_purchases

MONEY_BACK = "money_back"
"""Why auto-reload is off, to its member."""

log = logging.getLogger(__name__)


def units_of(order: Order, price_minor: int) -> int:
    """The credits that belong to a part of the price; all of them for all of it."""
    return order.credits_units * min(price_minor, order.price_minor) // order.price_minor


async def refunded(transaction: LedgerTransaction, order: Order, total_minor: int) -> None:
    """So much of the price has been given back in all; take the credits of what is new."""
    if order.transfer is None:
        return
    key = f"refund:{order.order_id}:{total_minor}"
    before = await transaction.taken_back(order.transfer)
    more = units_of(order, total_minor) - before
    if more <= 0:
        return
    request = TakeBack(key, order.transfer, more, "purchase_refund", f"order:{order.order_id}")
    outcome = _must(await transaction.execute(request))
    taken = before + more
    state = OrderState.REFUNDED if taken == order.credits_units else order.state
    await went_back(transaction, order, state, taken)
    await tell(transaction, order, "purchase_refund", outcome)


async def disputed(transaction: LedgerTransaction, order: Order, dispute: Disputed) -> None:
    """A bank took the money back, or it turned out to be ours again."""
    if order.transfer is None:
        return
    key = f"charge_back:{order.order_id}:{dispute.dispute_id}"
    taken_by = await _transfer_under(transaction, key)
    if dispute.ours:
        if taken_by is not None:
            await _give_again(transaction, order, key, taken_by)
        return
    if taken_by is not None:
        return
    left = order.credits_units - await transaction.taken_back(order.transfer)
    units = min(units_of(order, dispute.price_minor), left)
    if units <= 0:
        return
    request = TakeBack(key, order.transfer, units, "charge_back", f"order:{order.order_id}")
    outcome = _must(await transaction.execute(request))
    taken = order.credits_units - left + units
    await went_back(transaction, order, OrderState.CHARGED_BACK, taken)
    await tell(transaction, order, "charge_back", outcome)


async def _give_again(
    transaction: LedgerTransaction, order: Order, key: str, taken_by: tuple[int, int]
) -> None:
    """The dispute was won: the credits come again, and pay the debt that it left."""
    transfer, units = taken_by
    subject = f"order:{order.order_id}"
    outcome = _must(await transaction.execute(Reverse(f"{key}:won", transfer, units, subject)))
    if outcome.replayed:
        return
    await pay_debt(transaction, order.member_id, outcome, subject)
    assert order.transfer is not None
    taken = await transaction.taken_back(order.transfer)
    await went_back(transaction, order, OrderState.SETTLED, taken)
    await tell(transaction, order, "dispute_won", outcome)


async def went_back(
    transaction: LedgerTransaction, order: Order, state: OrderState, taken: int
) -> None:
    """Note what was taken back of an order in all, and whether it still counts as a purchase."""
    connection, at_ms = transaction.connection, transaction.at_ms
    await order_store.take_back(connection, order, state, taken, at_ms)
    await recount_purchases(transaction, order.member_id)


async def stop_reload(transaction: LedgerTransaction, member_id: str) -> bool:
    """The balance just fell: without this, the same card would be charged again at once."""
    table = schema.reloads
    result = await transaction.connection.execute(
        sa.update(table)
        .where(table.c.member_id == member_id, table.c.state != "off")
        .values(state="off", notice=MONEY_BACK, updated_at_ms=transaction.at_ms)
    )
    return result.rowcount == 1


async def restart_reload(transaction: LedgerTransaction, member_id: str, stopped_ms: int) -> None:
    """It was stopped for nothing, then; unless anything changed it since."""
    table = schema.reloads
    await transaction.connection.execute(
        sa.update(table)
        .where(
            table.c.member_id == member_id,
            table.c.state == "off",
            table.c.notice == MONEY_BACK,
            table.c.updated_at_ms == stopped_ms,
        )
        .values(state="armed", notice=None, updated_at_ms=transaction.at_ms)
    )


async def tell(
    transaction: LedgerTransaction, order: Order, what: notices.MoneyBack, outcome: Posted
) -> None:
    """Queue the mail, and switch auto-reload off where credits were taken."""
    connection = transaction.connection
    stopped = what != "dispute_won" and await stop_reload(transaction, order.member_id)
    debt_units = await read_debt(connection, order.member_id)
    await notices.queue_money_back(
        connection,
        order,
        what,
        outcome.transfer,
        outcome.units,
        debt_units,
        stopped,
        transaction.at_ms,
    )


async def _transfer_under(transaction: LedgerTransaction, key: str) -> tuple[int, int] | None:
    """A posted transfer's number and units."""
    table = schema.transfers.c
    query = sa.select(table.transfer, table.units).where(
        table.key == key, table.outcome == "posted"
    )
    row = (await transaction.connection.execute(query)).one_or_none()
    return None if row is None else (row[0], row[1])


def _must(outcome: Outcome) -> Posted:
    if not isinstance(outcome, Posted):
        raise RuntimeError(f"what went back could not be booked: {outcome.code}")
    return outcome
