"""A member's own ledger as a file: every line of the wallet, streamed page by page."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Sequence

import structlog
from aiohttp import web

from billing_meter.statements import StatementLine, transactions
from billing_meter.tariff import Component
from billing_meter.units import credits_text
from signaling.csv_text import Cell, csv_text
from signaling.routes_transactions import Sessions, before_of, session_of, sessions_of
from signaling.routing import Access, Call, Route
from signaling.services import take

log = structlog.get_logger(__name__)

PAGE_LINES = 500
"""Of one look into the ledger: what is in memory of a file, however long it is."""
LINES_MAX = 100_000
"""Of one file, the newest; more than a session an hour for ten years. `before` gives the rest."""
WRITE_TIMEOUT_S = 30.0
"""A reader that takes nothing for so long is gone."""
COLUMNS = (
    "time_utc",
    "kind",
    "expert",
    "seconds",
    "cam2cam_seconds",
    "two_way_audio_seconds",
    "credits",
    "balance_credits",
    "units",
    "balance_units",
    "reference",
)


async def export(call: Call) -> web.StreamResponse:
    """The lines of the wallet as CSV, newest first. Units are exact, credits are rounded."""
    before = before_of(call)
    take(call.services.limits.exports, call.account_id, "files")
    day = call.services.utc_now().date().isoformat()
    response = web.StreamResponse(
        headers={
            "Content-Type": "text/csv; charset=utf-8",
            "Content-Disposition": f'attachment; filename="parlour-{day}.csv"',
            "Cache-Control": "no-store",
        }
    )
    await response.prepare(call.request)
    try:
        await _write(response, [COLUMNS])
        async for lines in _pages(call, before):
            sessions = await sessions_of(call, lines)
            await _write(response, [_row(line, sessions) for line in lines])
        await response.write_eof()
    except (ConnectionError, TimeoutError):
        _break_off(call)
    except Exception:
        log.exception("ledger export failed")
        _break_off(call)
    return response


def _break_off(call: Call) -> None:
    """The head is sent: this is the only way left to say that the file is not all of it."""
    if call.request.transport is not None:
        call.request.transport.abort()


async def _pages(call: Call, before: int | None) -> AsyncIterator[Sequence[StatementLine]]:
    left = LINES_MAX
    while left > 0:
        limit = min(PAGE_LINES, left)
        lines = await transactions(
            call.services.database, call.account_id, before=before, limit=limit
        )
        if lines:
            yield lines
        if len(lines) < limit:
            return
        before, left = lines[-1].id, left - len(lines)


async def _write(response: web.StreamResponse, rows: Sequence[Sequence[Cell]]) -> None:
    async with asyncio.timeout(WRITE_TIMEOUT_S):
        await response.write(csv_text(rows).encode())


def _row(line: StatementLine, sessions: Sessions) -> list[Cell]:
    session = sessions.private_line(session_of(line))
    seconds = {one.component: one.seconds for one in session.lines} if session else {}
    parts: list[Cell] = [seconds.get(component.value) for component in Component]
    if line.kind != "session":  # what was given back took no time
        parts = [None] * len(parts)
    return [
        dt.datetime.fromtimestamp(line.at_ms // 1_000, dt.UTC).isoformat(),
        line.kind,
        sessions.expert_of(line),
        *parts,
        credits_text(line.units),
        credits_text(line.balance_after_units),
        line.units,
        line.balance_after_units,
        line.subject,
    ]


ROUTES = (
    Route(
        "GET",
        "/api/v1/wallet/transactions.csv",
        export,
        "A member's own ledger as CSV",
        access=Access.MEMBER,
        reply="text/csv",
        query=("before",),
        refusals=("422 invalid", "429 rate_limited"),
    ),
)
