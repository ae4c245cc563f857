"""Refunds of private sessions: asked for within a day, decided by staff, given back once.

A refund is one new transfer and changes no old one: the member gets back what was taken last first
(bought credits before given ones), the expert's account gives back what the share of the rest does
not leave it, which may make it negative after a payout, and the platform gives the remainder.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from billing_meter import ledger, notices, schema, shares
from billing_meter.ledger import Draw, Entry, Posted
from billing_meter.ledger_store import LedgerStore, LedgerTransaction
from billing_meter.sessions import REFUND_WINDOW_MS
from billing_meter.till_store import SESSION_CHARGE
from billing_meter.wallet import pay_debt

SESSION_REFUND: Final = "session_refund"
COMPLAINT_CHARS_MAX: Final = 1_000

RefundState = Literal["requested", "approved", "denied"]
RefusalCode = Literal[
    "no_session",
    "not_ended",
    "nothing_charged",
    "window_closed",
    "already_requested",
    "no_refund",
    "already_decided",
    "exceeds_charge",
]


@dataclass(frozen=True, slots=True)
class Refund:
    """A request as it stands; `granted_units` is 0 unless it was approved."""

    session_id: str
    member_id: str
    expert_id: str
    state: RefundState
    charged_units: int
    granted_units: int
    complaint: str
    requested_at_ms: int
    decided_at_ms: int | None
    decided_by: str | None


@dataclass(frozen=True, slots=True)
class Past:
    """A member's requests so far, whatever became of them."""

    requested: int
    approved: int
    granted_units: int


@dataclass(frozen=True, slots=True)
class RefundRefused:
    """Nothing changed."""

    code: RefusalCode


class Refunds:
    """Requests and decisions; each of them takes effect once."""

    def __init__(self, store: LedgerStore) -> None:
        self._store = store

    async def request(
        self, session_id: str, member_id: str, complaint: str
    ) -> Refund | RefundRefused:
        """A member asks for a session of theirs, while now < its end + 24 h.

        ValueError for an empty or too long complaint. Strangers learn nothing of a session.
        """
        if not 1 <= len(complaint.strip()) <= COMPLAINT_CHARS_MAX:
            raise ValueError(f"a complaint has 1 to {COMPLAINT_CHARS_MAX} characters")
        try:
            async with self._store.transaction() as transaction:
                return await _request(transaction, session_id, member_id, complaint.strip())
        except IntegrityError:  # lost a race against itself
            return RefundRefused("already_requested")

    async def approve(self, session_id: str, units: int, decided_by: str) -> Refund | RefundRefused:
        """Give `units` back, all or a part of what the session cost. ValueError below 1."""
        if units < 1:
            raise ValueError("an approved refund gives something back")
        async with self._store.transaction() as transaction:
            decided = await _decide(transaction, session_id, "approved", units, decided_by)
            if isinstance(decided, Refund):
                await notices.queue_refund_decided(
                    transaction.connection, decided, transaction.at_ms
                )
                entry = await _refund_entry(transaction.connection, decided)
                first = await transaction.write([entry])
                if entry.draw.paid:  # as a purchase would: nobody spends what they owe
                    came = Posted(first, entry.draw.paid, entry.draw)
                    await pay_debt(transaction, decided.member_id, came, f"refund:{session_id}")
            return decided

    async def deny(self, session_id: str, decided_by: str) -> Refund | RefundRefused:
        """Give nothing back, for good."""
        async with self._store.transaction() as transaction:
            decided = await _decide(transaction, session_id, "denied", 0, decided_by)
            if isinstance(decided, Refund):
                await notices.queue_refund_decided(
                    transaction.connection, decided, transaction.at_ms
                )
            return decided

    async def of_state(self, state: RefundState, *, limit: int) -> Sequence[Refund]:
        """The oldest requests first."""
        table = schema.refunds
        query = sa.select(table).where(table.c.state == state)
        query = query.order_by(table.c.requested_at_ms, table.c.session_id).limit(limit)
        async with self._store.database.read() as connection:
            return [_refund(row) for row in (await connection.execute(query)).mappings()]

    async def decided(self, *, limit: int) -> Sequence[Refund]:
        """What was approved and denied, the newest decision first."""
        table = schema.refunds
        query = sa.select(table).where(table.c.decided_at_ms.is_not(None))
        query = query.order_by(table.c.decided_at_ms.desc(), table.c.session_id).limit(limit)
        async with self._store.database.read() as connection:
            return [_refund(row) for row in (await connection.execute(query)).mappings()]

    async def decided_since(self, at_ms: int) -> Sequence[Refund]:
        """What was decided at `at_ms` or later."""
        table = schema.refunds
        query = sa.select(table).where(table.c.decided_at_ms >= at_ms)
        async with self._store.database.read() as connection:
            return [_refund(row) for row in (await connection.execute(query)).mappings()]

    async def of_sessions(self, session_ids: Collection[str]) -> Mapping[str, Refund]:
        """The requests for several sessions, by session."""
        table = schema.refunds
        query = sa.select(table).where(table.c.session_id.in_(set(session_ids)))
        async with self._store.database.read() as connection:
            rows = (await connection.execute(query)).mappings()
            return {row["session_id"]: _refund(row) for row in rows}

    async def past(self, member_ids: Collection[str]) -> Mapping[str, Past]:
        """What these members asked for in all, for whoever decides."""
        table = schema.refunds
        query = (
            sa.select(
                table.c.member_id,
                sa.func.count(),
                sa.func.count(sa.case((table.c.state == "approved", 1))),
                sa.func.sum(table.c.granted_units),
            )
            .where(table.c.member_id.in_(set(member_ids)))
            .group_by(table.c.member_id)
        )
        async with self._store.database.read() as connection:
            rows = (await connection.execute(query)).all()
        return {row[0]: Past(row[1], row[2], int(row[3])) for row in rows}

    async def of_session(self, session_id: str) -> Refund | None:
        """The request for one session, if there is one."""
        async with self._store.database.read() as connection:
            return await _stored(connection, session_id)


