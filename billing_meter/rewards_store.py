"""Reward Club's rows: points and ranks counted out of the journal, off the path of any payment.

A step reads the transfers since the one before and moves its cursor in the transaction in which it
adds them up, so that each counts once, whoever steps and whenever it is cut off.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from billing_meter import ledger, rewards, schema
from billing_meter.ledger_rows import insert_missing
from billing_meter.rewards import NO_RANK, Held
from billing_meter.row_updates import ROWS_PER_STATEMENT
from billing_meter.wallet import Wallet

TRANSFERS_PER_STEP = 5_000
"""Of one look; a whole ledger of old is counted in many of them."""
CURSOR_ID = 1
_DAY = (schema.transfers.c.at_ms // sa.literal_column(str(rewards.DAY_MS))).label("day")
_SPENT = sa.func.sum(schema.postings.c.units).label("units")
_EARNED_OF_SPENDING = sa.or_(
    schema.postings.c.account == ledger.REVENUE,
    schema.postings.c.account.like("expert:%", escape="/"),
)
"""What a member spends goes to experts and the platform, and what comes back comes from there."""

K = TypeVar("K", int, str)
Change = tuple[str, int, int, int]
"""Member, day since 1970, units spent on it (negative: given back), instant of the last."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A member's points of this month and rank, as of the last committed transfer."""

    points: int
    held: Held | None
    month_ends_at_ms: int


