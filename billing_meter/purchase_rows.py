"""What members bought of experts, as rows: one purchase, and the queries that find them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from billing_meter import schema
from billing_meter.features import Feature

NUMBER_MAX: Final = 2**63 - 1
"""Numbers of transfers are no larger; a database would not take one that is."""
_P = schema.purchases.c


@dataclass(frozen=True, slots=True)
class Purchase:
    """One purchase; `refunded_at_ms` when `refunded_units` were given back, by whom and why.

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
    refunded_units: int | None
    refunded_at_ms: int | None
    refunded_by: str | None
    refund_reason: str | None
    reply_transfer: int | None
    replied_at_ms: int | None
    share_percent: int

    @property
    def standing_units(self) -> int:
        """What it costs after what was given back."""
        return self.units - (self.refunded_units or 0)


def purchase_of(row: Mapping[str, Any] | sa.RowMapping) -> Purchase:
    """A row as a purchase."""
    return Purchase(**{**row, "feature": Feature(row["feature"])})


async def one(connection: AsyncConnection, transfer: int, *, lock: bool = False) -> Purchase | None:
    """One purchase by its transfer; locked for the rest of a write transaction if asked."""
    if not 0 < transfer <= NUMBER_MAX:
        return None
    query = sa.select(schema.purchases).where(_P.transfer == transfer)
    if lock:
        query = query.with_for_update()
    row = (await connection.execute(query)).mappings().one_or_none()
    return None if row is None else purchase_of(row)


async def of_member(
    connection: AsyncConnection, member_id: str, before: int | None, limit: int
) -> Sequence[Purchase]:
    """A member's purchases, the newest first."""
    query = sa.select(schema.purchases).where(_P.member_id == member_id)
    if before is not None:
        query = query.where(_P.transfer < before)
    query = query.order_by(_P.transfer.desc()).limit(limit)
    return [purchase_of(row) for row in (await connection.execute(query)).mappings()]


async def refunded_since(connection: AsyncConnection, at_ms: int) -> Sequence[Purchase]:
    """What was given back at `at_ms` or later."""
    query = sa.select(schema.purchases).where(_P.refunded_at_ms >= at_ms)
    return [purchase_of(row) for row in (await connection.execute(query)).mappings()]


async def sent(
    connection: AsyncConnection, expert_id: str, feature: Feature, since_ms: int
) -> Mapping[str, int]:
    """Units by member that stand since an instant."""
    standing = sa.func.sum(_P.units - sa.func.coalesce(_P.refunded_units, 0))
    query = (
        sa.select(_P.member_id, standing)
        .where(_P.expert_id == expert_id, _P.feature == feature.value, _P.at_ms >= since_ms)
        .group_by(_P.member_id)
        .having(standing > 0)
    )
    return {row[0]: int(row[1]) for row in await connection.execute(query)}
