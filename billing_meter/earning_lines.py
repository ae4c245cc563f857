"""What an expert earned, one by one: a session by what it was charged for, and each debit.

A private session is one line, however many transfers it took, and one more for each surcharge.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from billing_meter import earned_rows, ledger, schema, shares
from billing_meter.features import REPLY, REPLY_KEY, Feature
from billing_meter.sessions import REFUND_WINDOW_MS
from billing_meter.tariff import Component

LineState = Literal["running", "pending", "in_question", "final"]
_X, _L, _S, _R = schema.transfers, schema.postings, schema.sessions, schema.refunds
_P, _G, _B = schema.purchases.c, schema.groups.c, schema.pledges.c
_NAMES = (
    *(f"{c}_s" for c in Component),
    *(f"{c}_units_per_s" for c in Component),
    *shares.SESSION_COLUMNS,
    "charged_units",
    "posted_units",
    "expert_units",
)
PARTS_OF_SESSION = tuple(_S.c[name] for name in _NAMES)
"""What tells the parts of a session."""


@dataclass(frozen=True, slots=True)
class EarningLine:
    """One debit, or what one session was charged for. `final_at_ms` is when it can no longer be
    asked back, once known; `share_percent` the share that it was made with, where that is known."""

    at_ms: int
    feature: str
    reference: str
    seconds: int | None
    charged_units: int
    share_percent: int | None
    earned_units: int
    taken_back_units: int
    state: LineState
    final_at_ms: int | None


def feature_of(kind: str) -> str:
    """What a transfer's earnings are counted under; a message and its answer are one feature."""
    source = shares.OF_KINDS.get(kind)
    return kind if source is None else source.value


async def of_sessions(
    connection: AsyncConnection,
    expert_id: str,
    from_ms: int,
    to_ms: int,
    now_ms: int,
    *,
    limit: int | None,
) -> list[EarningLine]:
    """Of sessions that ended (or run) in [from_ms, to_ms), the newest `limit` of them; without a
    limit those that are not final, which are few."""
    at_ms = sa.func.coalesce(_S.c.ended_at_ms, _S.c.marked_at_ms)
    back = _L.c.account == ledger.payable_account(expert_id)
    query = (
        sa.select(
            at_ms.label("at_ms"),
            _S.c.session_id,
            _S.c.ended_at_ms,
            *PARTS_OF_SESSION,
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
    )
    if limit is None:
        query = query.where(earned_rows.pending_sessions(expert_id, now_ms))
    else:
        query = query.limit(limit)
    rows = (await connection.execute(query)).mappings()
    return [line for row in rows for line in _of_session(row, now_ms)]


def _of_session(row: sa.RowMapping, now_ms: int) -> Iterator[EarningLine]:
    final_ms = None if row["ended_at_ms"] is None else row["ended_at_ms"] + REFUND_WINDOW_MS
    in_question = row["refund"] == "requested"
    state: LineState = "running" if final_ms is None else _state(final_ms, now_ms)
    charged, earned = shares.posted_of_row(row), shares.earned_of_row(row)
    taken_back = shares.split(-row["back"], earned)
    percents = shares.of_session_row(row)
    for n, component in enumerate(Component):
        if charged[n]:
            yield EarningLine(
                at_ms=row["at_ms"],
                feature=component.value,
                reference=row["session_id"],
                seconds=row[f"{component}_s"],
                charged_units=charged[n],
                share_percent=percents.of(component),
                earned_units=earned[n],
                taken_back_units=taken_back[n],
                state="in_question" if in_question else state,
                final_at_ms=None if in_question else final_ms,
            )


async def of_debits(
    connection: AsyncConnection, expert_id: str, from_ms: int, to_ms: int, now_ms: int, limit: int
) -> list[EarningLine]:
    """Of debits in [from_ms, to_ms), the newest of them."""
    rows = await connection.execute(_debits(expert_id, from_ms, to_ms).limit(limit))
    return [
        EarningLine(
            at_ms=row.at_ms,
            feature=feature_of(row.kind),
            reference=str(row.transfer),
            seconds=None,
            charged_units=row.units,
            share_percent=row.share_percent,
            earned_units=row.earned,
            taken_back_units=-int(row.back),
            state=_state(row.at_ms + REFUND_WINDOW_MS, now_ms),
            final_at_ms=row.at_ms + REFUND_WINDOW_MS,
        )
        for row in rows
    ]


def _debits(expert_id: str, from_ms: int, to_ms: int) -> sa.Select[Any]:
    payable = ledger.payable_account(expert_id)
    reversal, lost = schema.transfers.alias("reversal"), schema.postings.alias("lost")
    back = (
        sa.select(sa.func.sum(lost.c.units))
        .select_from(reversal.join(lost, lost.c.transfer == reversal.c.transfer))
        .where(reversal.c.reverses == _X.c.transfer, lost.c.account == payable)
        .scalar_subquery()
    )
    mine = sa.and_(_L.c.transfer == _X.c.transfer, _L.c.account == payable)
    return (
        sa.select(
            _X.c.transfer,
            _X.c.at_ms,
            _X.c.kind,
            _X.c.units,
            sa.func.coalesce(_L.c.units, 0).label("earned"),
            sa.func.coalesce(back, 0).label("back"),
            sa.func.coalesce(_share_of_purchase(), _share_of_group()).label("share_percent"),
        )
        .select_from(_X.outerjoin(_L, mine))
        .where(
            _X.c.expert_id == expert_id,
            _X.c.at_ms >= from_ms,
            _X.c.at_ms < to_ms,
            sa.or_(_X.c.units > 0, _X.c.kind == REPLY),
            earned_rows.at_once(),
        )
        .order_by(_X.c.at_ms.desc(), _X.c.transfer.desc())
    )


def _share_of_purchase() -> sa.ScalarSelect[Any]:
    """The share of a purchase; of a message it belongs to the answer, by which it is earned."""
    message = sa.cast(sa.func.substr(_X.c.key, len(REPLY_KEY) + 1), sa.BigInteger)
    query = sa.select(_P.share_percent).where(
        _P.transfer == sa.case((_X.c.kind == REPLY, message), else_=_X.c.transfer),
        sa.or_(_X.c.kind == REPLY, _P.feature != Feature.MESSAGE.value),
    )
    return query.correlate(_X).scalar_subquery()


def _share_of_group() -> sa.ScalarSelect[Any]:
    query = sa.select(_G.share_percent).select_from(
        schema.pledges.join(schema.groups, _G.group_id == _B.group_id)
    )
    query = query.where(_B.pledge_id == _X.c.hold_id, _B.transfer == _X.c.transfer)
    return query.correlate(_X).scalar_subquery()


def _state(final_ms: int, now_ms: int) -> LineState:
    return "final" if now_ms >= final_ms else "pending"
