"""The one SQL door of the process: a single writer, many readers, durable at every commit.

What a write transaction has read is still true when it writes, also with several processes: SQLite
opens it with BEGIN IMMEDIATE, PostgreSQL with one lock of the whole database (`postgres.py`). What
durability needs is set and then read back, and a database that does not take it is refused by
name: WAL, `synchronous=FULL` and foreign keys, or `synchronous_commit` and `fsync`.

SQLite (aiosqlite) runs each connection in its own thread, so the event loop never waits for an
fsync; its readers are `query_only`.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from threading import Thread
from typing import Any

import aiosqlite
import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError, StatementError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry

from billing_meter import one_trip, postgres
from billing_meter.checkpoints import LOG_PAGES_EMERGENCY, Checkpoints
from billing_meter.engine import new_engine
from billing_meter.store_health import StoreHealth, Trouble, trouble_of

METADATA = sa.MetaData()
"""All tables of the process register here (money, rooms, accounts)."""
ID_CHARS = 64
"""How long an id of ours may be in a column."""
KEY_CHARS = 200
"""The same for a key: an idempotency key, an account's name, another house's id."""

BUSY_TIMEOUT_MS = 5_000
"""How long the writer waits for another process; far below the supervision of a session."""
UPGRADE_WAIT_S = 10
"""How long a starting process waits for another one that migrates."""
READERS_MAX = 4
FLUSHES_MEASURED = 600
DRIVERS = ("sqlite+aiosqlite", "postgresql+asyncpg")
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
    """The database did not take a write or a read now (busy, full, gone); the cause is chained.

    `lost` when the connection broke: the server is there again or will be, and what was asked for
    last may have taken effect.
    """

    def __init__(self, text: str, *, lost: bool = False, trouble: Trouble = Trouble.FAILED) -> None:
        super().__init__(text)
        self.lost = lost
        self.trouble = trouble


class Database:
    """Open with `Database.open`; hand `write()` and `read()` to whoever needs SQL."""

    def __init__(
        self,
        writer: AsyncEngine,
        reader: AsyncEngine,
        workers: list[Thread],
        keeper: AsyncEngine | None = None,
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._workers = workers
        self._turn = asyncio.Lock()
        self._checkpoints = Checkpoints(keeper, self._turn) if keeper is not None else None
        self.health = StoreHealth()
        self.flushes_ns: deque[int] = deque(maxlen=FLUSHES_MEASURED)
        """How long the last commits took: what was written, made durable."""

    @classmethod
    async def open(cls, url: str) -> Database:
        """Connect (`sqlite+aiosqlite:///…` or `postgresql+asyncpg://…`) or raise DatabaseRefused.

        Tables are made by the migrations, or in tests by `METADATA.create_all`.
        """
        workers: list[Thread] = []
        parsed = parsed_address(url)
        keeper = None
        if parsed.get_backend_name() == "sqlite":
            writer, reader, keeper = _sqlite_engines(parsed, workers)
        else:
            writer, reader = _postgres_engines(parsed)
        database = cls(writer, reader, workers, keeper)
        try:
            await database._prove()
        except (SQLAlchemyError, OSError) as error:
            await database.close()
            raise DatabaseRefused(
                f"database {shown_address(parsed)} cannot be opened: {reason(error)}"
            ) from error
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
        if self._checkpoints is not None:
            await self._checkpoints.close()
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
            trouble: Trouble | None = None
            self.health.began(time.monotonic_ns())
            try:
                async with _transaction(self._writer) as connection:
                    yield connection
                    flush_ns = time.perf_counter_ns()
                self.flushes_ns.append(time.perf_counter_ns() - flush_ns)
            except sa.exc.IntegrityError:
                raise
            except _FAILURES as error:
                failure = _failure("write", error)
                trouble = failure.trouble
                raise failure from error
            finally:
                self.health.ended(trouble)
        if self._checkpoints is not None:
            self._checkpoints.written()

    @asynccontextmanager
    async def _read(self) -> AsyncGenerator[AsyncConnection]:
        try:
            async with _transaction(self._reader) as connection:
                yield connection
        except _FAILURES as error:
            raise _failure("read", error) from error

    async def _prove(self) -> None:
        """Read the durability settings back: some builds and file systems quietly differ."""
        async with _transaction(self._writer) as connection:
            if self.dialect == "postgresql":
                await refuse_unsafe(connection)
                return
            for pragma, wanted in _REQUIRED_PRAGMAS.items():
                got = (await connection.exec_driver_sql(f"PRAGMA {pragma}")).scalar()
                if got != wanted:
                    raise DatabaseRefused(
                        f"SQLite has {pragma}={got}, but money needs {pragma}={wanted}"
                    )


def parsed_address(url: str) -> sa.URL:
    """A database's address, or DatabaseRefused unless it is one of the two kinds."""
    try:
        parsed = make_url(url)
    except (SQLAlchemyError, ValueError) as error:
        raise DatabaseRefused(f"database address is not usable: {error}") from error
    if parsed.drivername not in DRIVERS:
        raise DatabaseRefused(
            f"database address is not usable: {parsed.drivername!r} is none of {', '.join(DRIVERS)}"
        )
    return parsed


