"""Experts' shares as rows: what counts from now on, and every change of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from billing_meter import schema
from billing_meter.ledger_rows import GuardFailed
from billing_meter.row_reads import RowReads
from billing_meter.shares import Shares, Source

COLUMNS: Final = {source: f"{source}_percent" for source in Source}
_T, _C = schema.shares.c, schema.share_changes.c
_SHARES = RowReads(sa.select(_T.expert_id, *(_T[name] for name in COLUMNS.values())), _T.expert_id)


@dataclass(frozen=True, slots=True)
class ShareChange:
    """One change, the `change`-th of its expert."""

    expert_id: str
    change: int
    source: Source
    percent: int
    was_percent: int
    at_ms: int
    changed_by: str


async def read(connection: AsyncConnection, expert_ids: Sequence[str]) -> dict[str, Shares]:
    """Shares by expert, those without an account left out; no id may come twice."""
    rows = await _SHARES.rows(connection, expert_ids)
    return {row.expert_id: Shares(*row[1:]) for row in rows}


async def change(
    connection: AsyncConnection,
    expert_id: str,
    sources: Sequence[Source],
    percent: int,
    at_ms: int,
    changed_by: str,
) -> Shares | None:
    """Give an expert another share of some features; what has begun or is bought keeps its own.

    What they are now; None for an expert without an account. ValueError outside 0 to 100.
    """
    before = (await read(connection, [expert_id])).get(expert_id)
    if before is None:
        return None
    Shares.alike(percent)  # a percentage at all?
    changed = [source for source in sources if before.of(source) != percent]
    if not changed:
        return before
    mine = [_T.expert_id == expert_id]
    mine += [_T[COLUMNS[source]] == before.of(source) for source in changed]
    values = {COLUMNS[source]: percent for source in changed}
    result = await connection.execute(sa.update(schema.shares).where(*mine).values(values))
    if result.rowcount != 1:
        raise GuardFailed(f"the shares of {expert_id} have changed")
    query = sa.select(sa.func.coalesce(sa.func.max(_C.change), 0)).where(_C.expert_id == expert_id)
    last = int(await connection.scalar(query) or 0)
    rows = [
        {
            "expert_id": expert_id,
            "change": last + n,
            "feature": source.value,
            "percent": percent,
            "was_percent": before.of(source),
            "at_ms": at_ms,
            "changed_by": changed_by,
        }
        for n, source in enumerate(changed, 1)
    ]
    await connection.execute(sa.insert(schema.share_changes), rows)
    return (await read(connection, [expert_id]))[expert_id]


async def changes_of(connection: AsyncConnection, expert_id: str) -> list[ShareChange]:
    """Every change of an expert's shares, the oldest first."""
    query = sa.select(schema.share_changes).where(_C.expert_id == expert_id).order_by(_C.change)
    return [_change(row) for row in (await connection.execute(query)).mappings()]


async def problems(connection: AsyncConnection) -> tuple[int, list[tuple[str, str, str]]]:
    """How many experts have shares, and where these are not what their changes made of them."""
    rows = (await connection.execute(sa.select(schema.shares))).mappings().all()
    now = {(r["expert_id"], source): r[name] for r in rows for source, name in COLUMNS.items()}
    query = sa.select(schema.share_changes).order_by(_C.expert_id, _C.change)
    told: dict[tuple[str, Source], int] = {}
    numbers: dict[str, int] = {}
    found = []
    for row in (await connection.execute(query)).mappings():
        one = _change(row)
        subject, place = f"expert:{one.expert_id}", (one.expert_id, one.source)
        numbers[one.expert_id] = numbers.get(one.expert_id, 0) + 1
        if one.change != numbers[one.expert_id]:
            detail = f"change {one.change} of its shares follows {numbers[one.expert_id] - 1}"
            found.append(("share_wrong", subject, detail))
            numbers[one.expert_id] = one.change
        if told.get(place, one.was_percent) != one.was_percent:
            detail = f"{one.source} was {told[place]} %, changed from {one.was_percent} %"
            found.append(("share_wrong", subject, detail))
        told[place] = one.percent
    for place, percent in told.items():
        if now.get(place) != percent:
            detail = f"{place[1]} is {now.get(place)} %, was changed to {percent} %"
            found.append(("share_wrong", f"expert:{place[0]}", detail))
    return len(rows), found


def row_of(expert_id: str, shares: Shares) -> dict[str, Any]:
    """An expert's shares as a row."""
    return {"expert_id": expert_id} | {name: shares.of(s) for s, name in COLUMNS.items()}


def _change(row: sa.RowMapping) -> ShareChange:
    values: dict[str, Any] = dict(row)
    return ShareChange(source=Source(values.pop("feature")), **values)
