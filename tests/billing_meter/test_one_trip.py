"""Statements of SQLite: one visit to the connection's thread each, with all that a driver tells."""

from __future__ import annotations

import asyncio
import threading

import aiosqlite
import pytest
import sqlalchemy as sa

from billing_meter import one_trip
from billing_meter.database import Database
from billing_meter.one_trip import ROWS_AT_ONCE
from tests.turns import turn

pytestmark = pytest.mark.threads
MANY = 2 * ROWS_AT_ONCE + 7


@pytest.fixture
async def database(quick_dir):
    made = await Database.open(f"sqlite+aiosqlite:///{quick_dir}/trips.db")
    async with made.write() as connection:
        await connection.exec_driver_sql("CREATE TABLE t (n INTEGER PRIMARY KEY, word TEXT)")
        rows = [(n, str(n)) for n in range(MANY)]
        result = await connection.exec_driver_sql("INSERT INTO t VALUES (?, ?)", rows)
        assert result.rowcount == MANY
    yield made
    await made.close()


async def test_a_statement_is_one_visit(database, monkeypatch) -> None:
    visits, plain = [], aiosqlite.Connection._execute

    async def counted(self, call, *args, **options):
        visits.append(call)
        return await plain(self, call, *args, **options)

    monkeypatch.setattr(aiosqlite.Connection, "_execute", counted)
    async with database.write() as connection:
        assert len(visits) == 1, "BEGIN"
        few = await connection.execute(sa.text("SELECT n, word FROM t WHERE n < 3"))
        assert few.all() == [(0, "0"), (1, "1"), (2, "2")]
        changed = await connection.execute(sa.text("UPDATE t SET word = 'x' WHERE n < 9"))
        assert changed.rowcount == 9
    assert len(visits) == 4, "and COMMIT; nothing is left to roll back"


async def test_many_rows_come_whole_and_in_order_in_parts(database) -> None:
    query = sa.text("SELECT n FROM t ORDER BY n")
    async with database.read() as connection:
        assert [n for (n,) in await connection.execute(query)] == list(range(MANY))
        streamed = await connection.stream(query)
        assert [n async for (n,) in streamed] == list(range(MANY))
        streamed = await connection.stream(query)
        assert (await streamed.fetchone())[0] == 0
        assert len(await streamed.fetchmany(ROWS_AT_ONCE)) == ROWS_AT_ONCE
        await streamed.close()  # in the middle
        assert await connection.scalar(sa.text("SELECT count(*) FROM t")) == MANY


async def test_what_fails_or_is_left_leaves_a_sound_connection(database) -> None:
    async def breaks() -> None:
        async with database.write() as connection:
            await connection.exec_driver_sql("DELETE FROM t WHERE n = 5")
            await connection.exec_driver_sql("INSERT INTO t VALUES (1, '')")

    with pytest.raises(sa.exc.IntegrityError):
        await breaks()
    async with database.write() as connection:
        gone = await connection.exec_driver_sql("DELETE FROM t WHERE n >= 9 RETURNING n")
        assert len(gone.all()) == MANY - 9
        with pytest.raises(sa.exc.OperationalError):
            await connection.exec_driver_sql("SELECT nothing FROM t")
        assert await connection.scalar(sa.text("SELECT count(*) FROM t")) == 9


async def test_a_begin_that_nobody_waits_for_any_more_is_rolled_back(database) -> None:
    connection = await one_trip.connect(":memory:", isolation_level=None)
    go_on = threading.Event()
    slow = asyncio.create_task(connection._execute(go_on.wait))
    begin = asyncio.create_task(connection._execute(connection._conn.execute, "BEGIN"))
    await turn()
    begin.cancel()
    with pytest.raises(asyncio.CancelledError):
        await begin
    rolled_back = asyncio.create_task(connection.rollback())
    await turn()
    go_on.set()
    await asyncio.gather(slow, rolled_back)
    assert not connection.in_transaction
    await connection.close()