def upgrade_engine(url: sa.URL) -> AsyncEngine:
    """The writer for schema changes: its `begin` waits for the writer's turn, as all writers do."""
    if url.get_backend_name() == "postgresql":
        engine = postgres.upgrade_engine(url)
        _on_begin(engine, postgres.TAKE_TURN)
        return engine
    # The driver would commit behind our back at each CREATE TABLE; we begin ourselves.
    options = {"isolation_level": None, "timeout": UPGRADE_WAIT_S}
    engine = new_engine(url, connect_args=options, poolclass=sa.pool.NullPool)
    _on_begin(engine, "BEGIN IMMEDIATE")
    return engine


async def refuse_unsafe(connection: AsyncConnection) -> None:
    """DatabaseRefused when this PostgreSQL, asked on a writer's connection, must not keep money."""
    fault = await postgres.fault(connection)
    if fault is not None:
        raise DatabaseRefused(fault)


def shown_address(url: sa.URL) -> str:
    """An address for people to recognise, without its password."""
    return url.render_as_string(hide_password=True)


def reason(error: BaseException) -> str:
    """What the driver says, without the statement and the address of an explanation."""
    cause = error.orig if isinstance(error, StatementError) else error
    return str(cause).strip() or type(cause).__name__


@asynccontextmanager
async def _transaction(engine: AsyncEngine) -> AsyncGenerator[AsyncConnection]:
    """Begin, commit on leaving, roll back on any exception."""
    async with engine.connect() as connection:
        try:
            transaction = await connection.begin()
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            # It had died in the pool, before anything was asked of it: a new one is the same.
            transaction = await connection.begin()
        yield connection
        await transaction.commit()


_FAILURES = (StatementError, sa.exc.TimeoutError, OSError)
"""What drivers and the pool raise; a silent server and one that is gone are an OSError."""


def _failure(what: str, error: Exception) -> DatabaseUnavailable:
    """The typed failure for callers; what is no failure of the database is raised as it is."""
    cause: BaseException = error
    if isinstance(error, StatementError) and not isinstance(error, DBAPIError):
        if not isinstance(error.orig, OSError):
            raise error  # a parameter that does not fit: a bug of the caller
        cause = error.orig  # a connection that could not be made again
    lost = not isinstance(cause, DBAPIError) or cause.connection_invalidated
    trouble = trouble_of(cause, lost=lost)
    return DatabaseUnavailable(f"{what} failed: {reason(cause)}", lost=lost, trouble=trouble)


def _postgres_engines(url: sa.URL) -> tuple[AsyncEngine, AsyncEngine]:
    writer, reader = postgres.engines(url, READERS_MAX)
    _on_begin(writer, postgres.TAKE_TURN)
    _on_begin(reader, postgres.LOOK)
    return writer, reader


def _sqlite_engines(
    url: sa.URL, workers: list[Thread]
) -> tuple[AsyncEngine, AsyncEngine, AsyncEngine]:
    """One that writes, one that reads, one that tidies the write-ahead log up."""
    if url.database in (None, "", ":memory:"):
        raise DatabaseRefused("a database in memory cannot keep money: name a file")
    # isolation_level None: the driver starts no transactions of its own, the hooks below do.
    connect_args = {
        "isolation_level": None,
        "timeout": BUSY_TIMEOUT_MS / 1_000,
        "async_creator_fn": _watched(workers),
    }
    writer = new_engine(url, pool_size=1, max_overflow=0, connect_args=connect_args)
    reader = new_engine(url, pool_size=READERS_MAX, max_overflow=0, connect_args=connect_args)
    keeper = new_engine(url, pool_size=1, max_overflow=0, connect_args=connect_args)
    by_itself = f"wal_autocheckpoint={LOG_PAGES_EMERGENCY}"
    _on_connect(writer, ["journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", by_itself])
    _on_connect(reader, ["query_only=ON"])
    _on_connect(keeper, ["synchronous=FULL"])
    _on_begin(writer, "BEGIN IMMEDIATE")
    _on_begin(reader, "BEGIN")
    return writer, reader, keeper


def _watched(workers: list[Thread]) -> Callable[..., aiosqlite.Connection]:
    """Make connections whose threads are known: one that fails to open ends by itself, unheard."""

    def connect(*args: Any, **options: Any) -> aiosqlite.Connection:
        connection = one_trip.connect(*args, **options)
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
