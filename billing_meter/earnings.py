"""What experts earned, by day, week and month and by what, and line by line.

A private session is one line, however many transfers it took, and counts on the day on which it
ended. What was taken back counts on the day on which it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any, Final, Literal

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from billing_meter import ledger, schema
from billing_meter.database import Database
from billing_meter.earned_rows import REVERSAL, at_once
from billing_meter.earning_periods import DAY_MS, Period, day_of, last_of, start_of
from billing_meter.features import REPLY, Feature
from billing_meter.refunds import SESSION_REFUND
from billing_meter.sessions import REFUND_WINDOW_MS
from billing_meter.till_store import SESSION_CHARGE

PRIVATE_SESSION: Final = "private_session"
"""The feature of sessions; others are the kind of their debit, such as `surprise`."""
LineState = Literal["running", "pending", "in_question", "final"]
_X, _L, _S, _R = schema.transfers, schema.postings, schema.sessions, schema.refunds


@dataclass(slots=True)
class Part:
    """What one feature brought: paid by members, earned of that, taken back of the earnings."""

    feature: str
    charged_units: int = 0
    earned_units: int = 0
    taken_back_units: int = 0


@dataclass(frozen=True, slots=True)
class Span:
    """A day, week or month in which something was earned or taken back."""

    first: date
    last: date
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class EarningLine:
    """One session or debit. `final_at_ms` is when it can no longer be asked back, once known."""

    at_ms: int
    feature: str
    reference: str
    seconds: int | None
    charged_units: int
    earned_units: int
    taken_back_units: int
    state: LineState
    final_at_ms: int | None


async def share_percent(database: Database, expert_id: str) -> int:
    """What an expert earns of each debit from now on; running sessions keep theirs."""
    table = schema.experts.c
    async with database.read() as connection:
        query = sa.select(table.share_percent).where(table.expert_id == expert_id)
        return int(await connection.scalar(query) or 0)


async def spans(
    database: Database, expert_id: str, from_ms: int, to_ms: int, period: Period
) -> list[Span]:
    """What was earned in [from_ms, to_ms), the newest period first; empty ones are left out."""
    async with database.read() as connection:
        rows = [
            *await connection.execute(_sessions_by_day(expert_id, from_ms, to_ms)),
            *await connection.execute(_others_by_day(expert_id, from_ms, to_ms)),
        ]
    found: dict[date, dict[str, Part]] = {}
    for row in rows:
        taken_back = row.kind in (SESSION_REFUND, REVERSAL)
        kind = row.original or (SESSION_CHARGE if row.kind == SESSION_REFUND else row.kind)
        feature = _feature(kind)
        parts = found.setdefault(start_of(period, day_of(row.day * DAY_MS)), {})
        part = parts.setdefault(feature, Part(feature))
        if taken_back:
            part.taken_back_units -= int(row.earned)
        else:
            part.charged_units += int(row.charged)
            part.earned_units += int(row.earned)
    return [
        Span(first, last_of(period, first), tuple(parts[name] for name in sorted(parts)))
        for first, parts in sorted(found.items(), reverse=True)
    ]


def _sessions_by_day(expert_id: str, from_ms: int, to_ms: int) -> sa.Select[Any]:
    """Sessions by the day on which they ended; their rows have what their transfers moved."""
    at_ms = sa.func.coalesce(_S.c.ended_at_ms, _S.c.marked_at_ms)
    day = (at_ms // DAY_MS).label("day")
    return (
        sa.select(
            day,
            sa.literal(SESSION_CHARGE).label("kind"),
            sa.null().label("original"),
            sa.func.sum(_S.c.posted_units).label("charged"),
            sa.func.sum(_S.c.expert_units).label("earned"),
        )
        .where(_S.c.expert_id == expert_id, at_ms >= from_ms, at_ms < to_ms, _S.c.posted_units > 0)
        .group_by(day)
    )


def _others_by_day(expert_id: str, from_ms: int, to_ms: int) -> sa.Select[Any]:
    """Debits, and what was taken back, by the day of the transfer."""
    day = (_X.c.at_ms // DAY_MS).label("day")
    original = schema.transfers.alias("original")
    mine = sa.and_(
        _L.c.transfer == _X.c.transfer, _L.c.account == ledger.payable_account(expert_id)
    )
    return (
        sa.select(
            day,
            _X.c.kind,
            original.c.kind.label("original"),
            sa.func.sum(_X.c.units).label("charged"),
            sa.func.coalesce(sa.func.sum(_L.c.units), 0).label("earned"),
        )
        .select_from(
            _X.outerjoin(_L, mine).outerjoin(original, original.c.transfer == _X.c.reverses)
        )
        .where(
            _X.c.expert_id == expert_id,
            _X.c.at_ms >= from_ms,
            _X.c.at_ms < to_ms,
            sa.or_(_X.c.units > 0, _X.c.kind == REPLY, _X.c.reverses > 0),
            sa.or_(at_once(), _X.c.kind.in_((SESSION_REFUND, REVERSAL))),
            _X.c.outcome == "posted",
        )
        .group_by(day, _X.c.kind, original.c.kind)
    )


async def lines(
    database: Database, expert_id: str, from_ms: int, to_ms: int, now_ms: int, *, limit: int
) -> list[EarningLine]:
    """Sessions that ended (or run) and debits in [from_ms, to_ms), the newest first."""
    async with database.read() as connection:
        found = await _session_lines(connection, expert_id, from_ms, to_ms, now_ms, limit)
        found += await _debit_lines(connection, expert_id, from_ms, to_ms, now_ms, limit)
    found.sort(key=lambda line: (line.at_ms, line.reference), reverse=True)
    return found[:limit]


async def _session_lines(
    connection: AsyncConnection, expert_id: str, from_ms: int, to_ms: int, now_ms: int, limit: int
) -> list[EarningLine]:
    at_ms = sa.func.coalesce(_S.c.ended_at_ms, _S.c.marked_at_ms)
    back = _L.c.account == ledger.payable_account(expert_id)
    query = (
        sa.select(
            at_ms.label("at_ms"),
            _S.c.session_id,
            _S.c.ended_at_ms,
            _S.c.private_s,
            _S.c.posted_units,
            _S.c.expert_units,
            _R.c.state.label("refund"),
            sa.func.coalesce(_L.c.units, 0).label("back"),
        )
        .select_from(
            _S.outerjoin(_R)
            .outerjoin(_X, _X.c.key == "refund:" + _S.c.session_id)
            .outerjoin(_L, sa.and_(_L.c.transfer == _X.c.transfer, back))
        )
        .where(_S.c.expert_id == expert_id, at_ms >= from_ms, at_ms < to_ms, _S.c.posted_units > 0)
        .order_by(at_ms.desc())
        .limit(limit)
    )
    found = []
    for row in await connection.execute(query):
        final_ms = None if row.ended_at_ms is None else row.ended_at_ms + REFUND_WINDOW_MS
        in_question = row.refund == "requested"
        state: LineState = "running" if final_ms is None else _state(final_ms, now_ms)
        found.append(
            EarningLine(
                at_ms=row.at_ms,
                feature=PRIVATE_SESSION,
                reference=row.session_id,
                seconds=row.private_s,
                charged_units=row.posted_units,
                earned_units=row.expert_units,
                taken_back_units=-row.back,
                state="in_question" if in_question else state,
                final_at_ms=None if in_question else final_ms,
            )
        )
    return found


async def _debit_lines(
    connection: AsyncConnection, expert_id: str, from_ms: int, to_ms: int, now_ms: int, limit: int
) -> list[EarningLine]:
    payable = ledger.payable_account(expert_id)
    reversal, lost = schema.transfers.alias("reversal"), schema.postings.alias("lost")
    back = (
        sa.select(sa.func.sum(lost.c.units))
        .select_from(reversal.join(lost, lost.c.transfer == reversal.c.transfer))
        .where(reversal.c.reverses == _X.c.transfer, lost.c.account == payable)
        .scalar_subquery()
    )
    mine = sa.and_(_L.c.transfer == _X.c.transfer, _L.c.account == payable)
    query = (
        sa.select(
            _X.c.transfer,
            _X.c.at_ms,
            _X.c.kind,
            _X.c.units,
            sa.func.coalesce(_L.c.units, 0).label("earned"),
            sa.func.coalesce(back, 0).label("back"),
        )
        .select_from(_X.outerjoin(_L, mine))
        .where(
            _X.c.expert_id == expert_id,
            _X.c.at_ms >= from_ms,
            _X.c.at_ms < to_ms,
            sa.or_(_X.c.units > 0, _X.c.kind == REPLY),
            at_once(),
        )
        .order_by(_X.c.at_ms.desc(), _X.c.transfer.desc())
        .limit(limit)
    )
    return [
        EarningLine(
            at_ms=row.at_ms,
            feature=_feature(row.kind),
            reference=str(row.transfer),
            seconds=None,
            charged_units=row.units,
            earned_units=row.earned,
            taken_back_units=-int(row.back),
            state=_state(row.at_ms + REFUND_WINDOW_MS, now_ms),
            final_at_ms=row.at_ms + REFUND_WINDOW_MS,
        )
        for row in await connection.execute(query)
    ]


def _state(final_ms: int, now_ms: int) -> LineState:
    return "final" if now_ms >= final_ms else "pending"


def _feature(kind: str) -> str:
    """What earnings are counted under; a message that was answered is one feature with it."""
    names = {SESSION_CHARGE: PRIVATE_SESSION, REPLY: Feature.MESSAGE.value}
    return names.get(kind, kind)