async def _request(
    transaction: LedgerTransaction, session_id: str, member_id: str, complaint: str
) -> Refund | RefundRefused:
    connection, now_ms, table = transaction.connection, transaction.at_ms, schema.sessions
    query = sa.select(table).where(table.c.session_id == session_id, table.c.member_id == member_id)
    session = (await connection.execute(query)).mappings().one_or_none()
    if session is None:
        return RefundRefused("no_session")
    if session["state"] == "open" or session["ended_at_ms"] is None:
        return RefundRefused("not_ended")
    if await _stored(connection, session_id) is not None:
        return RefundRefused("already_requested")
    if not session["charged_units"]:
        return RefundRefused("nothing_charged")
    if now_ms >= session["ended_at_ms"] + REFUND_WINDOW_MS:
        return RefundRefused("window_closed")
    refund = Refund(
        session_id=session_id,
        member_id=member_id,
        expert_id=session["expert_id"],
        state="requested",
        charged_units=session["charged_units"],
        granted_units=0,
        complaint=complaint,
        requested_at_ms=now_ms,
        decided_at_ms=None,
        decided_by=None,
    )
    row = {name: getattr(refund, name) for name in Refund.__slots__}
    await connection.execute(sa.insert(schema.refunds), [row])
    return refund


async def _decide(
    transaction: LedgerTransaction,
    session_id: str,
    state: RefundState,
    units: int,
    decided_by: str,
) -> Refund | RefundRefused:
    """One guarded step out of `requested`: of two who decide at once, one is told no."""
    table = schema.refunds
    result = await transaction.connection.execute(
        sa.update(table)
        .where(
            table.c.session_id == session_id,
            table.c.state == "requested",
            table.c.charged_units >= units,
        )
        .values(
            state=state,
            granted_units=units,
            decided_at_ms=transaction.at_ms,
            decided_by=decided_by,
        )
    )
    stored = await _stored(transaction.connection, session_id)
    if stored is None:
        return RefundRefused("no_refund")
    if result.rowcount == 1:
        return stored
    return RefundRefused("exceeds_charge" if stored.state == "requested" else "already_decided")


async def _refund_entry(connection: AsyncConnection, refund: Refund) -> Entry:
    """The transfer that gives back what was granted."""
    table, sessions = schema.transfers, schema.sessions
    promo, paid = (
        await connection.execute(
            sa.select(
                sa.func.coalesce(sa.func.sum(table.c.promo_units), 0),
                sa.func.coalesce(sa.func.sum(table.c.paid_units), 0),
            ).where(
                table.c.member_id == refund.member_id,
                table.c.kind == SESSION_CHARGE,
                table.c.subject == f"session:{refund.session_id}",
            )
        )
    ).one()
    query = sa.select(sessions).where(sessions.c.session_id == refund.session_id)
    session = (await connection.execute(query)).mappings().one()
    back = ledger.unwind(refund.granted_units, Draw(int(promo), int(paid)))
    from_expert = shares.taken_back(session, refund.granted_units)
    parts = ledger.member_parts(refund.member_id, back)
    parts += ledger.earned_parts(refund.expert_id, -refund.granted_units, -from_expert)
    return Entry(
        key=f"refund:{refund.session_id}",
        request_hash=ledger.request_hash(SESSION_REFUND, {"units": refund.granted_units}),
        kind=SESSION_REFUND,
        postings=ledger.postings_of(*parts),
        units=refund.granted_units,
        draw=back,
        member_id=refund.member_id,
        expert_id=refund.expert_id,
        subject=f"refund:{refund.session_id}",
    )


async def _stored(connection: AsyncConnection, session_id: str) -> Refund | None:
    query = sa.select(schema.refunds).where(schema.refunds.c.session_id == session_id)
    row = (await connection.execute(query)).mappings().one_or_none()
    return None if row is None else _refund(row)


def _refund(row: sa.RowMapping) -> Refund:
    values: dict[str, Any] = dict(row)
    return Refund(**values)