class Rewards:
    """Counts, and tells who has which rank."""

    def __init__(self, wallet: Wallet) -> None:
        self._wallet = wallet
        self._database = wallet.database

    async def count(self) -> None:
        """Count everything that is committed now; whoever rises is told."""
        while await self._step():
            pass

    async def rank(self, member_id: str) -> str:
        """The rank's name, or `none`."""
        async with self._database.read() as connection:
            found = await _reached(connection, [member_id])
        held = rewards.held(found.get(member_id, {}), self._wallet.ledger.now_ms())
        return NO_RANK if held is None else held.rank.name

    async def standing(self, member_id: str) -> Standing:
        """Points to the last transfer, those included that no step has counted yet."""
        now_ms = self._wallet.ledger.now_ms()
        month = rewards.month_of(now_ms // rewards.DAY_MS)
        months = schema.reward_months
        async with self._database.read() as connection:
            counted = await connection.scalar(
                sa.select(months.c.units).where(
                    months.c.member_id == member_id, months.c.month == month
                )
            )
            new = await _changes(connection, await _cursor(connection), member_id=member_id)
            found = await _reached(connection, [member_id])
        units = int(counted or 0)
        units += sum(more for _, day, more, _ in new if rewards.month_of(day) == month)
        return Standing(
            points=rewards.points(units),
            held=rewards.held(found.get(member_id, {}), now_ms),
            month_ends_at_ms=rewards.month_end_ms(now_ms),
        )

    async def _step(self) -> bool:
        """Count the next transfers; False when there are none."""
        async with self._database.read() as connection:
            cursor = await _cursor(connection)
            head = int(await connection.scalar(sa.select(schema.head.c.last_transfer)) or 0)
            until = min(head, cursor + TRANSFERS_PER_STEP)
            if until <= cursor:
                return False
            changes = await _changes(connection, cursor, until)
        table = schema.reward_cursor
        moved = (
            sa.update(table)
            .where(table.c.id == CURSOR_ID, table.c.transfer == cursor)
            .values(transfer=until)
        )
        async with self._database.write() as connection:
            await insert_missing(connection, table, "id", {"id": CURSOR_ID, "transfer": 0})
            if (await connection.execute(moved)).rowcount != 1:
                return True  # another process counted these
            risen = await _add(connection, changes)
        for member_id in risen:
            self._wallet.on_standing(member_id)
        return True


async def _cursor(connection: AsyncConnection) -> int:
    """The last transfer that was counted."""
    return int(await connection.scalar(sa.select(schema.reward_cursor.c.transfer)) or 0)


async def _changes(
    connection: AsyncConnection, after: int, until: int | None = None, *, member_id: str = ""
) -> list[Change]:
    """What members spent in these transfers, day by day."""
    table = schema.transfers
    query = (
        sa.select(table.c.member_id, _DAY, _SPENT, sa.func.max(table.c.at_ms))
        .select_from(table.join(schema.postings))
        .where(table.c.transfer > after, table.c.member_id.is_not(None), _EARNED_OF_SPENDING)
        .group_by(table.c.member_id, _DAY)
        .order_by(_DAY, table.c.member_id)
    )
    if until is not None:
        query = query.where(table.c.transfer <= until)
    if member_id:
        query = query.where(table.c.member_id == member_id)
    rows = await connection.execute(query)
    return [(row[0], int(row[1]), int(row[2]), row[3]) for row in rows]


async def _add(connection: AsyncConnection, changes: list[Change]) -> list[str]:
    """Add the changes to their months; the members who reached a rank."""
    months = schema.reward_months
    known: dict[tuple[str, int], int] = {}
    for part in _parts({change[0] for change in changes}):
        query = sa.select(months).where(months.c.member_id.in_(part))
        for row in (await connection.execute(query)).mappings():
            known[row["member_id"], row["month"]] = row["units"]
    sums = dict(known)
    reached: dict[str, dict[str, int]] = {}
    for member_id, day, units, at_ms in changes:
        key = (member_id, rewards.month_of(day))
        before = sums.get(key, 0)
        sums[key] = before + units
        for rank in rewards.reached(before, sums[key]):
            reached.setdefault(member_id, {})[rank] = at_ms
    await _write(
        connection,
        months,
        ("member_id", "month"),
        "units",
        {key: units for key, units in sums.items() if known.get(key) != units},
        known,
    )
    await _rise(connection, reached)
    return list(reached)


async def _rise(connection: AsyncConnection, reached: Mapping[str, Mapping[str, int]]) -> None:
    """Note when ranks were reached; the latest time counts."""
    known: dict[tuple[str, str], int] = {}
    for part in _parts(reached):
        for member_id, ranks in (await _reached(connection, part)).items():
            known.update({(member_id, rank): at_ms for rank, at_ms in ranks.items()})
    new = {
        (member_id, rank): at_ms
        for member_id, ranks in reached.items()
        for rank, at_ms in ranks.items()
        if at_ms > known.get((member_id, rank), -1)
    }
    key = ("member_id", "rank_name")
    await _write(connection, schema.reward_ranks, key, "reached_at_ms", new, known)


async def _write(
    connection: AsyncConnection,
    table: sa.Table,
    key: tuple[str, str],
    value: str,
    rows: Mapping[tuple[str, K], int],
    known: Mapping[tuple[str, K], int],
) -> None:
    """Insert what is new and update what is known; nobody else writes meanwhile."""
    first, second = key
    fresh = [{first: one[0], second: one[1], value: rows[one]} for one in rows if one not in known]
    changed = [
        {"of_first": one[0], "of_second": one[1], "now": rows[one]} for one in rows if one in known
    ]
    if fresh:
        await connection.execute(sa.insert(table), fresh)
    if changed:
        update = (
            sa.update(table)
            .where(
                table.c[first] == sa.bindparam("of_first"),
                table.c[second] == sa.bindparam("of_second"),
            )
            .values({value: sa.bindparam("now")})
        )
        await connection.execute(update, changed)


async def _reached(
    connection: AsyncConnection, member_ids: Iterable[str]
) -> dict[str, dict[str, int]]:
    """When each member last reached which rank."""
    table = schema.reward_ranks
    found: dict[str, dict[str, int]] = {}
    query = sa.select(table).where(table.c.member_id.in_(list(member_ids)))
    for row in (await connection.execute(query)).mappings():
        found.setdefault(row["member_id"], {})[row["rank_name"]] = row["reached_at_ms"]
    return found


def _parts(names: Iterable[str]) -> list[list[str]]:
    ordered = sorted(names)
    return [
        ordered[start : start + ROWS_PER_STATEMENT]
        for start in range(0, len(ordered), ROWS_PER_STATEMENT)
    ]
