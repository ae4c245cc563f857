"""What providers told of an order's money that went back: all its refunds, and each dispute.

Only ever what is newest counts: a refund total does not fall, a dispute goes from inquiry over open
to its end. So reports that come late, twice or in another order leave the same rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from billing_meter import schema
from billing_meter.providers import Disputed, DisputeState

REFUNDS = ""
"""In `dispute_id`: all refunds of the order together."""
REFUNDED = "refunded"
THEIRS = frozenset({DisputeState.OPEN.value, DisputeState.LOST.value})
"""In these states of a dispute the money is with the member's bank."""
_RANK = {state.value: rank for rank, state in enumerate(DisputeState)}

_T = schema.reversals
_C = _T.c


@dataclass(frozen=True, slots=True)
class Gone:
    """How much of an order's price is not with us, in its currency's minor unit."""

    refunded_minor: int = 0
    """Given back, or about to be: a refund takes its credits before the provider is asked."""
    disputed_minor: int = 0

    @property
    def minor(self) -> int:
        """Both; a bank may take what was refunded before, so it may be more than the price."""
        return self.refunded_minor + self.disputed_minor


def units_of(credits_units: int, price_minor: int, part_minor: int) -> int:
    """The credits that belong to a part of the price; all of them for all of it."""
    return credits_units * min(part_minor, price_minor) // price_minor


async def note_refunded(
    connection: AsyncConnection, order_id: str, total_minor: int, at_ms: int
) -> None:
    """So much has been given back in all."""
    known = await _known(connection, order_id, REFUNDS)
    if total_minor > (0 if known is None else known["price_minor"]):
        await _put(connection, known, order_id, REFUNDS, REFUNDED, total_minor, at_ms)


async def note_dispute(
    connection: AsyncConnection, order_id: str, dispute: Disputed, at_ms: int
) -> None:
    """So a dispute stands."""
    known = await _known(connection, order_id, dispute.dispute_id)
    state, price_minor = dispute.state.value, dispute.price_minor
    if known is not None and _RANK[known["state"]] > _RANK[state]:
        return
    if known is None or (known["state"], known["price_minor"]) != (state, price_minor):
        await _put(connection, known, order_id, dispute.dispute_id, state, price_minor, at_ms)


async def gone(
    connection: AsyncConnection, order_ids: Sequence[str] | None = None
) -> dict[str, Gone]:
    """Of these orders, by default of all: those of which anything went back."""
    told = sa.select(_C.order_id, _C.state, _C.price_minor)
    under_way = schema.order_refunds.c
    total_minor = under_way.before_minor + under_way.price_minor
    asked = sa.select(under_way.order_id, total_minor).where(under_way.state == "pending")
    if order_ids is not None:
        told = told.where(_C.order_id.in_(order_ids))
        asked = asked.where(under_way.order_id.in_(order_ids))
    found: dict[str, Gone] = {}
    for order_id, state, price_minor in await connection.execute(told):
        found[order_id] = _with(found.get(order_id, Gone()), state, price_minor)
    for order_id, expected_minor in await connection.execute(asked):
        before = found.get(order_id, Gone())
        refunded_minor = max(before.refunded_minor, expected_minor)
        found[order_id] = Gone(refunded_minor, before.disputed_minor)
    return found


def _with(before: Gone, state: str, price_minor: int) -> Gone:
    if state == REFUNDED:
        return Gone(before.refunded_minor + price_minor, before.disputed_minor)
    taken = price_minor if state in THEIRS else 0
    return Gone(before.refunded_minor, before.disputed_minor + taken)


async def _known(
    connection: AsyncConnection, order_id: str, dispute_id: str
) -> sa.RowMapping | None:
    query = sa.select(_T).where(_C.order_id == order_id, _C.dispute_id == dispute_id)
    return (await connection.execute(query.with_for_update())).mappings().one_or_none()


async def _put(
    connection: AsyncConnection,
    known: sa.RowMapping | None,
    order_id: str,
    dispute_id: str,
    state: str,
    price_minor: int,
    at_ms: int,
) -> None:
    values: dict[str, Any] = {"state": state, "price_minor": price_minor, "at_ms": at_ms}
    if known is None:
        row = values | {"order_id": order_id, "dispute_id": dispute_id}
        await connection.execute(sa.insert(_T), [row])
        return
    mine = sa.and_(_C.order_id == order_id, _C.dispute_id == dispute_id)
    await connection.execute(sa.update(_T).where(mine).values(values))
