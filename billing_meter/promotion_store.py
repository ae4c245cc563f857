"""The rows of promotions: written by staff, read by every order."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from billing_meter import schema
from billing_meter.ledger_rows import insert_rows
from billing_meter.promotions import Promotion

_P = schema.promotions.c


async def add(connection: AsyncConnection, promotion: Promotion, at_ms: int) -> None:
    """Store a new one, checked by the caller; IntegrityError when its id was used before."""
    row = {
        "promotion_id": promotion.promotion_id,
        "percent": promotion.percent,
        "starts_at_ms": promotion.starts_at_ms,
        "ends_at_ms": promotion.ends_at_ms,
        "packages": _text(promotion.packages),
        "countries": _text(promotion.countries),
        "excluded_methods": _text(promotion.excluded_methods),
        "created_at_ms": at_ms,
    }
    await insert_rows(connection, schema.promotions, [row])


async def end(connection: AsyncConnection, promotion_id: str, at_ms: int) -> bool:
    """End one now, or before it began; False when there is none that goes on.

    Orders that were placed keep their price.
    """
    ended = sa.case((_P.starts_at_ms > at_ms, _P.starts_at_ms), else_=at_ms)
    result = await connection.execute(
        sa.update(schema.promotions)
        .where(_P.promotion_id == promotion_id, _P.ends_at_ms > at_ms)
        .values(ends_at_ms=ended)
    )
    return result.rowcount == 1


async def current(connection: AsyncConnection, at_ms: int) -> Sequence[Promotion]:
    """Those whose window is open."""
    query = sa.select(schema.promotions).where(_P.starts_at_ms <= at_ms, _P.ends_at_ms > at_ms)
    return [_promotion(row) for row in (await connection.execute(query)).mappings()]


async def all_of_them(connection: AsyncConnection) -> Sequence[Promotion]:
    """Every one that ever was, newest window first."""
    query = sa.select(schema.promotions).order_by(_P.starts_at_ms.desc(), _P.promotion_id)
    return [_promotion(row) for row in (await connection.execute(query)).mappings()]


def _promotion(row: sa.RowMapping) -> Promotion:
    return Promotion(
        promotion_id=row["promotion_id"],
        percent=row["percent"],
        starts_at_ms=row["starts_at_ms"],
        ends_at_ms=row["ends_at_ms"],
        packages=frozenset(row["packages"].split()),
        countries=frozenset(row["countries"].split()),
        excluded_methods=frozenset(row["excluded_methods"].split()),
    )


def _text(names: frozenset[str]) -> str:
    return " ".join(sorted(names))
