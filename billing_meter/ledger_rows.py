"""The ledger's rows: balances moved by guarded writes, inserts in slices, balances read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from billing_meter import ledger, marks_rows, schema
from billing_meter.ledger import Draw
from billing_meter.row_reads import RowReads
from billing_meter.row_updates import ROWS_PER_STATEMENT, Given, RowUpdates


class GuardFailed(Exception):
    """A guarded balance update did not apply: the plan was stale or an account is missing.

    The transaction must roll back; nothing was written.
    """


@dataclass(frozen=True, slots=True)
class Balance:
    """A member's credits: posted totals per bucket, and how much of them holds set aside."""

    paid_units: int = 0
    promo_units: int = 0
    held_units: int = 0

    @property
    def available(self) -> int:
        """What can be spent now."""
        return self.paid_units + self.promo_units - self.held_units

    @property
    def posted(self) -> int:
        """All that is still the member's, held or not."""
        return self.paid_units + self.promo_units


def hold_row(hold_id: str, member_id: str, drawn: Draw, at_ms: int) -> dict[str, Any]:
    """A new open hold."""
    return {
        "hold_id": hold_id,
        "member_id": member_id,
        "state": "open",
        "promo_units": drawn.promo,
        "paid_units": drawn.paid,
        "taken_units": drawn.units,
        "posted_units": 0,
        "returned_units": 0,
        "created_at_ms": at_ms,
        "expires_at_ms": None,
        "closed_at_ms": None,
    }


async def insert_rows(
    connection: AsyncConnection, table: sa.Table, rows: Sequence[Mapping[str, Any]]
) -> None:
    """Insert in slices, so that the event loop gets a turn between them."""
    for start in range(0, len(rows), ROWS_PER_STATEMENT):
        await connection.execute(sa.insert(table), rows[start : start + ROWS_PER_STATEMENT])


def _moved(given: Given) -> sa.Update:
    table, units = schema.accounts.c, schema.accounts.c.units + given["b_units"]
    covered = sa.or_(table.may_be_negative, units >= 0)
    mine = table.account == given["b_account"]
    return sa.update(schema.accounts).where(mine, covered).values(units=units)


_MOVE = RowUpdates({"b_account": sa.String(), "b_units": sa.BigInteger()}, _moved)


async def move_balances(connection: AsyncConnection, deltas: Mapping[str, int]) -> None:
    """The guarded write: each balance moves by its delta, or GuardFailed rolls all of it back."""
    rows = [{"b_account": account, "b_units": units} for account, units in deltas.items()]
    if await _MOVE.run(connection, rows) != len(rows):
        raise GuardFailed("an account is missing or would go below zero")


async def open_account(
    connection: AsyncConnection, account: str, owner: str, *, may_be_negative: bool
) -> None:
    """Make an account, if it is missing."""
    row = {"account": account, "owner": owner, "units": 0, "may_be_negative": may_be_negative}
    await insert_missing(connection, schema.accounts, "account", row)


async def insert_missing(
    connection: AsyncConnection, table: sa.Table, key: str, row: Mapping[str, Any]
) -> bool:
    """Insert unless the key exists, in one statement that every dialect has."""
    values = [sa.literal(value, table.c[name].type).label(name) for name, value in row.items()]
    exists = sa.select(table.c[key]).where(table.c[key] == row[key]).exists()
    source = sa.select(*values).where(~exists)
    result = await connection.execute(sa.insert(table).from_select(list(row), source))
    return result.rowcount == 1


async def read_debt(connection: AsyncConnection, member_id: str) -> int:
    """What a member owes, as a positive number."""
    column = schema.accounts.c.units
    query = sa.select(column).where(schema.accounts.c.account == ledger.debt_account(member_id))
    return -int(await connection.scalar(query) or 0)


_UNITS = RowReads(
    sa.select(schema.accounts.c.account, schema.accounts.c.units), schema.accounts.c.account
)


async def read_units(connection: AsyncConnection, accounts: Iterable[str]) -> dict[str, int]:
    """Balances of accounts, missing ones left out."""
    return {row.account: row.units for row in await _UNITS.rows(connection, sorted(accounts))}


async def read_buckets(connection: AsyncConnection, member_ids: Sequence[str]) -> dict[str, Draw]:
    """Spendable units per bucket; in a write transaction they stay true until its end."""
    promo = {member_id: ledger.promo_account(member_id) for member_id in member_ids}
    paid = {member_id: ledger.paid_account(member_id) for member_id in member_ids}
    units = await read_units(connection, [*promo.values(), *paid.values()])
    return {
        member_id: Draw(units.get(promo[member_id], 0), units.get(paid[member_id], 0))
        for member_id in promo
    }


_OPEN_HOLDS = RowReads(
    sa.select(
        *(schema.holds.c.member_id, schema.holds.c.promo_units, schema.holds.c.paid_units),
        *marks_rows.NEEDED,
    )
    .select_from(
        schema.holds.outerjoin(
            schema.sessions, schema.sessions.c.session_id == schema.holds.c.hold_id
        ).outerjoin(schema.marks, marks_rows.ON_ITS_PAGE)
    )
    .where(schema.holds.c.state == "open"),
    schema.holds.c.member_id,
)


async def read_balances(
    connection: AsyncConnection, member_ids: Iterable[str]
) -> dict[str, Balance]:
    """Balances to the second: what running sessions have used already counts as spent."""
    wanted = sorted(set(member_ids))
    if not wanted:
        return {}
    free = await read_buckets(connection, wanted)
    held = dict.fromkeys(wanted, Draw())
    reader = marks_rows.Reader()
    for found in await _OPEN_HOLDS.rows(connection, wanted):
        row = found._mapping
        inside = Draw(row["promo_units"], row["paid_units"])
        used = 0
        if row["session_id"] is not None:
            used = reader.figures(row).charged_units(row) - row["posted_units"]
        spent = ledger.draw(used, inside) or inside
        held[row["member_id"]] += inside - spent
    return {
        member_id: Balance(
            paid_units=free[member_id].paid + held[member_id].paid,
            promo_units=free[member_id].promo + held[member_id].promo,
            held_units=held[member_id].units,
        )
        for member_id in wanted
    }
