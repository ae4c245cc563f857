"""Who is staff: a role beside an account's kind, given and taken on the command line only."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from signaling.schema import accounts, staff_roles


@dataclass(frozen=True, slots=True)
class StaffRole:
    """One account's time as staff; the last one has no end while it lasts."""

    account_id: str
    username: str
    since_ms: int
    given_by: str
    until_ms: int | None
    taken_by: str | None


async def give(connection: AsyncConnection, account_id: str, by: str, at_ms: int) -> bool:
    """Make an account staff; False if it is already."""
    running = select(staff_roles.c.since_ms).where(_running(account_id))
    if (await connection.execute(running)).first() is not None:
        return False
    row = {"account_id": account_id, "since_ms": at_ms, "given_by": by}
    await connection.execute(insert(staff_roles), [row])
    return True


async def take(connection: AsyncConnection, account_id: str, by: str, at_ms: int) -> bool:
    """End the role; it counts from the next request on. False if there was none."""
    ended = update(staff_roles).where(_running(account_id)).values(until_ms=at_ms, taken_by=by)
    return (await connection.execute(ended)).rowcount == 1


async def roles(connection: AsyncConnection) -> list[StaffRole]:
    """Everybody who is or was staff, in the order in which they became it."""
    query = (
        select(staff_roles, accounts.c.username)
        .join(accounts)
        .order_by(staff_roles.c.since_ms, staff_roles.c.account_id)
    )
    return [StaffRole(**row) for row in (await connection.execute(query)).mappings()]


def _running(account_id: str) -> ColumnElement[bool]:
    return and_(staff_roles.c.account_id == account_id, staff_roles.c.until_ms.is_(None))
