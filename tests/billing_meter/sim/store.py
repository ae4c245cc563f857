"""Stores whose every step can go wrong: points before, in and after each write transaction.

SQLite answers here in the loop's own thread and without a flush, on a copy of a template; on
PostgreSQL the product's own connections are used. Everything above the connection is the product.
"""

from __future__ import annotations

import asyncio
import inspect
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy as sa

from billing_meter.database import METADATA, Database
from tests.postgres import Cluster
from tests.stores import made_with_tables


class Point(StrEnum):
    """Where the store, or what else is outside the process, may be interrupted."""

    ASKED = "asked"
    """Somebody wants to write; nothing has begun."""
    STATEMENT = "statement"
    """Before a statement of a write transaction."""
    COMMIT = "commit"
    """Everything is written, nothing is durable."""
    DURABLE = "durable"
    """Committed, and nobody has been told."""
    READ = "read"
    """Before a reading transaction."""
    BANK_ASKED = "bank_asked"
    """Before the payment provider hears of it."""
    BANK_DONE = "bank_done"
    """The provider has done it, and its answer is on the way."""


class Killed(BaseException):
    """The process died here. No `except Exception` sees it, and nothing of it goes on."""


class Points(Protocol):
    """What happens at each point: nothing, an error, a death, time."""

    async def at(self, point: Point) -> None:
        """Called before the point is passed."""


class _Connection:
    """A connection of a write transaction, with a point before each statement."""

    def __init__(self, inner: Any, points: Points) -> None:
        self._inner = inner
        self._points = points
        self.dialect = inner.dialect

    async def pass_by(self, point: Point) -> None:
        """Whose process died while it waited here goes no further."""
        await self._points.at(point)
        if self._inner.closed:
            raise Killed

    async def execute(self, *args: Any) -> Any:
        await self.pass_by(Point.STATEMENT)
        return await _answer(self._inner.execute(*args))

    async def exec_driver_sql(self, *args: Any) -> Any:
        await self.pass_by(Point.STATEMENT)
        return await _answer(self._inner.exec_driver_sql(*args))

    async def scalar(self, *args: Any) -> Any:
        await self.pass_by(Point.STATEMENT)
        return await _answer(self._inner.scalar(*args))

    async def scalars(self, *args: Any) -> Any:
        await self.pass_by(Point.STATEMENT)
        return await _answer(self._inner.scalars(*args))


async def _answer(found: Any) -> Any:
    return await found if inspect.isawaitable(found) else found


class _Reader:
    """A synchronous connection as the product expects one."""

    def __init__(self, inner: sa.Connection) -> None:
        self._inner = inner
        self.dialect = inner.dialect

    async def execute(self, *args: Any) -> Any:
        return self._inner.execute(*args)

    async def exec_driver_sql(self, *args: Any) -> Any:
        return self._inner.exec_driver_sql(*args)

    async def scalar(self, *args: Any) -> Any:
        return self._inner.scalar(*args)

    async def scalars(self, *args: Any) -> Any:
        return self._inner.scalars(*args)

    async def stream(self, *args: Any) -> AsyncIterator[Any]:
        async def rows(found: sa.CursorResult[Any]) -> AsyncIterator[Any]:
            for row in found:
                yield row

        return rows(self._inner.execute(*args))


class PointedDatabase(Database):
    """The product's database, with points."""

    points: Points

    def write(self) -> AbstractAsyncContextManager[Any]:
        return self._pointed_write()

    def read(self) -> AbstractAsyncContextManager[Any]:
        return self._pointed_read()

    @asynccontextmanager
    async def _pointed_write(self) -> AsyncIterator[Any]:
        await self.points.at(Point.ASKED)
        async with self._plain_write() as connection:
            pointed = _Connection(connection, self.points)
            yield pointed
            await pointed.pass_by(Point.COMMIT)
        await self.points.at(Point.DURABLE)

    @asynccontextmanager
    async def _pointed_read(self) -> AsyncIterator[Any]:
        await self.points.at(Point.READ)
        async with self._plain_read() as connection:
            yield connection

    def _plain_write(self) -> AbstractAsyncContextManager[Any]:
        return super().write()

    def _plain_read(self) -> AbstractAsyncContextManager[Any]:
        return super().read()


