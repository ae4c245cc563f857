"""What an expert's account holds, and how much of it may still be asked back: read, never stored.

An earning is pending while a refund of it can be asked for or is not decided yet; then it is
available. Nothing moves at that moment: the state follows from the rows that cause it, so no
crash, missed timer or repeated step can put it wrong.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from billing_meter import ledger, schema
from billing_meter.payout_rules import PAYOUT_KINDS, Earned
from billing_meter.refunds import SESSION_REFUND
from billing_meter.sessions import REFUND_WINDOW_MS
from billing_meter.till_store import SESSION_CHARGE, SESSION_HOLD

REVERSAL: Final = "reversal"
_X, _L, _S = schema.transfers, schema.postings, schema.sessions.c


async def read_earned(connection: AsyncConnection, expert_id: str, now_ms: int) -> Earned:
    """The account as it is; in a write transaction it stays true until its end."""
    payable, held = ledger.payable_account(expert_id), ledger.payout_account(expert_id)
    table = schema.accounts.c
    rows = await connection.execute(
        sa.select(table.account, table.units).where(table.account.in_([payable, held]))
    )
    units = {account: units for account, units in rows}
    pending_units = await _pending(connection, expert_id, now_ms) if payable in units else 0
    return Earned(units.get(payable, 0), pending_units, units.get(held, 0))


def pending_sessions(expert_id: str, now_ms: int) -> sa.ColumnElement[bool]:
    """The condition on sessions whose earnings may still be asked back.

    They run, or ended less than 24 hours ago, or a refund is asked for and not decided.
    """
    refunds = schema.refunds.c
    undecided = sa.select(refunds.session_id).where(
        refunds.state == "requested", refunds.expert_id == expert_id
    )
    return sa.and_(
        _S.expert_id == expert_id,
        sa.or_(
            _S.ended_at_ms.is_(None),
            _S.ended_at_ms > now_ms - REFUND_WINDOW_MS,
            _S.session_id.in_(undecided),
        ),
    )


async def _pending(connection: AsyncConnection, expert_id: str, now_ms: int) -> int:
    """Pending units, less what was taken back of them already."""
    sessions = pending_sessions(expert_id, now_ms)
    since_ms = now_ms - REFUND_WINDOW_MS
    queries = (
        sa.select(sa.func.sum(_S.expert_units)).where(sessions),
        _refunded(expert_id, sessions),
        _reversed(expert_id, sessions, since_ms),
        _payable_of(expert_id).where(_X.c.expert_id == expert_id, _X.c.at_ms > since_ms, at_once()),
    )
    return sum([int(await connection.scalar(query) or 0) for query in queries])


def _payable_of(expert_id: str) -> sa.Select[tuple[int]]:
    """What transfers did to what is payable; each caller names them by what an index has."""
    mine = _L.c.account == ledger.payable_account(expert_id)
    return sa.select(sa.func.sum(_L.c.units)).select_from(_X.join(_L)).where(mine)


def _refunded(expert_id: str, sessions: sa.ColumnElement[bool]) -> sa.Select[tuple[int]]:
    """What refunds took back of these sessions; a refund is found by its key."""
    ids = sa.select(_S.session_id).where(sessions).subquery()
    return _payable_of(expert_id).where(_X.c.key.in_(sa.select("refund:" + ids.c.session_id)))


def _reversed(
    expert_id: str, sessions: sa.ColumnElement[bool], since_ms: int
) -> sa.Select[tuple[int]]:
    """What reversals took back of these sessions and of debits since then."""
    ids = sa.select(_S.session_id).where(sessions).subquery()
    original = schema.transfers.alias("original")
    of_sessions = original.c.subject.in_(sa.select("session:" + ids.c.session_id))
    pending = sa.case(
        (original.c.kind == SESSION_CHARGE, of_sessions), else_=original.c.at_ms > since_ms
    )
    found = sa.select(original.c.transfer).where(original.c.transfer == _X.c.reverses, pending)
    # Not `IS NOT NULL`: SQLite answers a comparison by the index, and few transfers are reversals.
    return _payable_of(expert_id).where(_X.c.reverses > 0, found.exists())


def at_once() -> sa.ColumnElement[bool]:
    """The condition on transfers that an expert earned by outside a session: tips, messages."""
    others = (SESSION_CHARGE, SESSION_HOLD, SESSION_REFUND, REVERSAL, *sorted(PAYOUT_KINDS))
    return sa.and_(_X.c.outcome == "posted", _X.c.kind.not_in(others))
