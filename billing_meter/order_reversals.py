"""Money of settled orders that went back: refunds, charge-backs, disputes won after all.

What the provider told is kept as it stands (`reversal_rows`), and the credits follow from it: so
many are taken as belong to the money that is gone, whatever came first. Each step is a compensating
transfer. Credits that the member has already spent become a debt, which their next purchases pay
first (`docs/decisions/a-charge-back-becomes-a-debt`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import sqlalchemy as sa

from billing_meter import notices, order_store, reversal_rows, schema
from billing_meter.ledger import Outcome, Posted, Request, Reverse, TakeBack
from billing_meter.ledger_rows import read_debt
from billing_meter.ledger_store import LedgerTransaction
from billing_meter.order_store import Order, OrderState
from billing_meter.providers import Disputed
from billing_meter.reversal_rows import Gone, units_of
from billing_meter.wallet import pay_debt, recount_purchases

MONEY_BACK = "money_back"
"""Why auto-reload is off, to its member."""

TakenKind = Literal["purchase_refund", "charge_back"]


@dataclass(frozen=True, slots=True)
class Taken:
    """A transfer that took credits of an order back, and how many of them did not come again."""

    transfer: int
    kind: str
    units: int
    given_times: int


def units_gone(order: Order, gone: Gone) -> int:
    """The credits that belong to the money which is not with us."""
    return units_of(order.credits_units, order.price_minor, gone.minor)


def state_of(order: Order, taken_units: int, gone: Gone) -> OrderState:
    """A purchase of which any credits are left counts as one."""
    if taken_units < order.credits_units:
        return OrderState.SETTLED
    return OrderState.CHARGED_BACK if gone.disputed_minor else OrderState.REFUNDED


async def told(
    transaction: LedgerTransaction,
    order: Order,
    refunded_minor: int = 0,
    dispute: Disputed | None = None,
) -> None:
    """The provider says so now: all that it gave back, and how a dispute stands."""
    connection, at_ms = transaction.connection, transaction.at_ms
    if dispute is not None:
        await reversal_rows.note_dispute(connection, order.order_id, dispute, at_ms)
    await reversal_rows.note_refunded(connection, order.order_id, refunded_minor, at_ms)
    await follow(transaction, order)


async def follow(
    transaction: LedgerTransaction, order: Order, *, quietly: bool = False
) -> OrderState:
    """Take or give credits until they are those of the money that stayed; tells the state then.

    Rounded down over all that is gone together, so that the last part takes the exact rest.
    """
    if order.transfer is None:
        return order.state
    gone = await gone_of(transaction, order)
    taken_units = await transaction.taken_back(order.transfer)
    more_units = units_gone(order, gone) - taken_units
    if more_units > 0:
        await _take(transaction, order, gone, more_units, quietly)
    elif more_units < 0:
        await _give(transaction, order, -more_units, quietly)
    taken_units += more_units
    state = state_of(order, taken_units, gone)
    if (state, taken_units) != (order.state, order.refunded_units):
        await went_back(transaction, order, state, taken_units)
    return state


async def gone_of(transaction: LedgerTransaction, order: Order) -> Gone:
    """How much of an order's money is not with us."""
    found = await reversal_rows.gone(transaction.connection, [order.order_id])
    return found.get(order.order_id, Gone())


async def _take(
    transaction: LedgerTransaction, order: Order, gone: Gone, units: int, quietly: bool
) -> None:
    """Take credits, under the name of what took the money."""
    before = await _takings(transaction, order)
    refunded = Gone(gone.refunded_minor)
    by_refunds = sum(taken.units for taken in before if taken.kind == "purchase_refund")
    as_refund = min(units, max(units_gone(order, refunded) - by_refunds, 0))
    parts: tuple[tuple[TakenKind, int], ...] = (
        ("purchase_refund", as_refund),
        ("charge_back", units - as_refund),
    )
    assert order.transfer is not None
    subject = f"order:{order.order_id}"
    for kind, part in parts:
        if part:
            key = _key(order, await _takings(transaction, order))
            request = TakeBack(key, order.transfer, part, kind, subject)
            outcome = await _posted(transaction, request)
            if not quietly:
                await tell(transaction, order, kind, outcome)


async def _give(transaction: LedgerTransaction, order: Order, units: int, quietly: bool) -> None:
    """Give credits again, what was taken last first; they pay what the member owes."""
    subject, left, given = f"order:{order.order_id}", units, None
    for taken in reversed(await _takings(transaction, order)):
        part = min(taken.units, left)
        if part:
            key = _key(order, await _takings(transaction, order))
            given = await _posted(transaction, Reverse(key, taken.transfer, part, subject))
            await pay_debt(transaction, order.member_id, given, subject)
            left -= part
    assert given is not None
    assert left == 0
    if not quietly:
        whole = Posted(given.transfer, units, given.draw)
        await tell(transaction, order, "dispute_won", whole)


def _key(order: Order, takings: Sequence[Taken]) -> str:
    """The next step's permanent key: two who take it from the same books take the same one."""
    steps = len(takings) + sum(taken.given_times for taken in takings)
    return f"order_reversal:{order.order_id}:{steps + 1}"


async def _takings(transaction: LedgerTransaction, order: Order) -> list[Taken]:
    """What took credits of an order back, oldest first."""
    took, given = schema.transfers.alias(), schema.transfers.alias()
    again = sa.and_(given.c.reverses == took.c.transfer, given.c.outcome == "posted")
    query = (
        sa.select(
            took.c.transfer,
            took.c.kind,
            took.c.units - sa.func.coalesce(sa.func.sum(given.c.units), 0),
            sa.func.count(given.c.transfer),
        )
        .select_from(took.outerjoin(given, again))
        .where(
            took.c.reverses == order.transfer,
            took.c.outcome == "posted",
            took.c.kind.in_(get_args(TakenKind)),
        )
        .group_by(took.c.transfer, took.c.kind, took.c.units)
        .order_by(took.c.transfer)
    )
    rows = await transaction.connection.execute(query)
    return [Taken(transfer, kind, int(units), times) for transfer, kind, units, times in rows]


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


async def _posted(transaction: LedgerTransaction, request: Request) -> Posted:
    outcome: Outcome = await transaction.execute(request)
    if not isinstance(outcome, Posted) or outcome.replayed:
        raise RuntimeError(f"what went back could not be booked: {outcome}")
    return outcome
