"""The one SQL door of the process: a single writer, many readers, durable at every commit.

SQLite (aiosqlite) runs each connection in its own thread, so the event loop never waits for an
fsync. One connection writes; it opens every transaction with BEGIN IMMEDIATE, so what a
transaction has read is still true when it writes. The readers are `query_only`. Money needs WAL,
`synchronous=FULL` and foreign keys; they are set and then read back, and a database that does not
take them is refused by name.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from threading import Thread
from typing import Any

import aiosqlite
import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

METADATA = sa.MetaData()
"""All tables of the process register here (money, rooms, accounts)."""

BUSY_TIMEOUT_MS = 5_000
"""How long the writer waits for another process; far below the supervision of a session."""
READERS_MAX = 4
WORKER_END_S = 5.0
"""How long closing waits for a connection's thread, which at most finishes one statement."""
_SYNCHRONOUS_FULL = 2
_REQUIRED_PRAGMAS: dict[str, str | int] = {
    "journal_mode": "wal",
    "synchronous": _SYNCHRONOUS_FULL,
    "foreign_keys": 1,
}


class DatabaseRefused(Exception):
    """The database cannot keep money safely, or cannot be opened; the text says which and why."""


class DatabaseUnavailable(Exception):
    """The database did not take a write or a read now (busy, full, gone); the cause is chained."""


class Database:
    """Open with `Database.open`; hand `write()` and `read()` to whoever needs SQL."""

    def __init__(self, writer: AsyncEngine, reader: AsyncEngine, workers: list[Thread]) -> None:
        self._writer = writer
        self._reader = reader
        self._workers = workers
        self._turn = asyncio.Lock()

    @classmethod
    async def open(cls, url: str) -> Database:
        """Connect (`sqlite+aiosqlite:///…` or `postgresql+asyncpg://…`) or raise DatabaseRefused.

        Tables are made by the migrations, or in tests by `METADATA.create_all`.
        """
        workers: list[Thread] = []
        try:
            parsed = make_url(url)
            if parsed.get_backend_name() == "sqlite":
                writer, reader = _sqlite_engines(parsed, workers)
            else:
                writer = create_async_engine(parsed, pool_size=1, max_overflow=0)
                reader = create_async_engine(parsed, pool_size=READERS_MAX, max_overflow=0)
        except (SQLAlchemyError, ImportError) as error:
            raise DatabaseRefused(f"database address is not usable: {error}") from error
        database = cls(writer, reader, workers)
        try:
            await database._prove()
        except (SQLAlchemyError, OSError) as error:
            await database.close()
            raise DatabaseRefused(f"database cannot be opened: {error}") from error
        except DatabaseRefused:
            await database.close()
            raise
        return database

    def write(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """One transaction of the one writer: commits on leaving, rolls back on any exception.

        Driver errors come out as DatabaseUnavailable, except broken constraints, which are bugs
        or lost races of the caller and stay `IntegrityError`.
        """
        return self._write()

    def read(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A read-only transaction: one consistent snapshot."""
        return self._read()

    async def close(self) -> None:
        """Wait for the write that runs, then close every connection and wait for its thread.

        A thread tells the loop of its end; the loop must still be there to hear it.
        """
        async with self._turn:
            await self._reader.dispose()
            await self._writer.dispose()
            for worker in self._workers:
                if worker.is_alive():
                    await asyncio.to_thread(worker.join, WORKER_END_S)

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self._writer.dialect.name

    @asynccontextmanager
    async def _write(self) -> AsyncGenerator[AsyncConnection]:
        async with self._turn:
            try:
                async with self._writer.begin() as connection:
                    yield connection
            except sa.exc.IntegrityError:
                raise
            except (DBAPIError, sa.exc.TimeoutError, OSError) as error:
                raise DatabaseUnavailable(f"write failed: {error}") from error

    @asynccontextmanager
    async def _read(self) -> AsyncGenerator[AsyncConnection]:
        try:
            async with self._reader.begin() as connection:
                yield connection
        except (DBAPIError, sa.exc.TimeoutError, OSError) as error:
            raise DatabaseUnavailable(f"read failed: {error}") from error

    async def _prove(self) -> None:
        """Read the durability settings back: some builds and file systems quietly differ."""
        async with self._writer.connect() as connection:
            if self.dialect != "sqlite":
                await connection.execute(sa.text("SELECT 1"))
                return
            for pragma, wanted in _REQUIRED_PRAGMAS.items():
                got = (await connection.exec_driver_sql(f"PRAGMA {pragma}")).scalar()
                if got != wanted:
                    raise DatabaseRefused(
                        f"SQLite has {pragma}={got}, but money needs {pragma}={wanted}"
                    )


def _sqlite_engines(url: sa.URL, workers: list[Thread]) -> tuple[AsyncEngine, AsyncEngine]:
    if url.database in (None, "", ":memory:"):
        raise DatabaseRefused("a database in memory cannot keep money: name a file")
    # isolation_level None: the driver starts no transactions of its own, the hooks below do.
    connect_args = {
        "isolation_level": None,
        "timeout": BUSY_TIMEOUT_MS / 1_000,
        "async_creator_fn": _watched(workers),
    }
    writer = create_async_engine(url, pool_size=1, max_overflow=0, connect_args=connect_args)
    reader = create_async_engine(
        url, pool_size=READERS_MAX, max_overflow=0, connect_args=connect_args
    )
    _on_connect(writer, ["journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"])
    _on_connect(reader, ["query_only=ON"])
    _on_begin(writer, "BEGIN IMMEDIATE")
    _on_begin(reader, "BEGIN")
    return writer, reader


def _watched(workers: list[Thread]) -> Callable[..., aiosqlite.Connection]:
    """Make connections whose threads are known: one that fails to open ends by itself, unheard."""

    def connect(*args: Any, **options: Any) -> aiosqlite.Connection:
        connection = aiosqlite.connect(*args, **options)
        connection._thread.daemon = True  # a process must be able to end without us
        workers[:] = [worker for worker in workers if worker.is_alive()]
        workers.append(connection._thread)
        return connection

    return connect


def _on_connect(engine: AsyncEngine, pragmas: list[str]) -> None:
    def connected(connection: sa.engine.interfaces.DBAPIConnection, _: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    sa.event.listen(engine.sync_engine, "connect", connected)


def _on_begin(engine: AsyncEngine, statement: str) -> None:
    def begun(connection: sa.Connection) -> None:
        connection.exec_driver_sql(statement)

    sa.event.listen(engine.sync_engine, "begin", begun)
