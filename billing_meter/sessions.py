"""Stored private sessions, for summaries after a restart and for lists of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from billing_meter import marks_rows, schema, shares
from billing_meter.database import Database
from billing_meter.ledger_store import read_balances
from billing_meter.meter import Line, Summary
from billing_meter.tariff import Component

REFUND_WINDOW_MS = 24 * 60 * 60 * 1_000
"""A refund may be asked for while now < end + 24 h."""


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A session as stored; `summary` is up to its last durable mark while it is open."""

    member_id: str
    expert_id: str
    open: bool
    summary: Summary
    refund_until: datetime | None


def instant(at_ms: int | None) -> datetime | None:
    """UTC milliseconds as a datetime."""
    return None if at_ms is None else datetime.fromtimestamp(at_ms / 1_000, UTC)


async def session_record(database: Database, session_id: str) -> SessionRecord | None:
    """One session, or None."""
    table = schema.sessions
    async with database.read() as connection:
        query = (
            sa.select(table, marks_rows.RECORD)
            .select_from(marks_rows.WITH_MARKS)
            .where(table.c.session_id == session_id)
        )
        row = (await connection.execute(query)).mappings().one_or_none()
        if row is None:
            return None
        balances = await read_balances(connection, [row["member_id"]])
    return _record(marks_rows.Reader().row(row), balances[row["member_id"]].posted)


async def stored_summary(database: Database, session_id: str) -> Summary:
    """What one session came to; KeyError if there is none."""
    record = await session_record(database, session_id)
    if record is None:
        raise KeyError(session_id)
    return record.summary


async def session_records(
    database: Database, session_ids: Collection[str]
) -> Mapping[str, SessionRecord]:
    """Several sessions by id, unknown ones left out; `balance_units` is the balance now."""
    table = schema.sessions
    query = (
        sa.select(table, marks_rows.RECORD)
        .select_from(marks_rows.WITH_MARKS)
        .where(table.c.session_id.in_(set(session_ids)))
    )
    async with database.read() as connection:
        rows = (await connection.execute(query)).mappings().all()
        balances = await read_balances(connection, [row["member_id"] for row in rows])
    reader = marks_rows.Reader()
    return {
        row["session_id"]: _record(reader.row(row), balances[row["member_id"]].posted)
        for row in rows
    }


def _record(row: Mapping[str, Any], balance_units: int) -> SessionRecord:
    ended_ms = row["ended_at_ms"]
    summary = Summary(
        session_id=row["session_id"],
        held_ms=row["held_ms"],
        cost_units=row["charged_units"],
        lines=tuple(_line(row, component) for component in Component),
        balance_units=balance_units,
        earned_units=shares.of_session_row(row).earned(shares.units_of_row(row)),
        reason=row["reason"] or "",
        started_at=instant(row["started_at_ms"]),
        ended_at=instant(ended_ms or row["marked_at_ms"]) or datetime.now(UTC),
    )
    refund_until = None if ended_ms is None else instant(ended_ms + REFUND_WINDOW_MS)
    return SessionRecord(
        row["member_id"], row["expert_id"], row["state"] == "open", summary, refund_until
    )


def _line(row: Mapping[str, Any], component: Component) -> Line:
    seconds, rate = row[f"{component}_s"], row[f"{component}_units_per_s"]
    return Line(component, False, rate, seconds, seconds * rate)
