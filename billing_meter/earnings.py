"""What experts earned, by day, week and month and by what; line by line in `earning_lines.py`.

A private session counts on the day on which it ended. What was taken back counts on the day on
which it was. What is pending counts where it was earned, less what was taken back of it already.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from billing_meter import earned_rows, earning_lines, ledger, schema, share_rows, shares
from billing_meter.database import Database
from billing_meter.earned_rows import REVERSAL, at_once
from billing_meter.earning_lines import PARTS_OF_SESSION, EarningLine, feature_of
from billing_meter.earning_periods import DAY_MS, Period, day_of, last_of, start_of
from billing_meter.features import REPLY
from billing_meter.refunds import SESSION_REFUND
from billing_meter.sessions import REFUND_WINDOW_MS
from billing_meter.shares import Shares
from billing_meter.tariff import Component
from billing_meter.till_store import SESSION_CHARGE

_X, _L, _S = schema.transfers, schema.postings, schema.sessions
_ORIGINAL = schema.transfers.alias("original")


@dataclass(slots=True)
class Part:
    """What one feature brought: paid by members, earned of that, taken back of the earnings; how
    much of what was earned then may still be asked back."""

    feature: str
    charged_units: int = 0
    earned_units: int = 0
    taken_back_units: int = 0
    pending_units: int = 0


@dataclass(frozen=True, slots=True)
class Span:
    """A day, week or month in which something was earned or taken back."""

    first: date
    last: date
    parts: tuple[Part, ...]


async def shares_of(database: Database, expert_id: str) -> Shares | None:
    """What an expert earns from now on; what began or was bought before keeps its own."""
    async with database.read() as connection:
        return (await share_rows.read(connection, [expert_id])).get(expert_id)


async def lines(
    database: Database, expert_id: str, from_ms: int, to_ms: int, now_ms: int, *, limit: int
) -> list[EarningLine]:
    """What was earned in [from_ms, to_ms), the newest first; a session's lines in their order."""
    days = (expert_id, from_ms, to_ms, now_ms)
    async with database.read() as connection:
        found = await earning_lines.of_sessions(connection, *days, limit=limit)
        found += await earning_lines.of_debits(connection, *days, limit)
    found.sort(key=lambda line: (line.at_ms, line.reference), reverse=True)
    return found[:limit]


