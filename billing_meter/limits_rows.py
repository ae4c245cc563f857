"""The rows of spend limits: read, moved along with the money, begun from the journal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from billing_meter import ledger, schema
from billing_meter.ledger_rows import GuardFailed, insert_rows, read_units
from billing_meter.limits import (
    WINDOWS,
    Limit,
    Limits,
    Span,
    Window,
    aside_accounts,
    window_start_ms,
)
from billing_meter.row_reads import RowReads
from billing_meter.row_updates import RowUpdates

_C = schema.spend_controls.c
_L = schema.spend_limits.c
ZONE_CHARS_MAX = 64
DEFAULT_ZONE = "UTC"


def known_zone(name: str) -> tzinfo | None:
    """The zone of an IANA name, or None. Its file is read once per process."""
    if not 1 <= len(name) <= ZONE_CHARS_MAX:
        return None
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, LookupError):
        return None


def zone_of(limits: Limits) -> tzinfo:
    """A stored name that this machine does not know (any more) counts as UTC."""
    return known_zone(limits.zone_name) or UTC


_STORED = RowReads(
    sa.select(_C.time_zone, _C.break_until_ms, *_L).select_from(
        schema.spend_controls.join(schema.spend_limits)
    ),
    _C.member_id,
)


async def read_limits(
    connection: AsyncConnection, member_ids: Sequence[str], now_ms: int
) -> dict[str, Limits]:
    """Limits as they are now, of those members who have any.

    In a write transaction they stay true until its end.
    """
    stored: dict[str, Limits] = {}
    for row in await _STORED.rows(connection, member_ids):
        _take(stored, row._mapping)
    if not stored:
        return {}
    held = await _held(connection, stored)
    last = await connection.scalar(sa.select(schema.head.c.last_transfer)) or 0
    return {
        member_id: limits.at(now_ms, zone_of(limits), held[member_id], last + 1)
        for member_id, limits in stored.items()
    }


def _take(stored: dict[str, Limits], row: sa.RowMapping) -> None:
    found = stored.get(row["member_id"])
    limits = {} if found is None else dict(found.limits)
    windows = {} if found is None else dict(found.windows)
    span = Span(row["span"])
    limits[span] = Limit(row["limit_units"], row["next_units"], row["next_at_ms"])
    if span is not Span.SESSION:
        windows[span] = Window(row["start_ms"], row["counted_units"], row["since_transfer"])
    stored[row["member_id"]] = Limits(row["time_zone"], limits, windows, row["break_until_ms"])


async def _held(connection: AsyncConnection, member_ids: Iterable[str]) -> dict[str, int]:
    names = {member_id: ledger.held_account(member_id) for member_id in member_ids}
    units = await read_units(connection, names.values())
    return {member_id: units.get(name, 0) for member_id, name in names.items()}


_COUNT = RowUpdates(
    {
        "b_member_id": sa.String(),
        "b_span": sa.String(),
        "b_start_ms": sa.BigInteger(),
        "b_before": sa.BigInteger(),
        "b_after": sa.BigInteger(),
        "b_since": sa.BigInteger(),
    },
    lambda given: (
        sa.update(schema.spend_limits)
        .where(
            _L.member_id == given["b_member_id"],
            _L.span == given["b_span"],
            # Unchanged since it was read, or nothing of this transaction takes effect.
            sa.or_(
                _L.start_ms < given["b_start_ms"],
                sa.and_(_L.start_ms == given["b_start_ms"], _L.counted_units == given["b_before"]),
            ),
        )
        .values(
            start_ms=given["b_start_ms"],
            counted_units=given["b_after"],
            since_transfer=given["b_since"],
        )
    ),
)


async def count(
    connection: AsyncConnection, before: Mapping[str, Limits], after: Mapping[str, Limits]
) -> None:
    """The guarded write of members' windows; GuardFailed when one is not as it was read."""
    rows = [
        {
            "b_member_id": member_id,
            "b_span": span.value,
            "b_start_ms": window.start_ms,
            "b_before": before[member_id].windows[span].counted_units,
            "b_after": window.counted_units,
            "b_since": window.since_transfer,
        }
        for member_id, limits in after.items()
        for span, window in limits.windows.items()
    ]
    if await _COUNT.run(connection, rows) != len(rows):
        raise GuardFailed("a spend window moved meanwhile")


