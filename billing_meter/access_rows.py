"""The rows of access: who may see what until when, read and moved."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from billing_meter import schema
from billing_meter.features import Access, Buy, Feature
from billing_meter.row_updates import ROWS_PER_STATEMENT

Place = tuple[str, Feature, str]
"""(member, feature, object): the windows of one place follow each other and never overlap."""
_A, _M = schema.access.c, schema.members.c


def place_of(buy: Buy) -> Place:
    """Where a purchase gives access."""
    return (buy.member_id, buy.feature, buy.object_id)


def row_of(access: Access) -> dict[str, Any]:
    """A window as a row."""
    return {
        "transfer": access.transfer,
        "member_id": access.member_id,
        "feature": access.feature.value,
        "object_id": access.object_id,
        "from_ms": access.from_ms,
        "until_ms": access.until_ms,
    }


def _access(row: sa.RowMapping) -> Access:
    return Access(**{**row, "feature": Feature(row["feature"])})


async def premium_among(connection: AsyncConnection, member_ids: Sequence[str]) -> set[str]:
    """Those of these members who are premium."""
    found: set[str] = set()
    for start in range(0, len(member_ids), ROWS_PER_STATEMENT):
        some = member_ids[start : start + ROWS_PER_STATEMENT]
        query = sa.select(_M.member_id).where(
            _M.member_id.in_(some), _M.premium_since_ms.is_not(None)
        )
        found.update(await connection.scalars(query))
    return found


async def ends(
    connection: AsyncConnection, places: Sequence[Place], now_ms: int
) -> dict[Place, int]:
    """When the access of these places ends that has not ended; the others are left out."""
    wanted, found = set(places), dict[Place, int]()
    for start in range(0, len(places), ROWS_PER_STATEMENT):
        some = places[start : start + ROWS_PER_STATEMENT]
        query = (
            sa.select(_A.member_id, _A.feature, _A.object_id, sa.func.max(_A.until_ms))
            .where(
                _A.member_id.in_({place[0] for place in some}),
                _A.object_id.in_({place[2] for place in some}),
                _A.until_ms > now_ms,
                _A.until_ms > _A.from_ms,
            )
            .group_by(_A.member_id, _A.feature, _A.object_id)
        )
        for member_id, feature, object_id, until_ms in await connection.execute(query):
            place = (member_id, Feature(feature), object_id)
            if place in wanted:
                found[place] = until_ms
    return found


async def of_transfers(
    connection: AsyncConnection, transfers: Collection[int]
) -> dict[int, Access]:
    """The windows that these purchases gave, as they are now."""
    found: dict[int, Access] = {}
    wanted = sorted(transfers)
    for start in range(0, len(wanted), ROWS_PER_STATEMENT):
        some = wanted[start : start + ROWS_PER_STATEMENT]
        query = sa.select(schema.access).where(_A.transfer.in_(some))
        for row in (await connection.execute(query)).mappings():
            found[row["transfer"]] = _access(row)
    return found


async def of_place(connection: AsyncConnection, place: Place) -> list[Access]:
    """Every window of one place, the earliest first."""
    member_id, feature, object_id = place
    query = (
        sa.select(schema.access)
        .where(_A.member_id == member_id, _A.feature == feature, _A.object_id == object_id)
        .order_by(_A.from_ms, _A.transfer)
    )
    return [_access(row) for row in (await connection.execute(query)).mappings()]


async def move(connection: AsyncConnection, windows: Iterable[Access]) -> None:
    """Write the ends of these windows."""
    for window in windows:
        await connection.execute(
            sa.update(schema.access)
            .where(_A.transfer == window.transfer)
            .values(from_ms=window.from_ms, until_ms=window.until_ms)
        )


async def until(
    connection: AsyncConnection,
    member_id: str,
    feature: Feature,
    object_ids: Collection[str],
    at_ms: int,
) -> dict[str, int]:
    """Of these objects, those that the member may see at that instant, and when that ends.

    Windows that follow each other are one: the end is that of the last.
    """
    found: dict[str, int] = {}
    wanted = sorted(object_ids)
    for start in range(0, len(wanted), ROWS_PER_STATEMENT):
        some = wanted[start : start + ROWS_PER_STATEMENT]
        query = (
            sa.select(_A.object_id, sa.func.max(_A.until_ms))
            .where(
                _A.member_id == member_id,
                _A.feature == feature.value,
                _A.object_id.in_(some),
                _A.until_ms > at_ms,
                _A.until_ms > _A.from_ms,
            )
            .group_by(_A.object_id)
        )
        rows = await connection.execute(query.having(sa.func.min(_A.from_ms) <= at_ms))
        found |= {object_id: until_ms for object_id, until_ms in rows}
    return found