class InlineDatabase(PointedDatabase):
    """SQLite without threads: one connection that writes, one that reads, one turn for a file."""

    def __init__(self, path: Path, turn: asyncio.Lock) -> None:
        self._turn = turn
        self._path = path
        self._writing = _FILES.connect(path)
        self._reading = _FILES.connect(path)

    @property
    def dialect(self) -> str:
        return "sqlite"

    @asynccontextmanager
    async def _plain_write(self) -> AsyncIterator[Any]:
        async with self._turn:
            if self._writing.closed:
                raise Killed  # whoever waited for this turn died meanwhile
            with self._writing.begin():
                yield self._writing

    @asynccontextmanager
    async def _plain_read(self) -> AsyncIterator[Any]:
        # A connection can look at one snapshot at a time.
        connection = self._reading
        if connection.in_transaction():
            connection = _FILES.connect(self._path)
        try:
            with connection.begin():
                yield _Reader(connection)
        finally:
            if connection is not self._reading:
                connection.close()

    async def close(self) -> None:
        self._writing.close()
        self._reading.close()


class _Files:
    """One engine for every file: statements are compiled once, not once for every house."""

    def __init__(self) -> None:
        self._next: Path | None = None
        self._engine = sa.create_engine("sqlite://", creator=self._make, poolclass=sa.pool.NullPool)
        sa.event.listen(self._engine, "begin", _begun)

    def connect(self, path: Path) -> sa.Connection:
        self._next = path
        return self._engine.connect()

    def _make(self) -> sqlite3.Connection:
        assert self._next is not None
        made = sqlite3.connect(self._next, isolation_level=None, check_same_thread=False)
        for pragma in ("journal_mode=WAL", "synchronous=OFF", "foreign_keys=ON"):
            made.execute(f"PRAGMA {pragma}")
        return made


def _begun(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN")


_FILES = _Files()


class InlineStore:
    """One SQLite file of one simulated house."""

    def __init__(self, directory: Path, name: str, like: Path | None = None) -> None:
        template = like or directory / "inline-template.db"
        if not template.exists():
            with _FILES.connect(template) as connection, connection.begin():
                METADATA.create_all(connection)
        self._path = directory / f"{name}.db"
        shutil.copy(template, self._path)
        self._turn = asyncio.Lock()

    async def copy(self, name: str) -> InlineStore:
        """Another house that begins where this one, which nobody has open, stopped."""
        return InlineStore(self._path.parent, name, self._path)

    async def open(self, points: Points) -> PointedDatabase:
        """A process's connections."""
        database = InlineDatabase(self._path, self._turn)
        database.points = points
        return database

    async def remove(self) -> None:
        """The house is over."""
        for file in self._path.parent.glob(self._path.name + "*"):
            file.unlink()


class ServerStore:
    """A database of a running PostgreSQL."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self._cluster = cluster
        self._name = name

    @classmethod
    async def new(cls, cluster: Cluster) -> ServerStore:
        """With the product's tables and nothing in them."""
        return cls(cluster, await made_with_tables(cluster))

    async def copy(self, _name: str) -> ServerStore:
        """Another house that begins where this one, which nobody has open, stopped."""
        return ServerStore(self._cluster, await self._cluster.create(self._name))

    async def open(self, points: Points) -> PointedDatabase:
        """A process's connections."""
        database = await PointedDatabase.open(self._cluster.url(self._name))
        assert isinstance(database, PointedDatabase)
        database.points = points
        return database

    async def remove(self) -> None:
        """The house is over."""
        await self._cluster.drop(self._name)


SimStore = InlineStore | ServerStore