async def spans(
    database: Database, expert_id: str, from_ms: int, to_ms: int, period: Period, now_ms: int
) -> list[Span]:
    """What was earned in [from_ms, to_ms), the newest period first; empty ones are left out."""
    days = (expert_id, from_ms, to_ms)
    async with database.read() as connection:
        parts = [
            *await _sessions(connection, *days),
            *await _debits(connection, *days),
            *await _taken_back_of_sessions(connection, *days),
            *await _pending_debits(connection, *days, now_ms),
        ]
        running = await earning_lines.of_sessions(connection, *days, now_ms, limit=None)
    parts += [
        (line.at_ms // DAY_MS, Part(line.feature, pending_units=_standing(line)))
        for line in running
        if line.state != "final"
    ]
    return _by_period(parts, period)


Found = tuple[int, Part]
"""The day, counted from 1970, and what is to be added to it."""


def _standing(line: EarningLine) -> int:
    return line.earned_units - line.taken_back_units


def _by_period(parts: Iterable[Found], period: Period) -> list[Span]:
    found: dict[date, dict[str, Part]] = {}
    for day, part in parts:
        of_span = found.setdefault(start_of(period, day_of(day * DAY_MS)), {})
        total = of_span.setdefault(part.feature, Part(part.feature))
        total.charged_units += part.charged_units
        total.earned_units += part.earned_units
        total.taken_back_units += part.taken_back_units
        total.pending_units += part.pending_units
    return [
        Span(
            first,
            last_of(period, first),
            tuple(of_span[name] for name in sorted(of_span, key=_place)),
        )
        for first, of_span in sorted(found.items(), reverse=True)
    ]


def _place(feature: str) -> tuple[bool, str]:
    """Features as they are listed everywhere, others after them."""
    known = [source.value for source in shares.Source]
    return (False, f"{known.index(feature):02}") if feature in known else (True, feature)


async def _sessions(
    connection: AsyncConnection, expert_id: str, from_ms: int, to_ms: int
) -> list[Found]:
    """Sessions by the day on which they ended; their rows have what their transfers moved.

    The parts are those of `shares.earned_of_row`, made and added up by the database.
    """
    column = _S.c
    at_ms = sa.func.coalesce(column.ended_at_ms, column.marked_at_ms)
    day = (at_ms // DAY_MS).label("day")
    cam2cam, audio = (column[f"{c}_s"] * column[f"{c}_units_per_s"] for c in list(Component)[1:])
    by_audio = audio * column.two_way_audio_share_percent
    both = cam2cam * column.cam2cam_share_percent + by_audio
    query = (
        sa.select(
            day,
            *(sa.func.sum(n) for n in (column.posted_units, cam2cam, audio)),
            *(sa.func.sum(n) for n in (column.expert_units, both // 100, by_audio // 100)),
        )
        .where(column.expert_id == expert_id, at_ms >= from_ms, at_ms < to_ms)
        .where(column.posted_units > 0)
        .group_by(day)
    )
    found = []
    for at_day, *sums in await connection.execute(query):
        posted, cam2cam_units, audio_units, earned, by_both, by_one = map(int, sums)
        charged = (posted - cam2cam_units - audio_units, cam2cam_units, audio_units)
        earned_by = (earned - by_both, by_both - by_one, by_one)
        found += [
            (at_day, Part(component.value, *pair))
            for component, *pair in zip(Component, charged, earned_by, strict=True)
            if any(pair)
        ]
    return found


async def _debits(
    connection: AsyncConnection, expert_id: str, from_ms: int, to_ms: int
) -> Iterator[Found]:
    """Debits, and what was taken back of them, by the day of the transfer."""
    day = (_X.c.at_ms // DAY_MS).label("day")
    reversed_debit = sa.and_(_X.c.kind == REVERSAL, _ORIGINAL.c.kind != SESSION_CHARGE)
    query = (
        sa.select(
            day,
            _X.c.kind,
            _ORIGINAL.c.kind.label("original"),
            sa.func.sum(_X.c.units).label("charged"),
            sa.func.coalesce(sa.func.sum(_L.c.units), 0).label("earned"),
        )
        .select_from(
            _X.outerjoin(_L, _payable_line(expert_id)).outerjoin(
                _ORIGINAL, _ORIGINAL.c.transfer == _X.c.reverses
            )
        )
        .where(
            *_within(expert_id, from_ms, to_ms),
            sa.or_(_X.c.units > 0, _X.c.kind == REPLY, _X.c.reverses > 0),
            sa.or_(at_once(), reversed_debit),
        )
        .group_by(day, _X.c.kind, _ORIGINAL.c.kind)
    )
    return (
        (
            row.day,
            Part(feature_of(row.original), taken_back_units=-int(row.earned))
            if row.kind == REVERSAL
            else Part(feature_of(row.kind), int(row.charged), int(row.earned)),
        )
        for row in await connection.execute(query)
    )


def _payable_line(expert_id: str) -> sa.ColumnElement[bool]:
    return sa.and_(
        _L.c.transfer == _X.c.transfer, _L.c.account == ledger.payable_account(expert_id)
    )


def _within(expert_id: str, from_ms: int, to_ms: int) -> tuple[sa.ColumnElement[bool], ...]:
    column = _X.c
    days = (column.at_ms >= from_ms, column.at_ms < to_ms)
    return (column.expert_id == expert_id, *days, column.outcome == "posted")


async def _taken_back_of_sessions(
    connection: AsyncConnection, expert_id: str, from_ms: int, to_ms: int
) -> list[Found]:
    """What refunds took back of sessions, by the day of the refund, split as it was earned."""
    found: list[Found] = []
    refunded = _S.c.session_id == sa.func.substr(_X.c.key, len("refund:") + 1)
    reversed_charge = _S.c.session_id == sa.func.substr(_ORIGINAL.c.subject, len("session:") + 1)
    by_refund = _X.join(_S, refunded)
    original = sa.and_(_ORIGINAL.c.transfer == _X.c.reverses, _ORIGINAL.c.kind == SESSION_CHARGE)
    by_reversal = _X.join(_ORIGINAL, original).join(_S, reversed_charge)
    for kind, source in ((SESSION_REFUND, by_refund), (REVERSAL, by_reversal)):
        query = (
            sa.select((_X.c.at_ms // DAY_MS).label("day"), _L.c.units.label("back"))
            .add_columns(*PARTS_OF_SESSION)
            .select_from(source.join(_L, _payable_line(expert_id)))
            .where(*_within(expert_id, from_ms, to_ms), _X.c.kind == kind)
        )
        for row in (await connection.execute(query)).mappings():
            taken = shares.split(-row["back"], shares.earned_of_row(row))
            found += [
                (row["day"], Part(component.value, taken_back_units=units))
                for component, units in zip(Component, taken, strict=True)
                if units
            ]
    return found


async def _pending_debits(
    connection: AsyncConnection, expert_id: str, from_ms: int, to_ms: int, now_ms: int
) -> Iterator[Found]:
    """What may still be asked back of debits, by their day, less what was taken back of it."""
    since_ms = max(from_ms, now_ms - REFUND_WINDOW_MS + 1)
    day, first_day = _X.c.at_ms // DAY_MS, _ORIGINAL.c.at_ms // DAY_MS
    earned = (
        sa.select(day, _X.c.kind, sa.func.sum(_L.c.units))
        .select_from(_X.join(_L, _payable_line(expert_id)))
        .where(*_within(expert_id, since_ms, to_ms), earned_rows.at_once())
        .group_by(day, _X.c.kind)
    )
    back = (
        sa.select(first_day, _ORIGINAL.c.kind, sa.func.sum(_L.c.units))
        .select_from(
            _X.join(_L, _payable_line(expert_id)).join(
                _ORIGINAL, _ORIGINAL.c.transfer == _X.c.reverses
            )
        )
        .where(
            _X.c.expert_id == expert_id,
            _X.c.reverses > 0,  # as in `earned_rows`: answered by the index of the few
            _ORIGINAL.c.kind != SESSION_CHARGE,
            _ORIGINAL.c.at_ms >= since_ms,
            _ORIGINAL.c.at_ms < to_ms,
        )
        .group_by(first_day, _ORIGINAL.c.kind)
    )
    rows = [*await connection.execute(earned), *await connection.execute(back)]
    return ((row[0], Part(feature_of(row[1]), pending_units=int(row[2]))) for row in rows)
