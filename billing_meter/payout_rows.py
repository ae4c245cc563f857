"""Payouts as rows: read, listed, and moved one guarded step at a time with their transfer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from billing_meter import ledger, notices, payout_rules, schema
from billing_meter.ledger_rows import GuardFailed, insert_missing, open_account
from billing_meter.ledger_store import LedgerTransaction
from billing_meter.payout_rules import OPEN, Destination, Payout, PayoutState

_T = schema.payouts.c


async def insert(
    transaction: LedgerTransaction, payout: Payout, key: str, digest: str, pending_units: int
) -> None:
    """Write a new payout and hold its units. GuardFailed unless `payable` has them and, beside
    them, all that is pending; IntegrityError when the expert has one open already."""
    connection = transaction.connection
    row = {name: getattr(payout, name) for name in Payout.__slots__}
    row |= {"key": key, "request_hash": digest, "state": payout.state.value}
    await connection.execute(sa.insert(schema.payouts), [row])
    accounts = schema.accounts
    payable = ledger.payable_account(payout.expert_id)
    covered = await connection.execute(
        sa.update(accounts)
        .where(accounts.c.account == payable, accounts.c.units >= payout.units + pending_units)
        .values(units=accounts.c.units)  # the move itself may go below zero: this must not
    )
    if covered.rowcount != 1:
        raise GuardFailed("a payout would take what is not available")
    held = ledger.payout_account(payout.expert_id)
    await open_account(connection, held, payout.expert_id, may_be_negative=False)
    await transaction.write([payout_rules.hold_entry(payout)])


async def step(
    transaction: LedgerTransaction,
    payout_id: str,
    state: PayoutState,
    values: Mapping[str, Any],
    *conditions: sa.ColumnElement[bool],
) -> Payout | None:
    """Move a payout into a state from one that leads there, with what the ledger makes of it.

    None when it is in another state or a condition fails: of two who try, one does.
    """
    allowed = sorted(start.value for start in payout_rules.before(state))
    moved = await transaction.connection.execute(
        sa.update(schema.payouts)
        .where(_T.payout_id == payout_id, _T.state.in_(allowed), *conditions)
        .values(state=state.value, **values)
    )
    if moved.rowcount != 1:
        return None
    payout = await find(transaction.connection, payout_id)
    assert payout is not None
    entry = payout_rules.step_entry(payout)
    if entry is not None:
        await transaction.write([entry])
    if state in payout_rules.TOLD:
        await notices.queue_payout(transaction.connection, payout, transaction.at_ms)
    return payout


async def keep_reference(connection: AsyncConnection, payout_id: str, reference: str) -> None:
    """The provider's own name for a payout that is on its way."""
    await connection.execute(
        sa.update(schema.payouts)
        .where(_T.payout_id == payout_id, _T.state == PayoutState.APPROVED.value)
        .values(reference=reference)
    )


async def find(connection: AsyncConnection, payout_id: str) -> Payout | None:
    """One payout."""
    found = await _payouts(connection, sa.select(schema.payouts).where(_T.payout_id == payout_id))
    return found[0] if found else None


async def find_by_key(connection: AsyncConnection, key: str) -> tuple[Payout, str] | None:
    """The payout that a key made, and the hash of its request."""
    query = sa.select(schema.payouts).where(_T.key == key)
    row = (await connection.execute(query)).mappings().one_or_none()
    return None if row is None else (_payout(row), str(row["request_hash"]))


async def open_of(connection: AsyncConnection, expert_id: str) -> Payout | None:
    """The payout that an expert has under way."""
    query = sa.select(schema.payouts).where(_T.expert_id == expert_id, _T.closed_at_ms.is_(None))
    found = await _payouts(connection, query)
    return found[0] if found else None


async def of_expert(connection: AsyncConnection, expert_id: str, limit: int) -> Sequence[Payout]:
    """An expert's payouts, the newest first."""
    query = sa.select(schema.payouts).where(_T.expert_id == expert_id)
    query = query.order_by(_T.requested_at_ms.desc(), _T.payout_id).limit(limit)
    return await _payouts(connection, query)


async def of_states(
    connection: AsyncConnection, states: Sequence[PayoutState], limit: int
) -> Sequence[Payout]:
    """Payouts in some states: the oldest first while they wait, else the newest first."""
    query = sa.select(schema.payouts).where(_T.state.in_([state.value for state in states]))
    order = _T.requested_at_ms if set(states) <= OPEN else _T.requested_at_ms.desc()
    return await _payouts(connection, query.order_by(order, _T.payout_id).limit(limit))


async def with_provider(connection: AsyncConnection, channel: str) -> Sequence[Payout]:
    """Approved payouts that a provider is to send, or was asked to."""
    query = sa.select(schema.payouts).where(
        _T.state == PayoutState.APPROVED.value, _T.channel == channel
    )
    return await _payouts(connection, query.order_by(_T.decided_at_ms, _T.payout_id))


async def destination(connection: AsyncConnection, expert_id: str) -> Destination | None:
    """Where an expert is paid to."""
    table = schema.payout_destinations.c
    query = sa.select(table.holder, table.iban).where(table.expert_id == expert_id)
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else Destination(row.holder, row.iban)


async def set_destination(
    connection: AsyncConnection, expert_id: str, chosen: Destination, at_ms: int
) -> None:
    """Where the expert's next payout goes; one that is under way keeps its own."""
    table = schema.payout_destinations
    values = {"holder": chosen.holder, "iban": chosen.iban, "updated_at_ms": at_ms}
    row = {"expert_id": expert_id} | values
    if not await insert_missing(connection, table, "expert_id", row):
        await connection.execute(
            sa.update(table).where(table.c.expert_id == expert_id).values(**values)
        )


async def _payouts(connection: AsyncConnection, query: sa.Select[Any]) -> list[Payout]:
    return [_payout(row) for row in (await connection.execute(query)).mappings()]


def _payout(row: sa.RowMapping) -> Payout:
    values = {name: row[name] for name in Payout.__slots__}
    return Payout(**values | {"state": PayoutState(row["state"])})
