"""SQLite statements that visit the connection's thread once each, instead of four times.

A connection of aiosqlite lives in a thread of its own. Making a cursor, running the statement,
fetching its rows and closing the cursor are a way there and back each, which for our short
statements is most of what they cost. Here one visit does it all, as long as the rows are few; of
many the rest is fetched when it is asked for.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import aiosqlite
from aiosqlite.context import contextmanager

ROWS_AT_ONCE: Final = 2_000
"""More than any page of ours; who streams a whole table holds so many at a time."""


class OneTripCursor(aiosqlite.Cursor):
    """As its base, for one statement at a time."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self.iter_chunk_size = ROWS_AT_ONCE
        self._conn = connection
        self._open: sqlite3.Cursor | None = None
        self._rows: list[Any] = []
        self._description: Any = None
        self._rowcount = -1
        self._lastrowid: int | None = None

    async def execute(self, sql: str, parameters: Iterable[Any] | None = None) -> OneTripCursor:
        """Run it and fetch its first rows."""
        await self._visit(self._run, sql, () if parameters is None else parameters)
        return self

    async def executemany(self, sql: str, parameters: Iterable[Iterable[Any]]) -> OneTripCursor:
        """Run it for each row of parameters."""
        await self._visit(self._run_many, sql, parameters)
        return self

    async def fetchone(self) -> Any:
        """The next row, or None."""
        rows = await self.fetchmany(1)
        return rows[0] if rows else None

    async def fetchmany(self, size: int | None = None) -> Sequence[Any]:
        """The next rows: a visit for every ROWS_AT_ONCE of them."""
        wanted = 1 if size is None else size
        if len(self._rows) < wanted and self._open is not None:
            await self._visit(self._fetch, max(wanted, ROWS_AT_ONCE))
        rows, self._rows = self._rows[:wanted], self._rows[wanted:]
        return rows

    async def fetchall(self) -> Sequence[Any]:
        """All rows that are left."""
        if self._open is not None:
            await self._visit(self._fetch, None)
        rows, self._rows = self._rows, []
        return rows

    async def close(self) -> None:
        """Forget the rows that are left."""
        self._rows = []
        if self._open is not None:
            await self._visit(self._shut)

    async def _visit(self, call: Callable[..., None], *args: Any) -> None:
        await self._conn._execute(call, *args)  # type: ignore[no-untyped-call]

    # --- in the connection's thread ---------------------------------------------------------

    def _run(self, sql: str, parameters: Any) -> None:
        self._begin()
        cursor = self._open
        assert cursor is not None
        try:
            cursor.execute(sql, parameters)
            self._description = cursor.description
            self._note(cursor)
            if cursor.description is not None:
                self._fetch(ROWS_AT_ONCE)
        except BaseException:
            self._shut()
            raise
        if cursor.description is None:
            self._shut()

    def _run_many(self, sql: str, parameters: Any) -> None:
        self._begin()
        cursor = self._open
        assert cursor is not None
        try:
            cursor.executemany(sql, parameters)
            self._note(cursor)
        finally:
            self._shut()

    def _begin(self) -> None:
        self._shut()
        self._rows, self._description = [], None
        self._open = self._conn._conn.cursor()

    def _note(self, cursor: sqlite3.Cursor) -> None:
        self._rowcount, self._lastrowid = cursor.rowcount, cursor.lastrowid

    def _fetch(self, count: int | None) -> None:
        cursor = self._open
        if cursor is None:
            return
        rows = cursor.fetchall() if count is None else cursor.fetchmany(count)
        self._rows += rows
        if count is None or len(rows) < count:
            self._note(cursor)
            self._shut()

    def _shut(self) -> None:
        cursor, self._open = self._open, None
        if cursor is not None:
            cursor.close()

    # --- what the driver tells --------------------------------------------------------------

    @property
    def rowcount(self) -> int:
        """Rows changed, or -1."""
        return self._rowcount

    @property
    def lastrowid(self) -> int | None:
        """Of the last INSERT."""
        return self._lastrowid

    @property
    def description(self) -> Any:
        """The columns, or None."""
        return self._description


class OneTripConnection(aiosqlite.Connection):
    """A connection whose cursors are of that kind."""

    _left_running = False
    """Somebody stopped waiting for a statement, which may still begin a transaction."""

    async def _execute(self, fn: Callable[..., Any], *args: Any, **options: Any) -> Any:
        try:
            return await super()._execute(fn, *args, **options)  # type: ignore[no-untyped-call]
        except asyncio.CancelledError:
            self._left_running = True
            raise

    @contextmanager
    async def cursor(self) -> aiosqlite.Cursor:
        """One for the next statement; nothing happens yet."""
        return OneTripCursor(self)

    async def rollback(self) -> None:
        """Only if there is something: a pool asks after each commit, too."""
        if self._left_running or self._conn.in_transaction:
            self._left_running = False
            await super().rollback()


def connect(database: str, *, iter_chunk_size: int = 64, **options: Any) -> OneTripConnection:
    """As `aiosqlite.connect`."""
    return OneTripConnection(lambda: sqlite3.connect(database, **options), iter_chunk_size)