async def begin(connection: AsyncConnection, member_id: str, zone_name: str, now_ms: int) -> Limits:
    """No limits yet: the windows of now, counted from the journal. Nothing is written."""
    zone = known_zone(zone_name) or UTC
    held = (await _held(connection, [member_id]))[member_id]
    windows = {}
    for span in WINDOWS:
        start_ms = window_start_ms(span, now_ms, zone)
        since = await _first_transfer(connection, member_id, start_ms)
        spent = await spent_since(connection, member_id, since)
        windows[span] = Window(start_ms, spent + held, since)
    return Limits(zone_name, {span: Limit() for span in Span}, windows)


async def _first_transfer(connection: AsyncConnection, member_id: str, from_ms: int) -> int:
    """The member's first transfer of a window, or the number that the next one gets."""
    table = schema.transfers
    query = sa.select(sa.func.min(table.c.transfer)).where(
        table.c.member_id == member_id, table.c.at_ms >= from_ms
    )
    first = await connection.scalar(query)
    if first is not None:
        return int(first)
    return int(await connection.scalar(sa.select(schema.head.c.last_transfer)) or 0) + 1


async def spent_since(connection: AsyncConnection, member_id: str, since_transfer: int) -> int:
    """What the journal says a member spent from a transfer on; what is held is not in it."""
    heads, lines = schema.transfers, schema.postings
    accounts = [
        ledger.paid_account(member_id),
        ledger.promo_account(member_id),
        ledger.held_account(member_id),
        *aside_accounts(member_id),
    ]
    change = sa.func.sum(lines.c.units)
    each = (
        sa.select(change.label("units"))
        .select_from(heads.join(lines))
        .where(
            heads.c.member_id == member_id,
            heads.c.transfer >= since_transfer,
            lines.c.account.in_(accounts),
        )
        .group_by(heads.c.transfer)
        .having(change < 0)
        .subquery()
    )
    total = await connection.scalar(sa.select(sa.func.coalesce(sa.func.sum(each.c.units), 0)))
    return -int(total or 0)


async def wrong_windows(connection: AsyncConnection) -> tuple[int, list[tuple[str, str, int, int]]]:
    """Every window against the journal: how many, and (member, span, counted, told) of liars."""
    query = sa.select(_L.member_id, _L.span, _L.counted_units, _L.since_transfer).where(
        _L.span != Span.SESSION.value
    )
    rows = (await connection.execute(query)).all()
    held = await _held(connection, {row.member_id for row in rows})
    wrong = []
    for member_id, span, counted, since in rows:
        told = await spent_since(connection, member_id, since) + held[member_id]
        if told != counted:
            wrong.append((member_id, span, counted, told))
    return len(rows), wrong


async def insert(connection: AsyncConnection, member_id: str, limits: Limits, now_ms: int) -> None:
    """A member's first rows."""
    control = {
        "member_id": member_id,
        "time_zone": limits.zone_name,
        "break_until_ms": limits.break_until_ms,
        "updated_at_ms": now_ms,
    }
    await insert_rows(connection, schema.spend_controls, [control])
    none = Window(0, 0, 0)
    rows = []
    for span, limit in limits.limits.items():
        window = limits.windows.get(span, none)
        rows.append(
            {
                "member_id": member_id,
                "span": span.value,
                "limit_units": limit.units,
                "next_units": limit.next_units,
                "next_at_ms": limit.next_at_ms,
                "start_ms": window.start_ms,
                "counted_units": window.counted_units,
                "since_transfer": window.since_transfer,
            }
        )
    await insert_rows(connection, schema.spend_limits, rows)


async def remove(connection: AsyncConnection, member_id: str) -> None:
    """Forget a member's rows, to begin them anew in another zone."""
    limits, controls = schema.spend_limits, schema.spend_controls
    await connection.execute(sa.delete(limits).where(_L.member_id == member_id))
    await connection.execute(sa.delete(controls).where(_C.member_id == member_id))


async def change(connection: AsyncConnection, member_id: str, limits: Limits, now_ms: int) -> None:
    """Write what the member decided; the counts stay as they are."""
    await connection.execute(
        sa.update(schema.spend_controls)
        .where(_C.member_id == member_id)
        .values(
            time_zone=limits.zone_name,
            break_until_ms=limits.break_until_ms,
            updated_at_ms=now_ms,
        )
    )
    for span, limit in limits.limits.items():
        await connection.execute(
            sa.update(schema.spend_limits)
            .where(_L.member_id == member_id, _L.span == span.value)
            .values(
                limit_units=limit.units,
                next_units=limit.next_units,
                next_at_ms=limit.next_at_ms,
            )
        )
