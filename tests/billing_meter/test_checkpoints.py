"""SQLite's write-ahead log: moved beside the writer, never in a commit, and never without end."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from billing_meter import checkpoints
from billing_meter.database import Database

PAGE_BYTES = 4_096
PAGES_EACH = 12
"""Of one write."""


@pytest.fixture
async def busy(quick_dir):
    """A database, and what writes to it so many times; returns how many bytes its log has then."""
    database = await Database.open(f"sqlite+aiosqlite:///{quick_dir}/log.db")
    async with database.write() as connection:
        await connection.exec_driver_sql("CREATE TABLE t (n INTEGER PRIMARY KEY, body BLOB)")

    database._checkpoints._next_s = float("inf")  # until a test wants one

    async def write(count: int) -> int:
        for _ in range(count):
            async with database.write() as connection:
                body = "zeroblob(45000)"
                await connection.exec_driver_sql(f"REPLACE INTO t VALUES (1, {body})")
        return Path(quick_dir, "log.db-wal").stat().st_size

    yield database, write
    await database.close()


async def test_no_commit_moves_the_log_into_the_file(busy, quick_dir) -> None:
    _, write = busy
    before = Path(quick_dir, "log.db").stat().st_size
    # By itself SQLite would after a thousand pages.
    assert await write(1_200 // PAGES_EACH) > 1_200 * PAGE_BYTES
    assert Path(quick_dir, "log.db").stat().st_size == before


async def test_writers_without_a_gap_wait_once_so_that_the_log_begins_anew(
    busy, monkeypatch
) -> None:
    database, write = busy
    monkeypatch.setattr(checkpoints, "LOG_PAGES_MAX", 5 * PAGES_EACH)
    moved, waiting = database._checkpoints._move, []

    async def overtaken() -> tuple[int, int]:
        """Somebody writes before the first one has come to an end."""
        waiting.append(database._turn.locked())
        pages, left = await moved()
        if waiting == [False]:
            await write(1)
            left += PAGES_EACH
        return pages, left

    monkeypatch.setattr(database._checkpoints, "_move", overtaken)
    await write(10)
    database._checkpoints._next_s = 0.0
    length = await write(1)
    await asyncio.wait([database._checkpoints._task])
    assert waiting == [False, True]
    assert await write(5) <= length + PAGES_EACH * PAGE_BYTES + PAGE_BYTES
    async with database.read() as connection:
        assert (await connection.exec_driver_sql("PRAGMA integrity_check")).scalar() == "ok"


async def test_one_that_fails_fails_nobody_who_writes(busy, monkeypatch, caplog) -> None:
    database, write = busy
    moved = database._checkpoints._move
    failures = [OSError("the disk is full")]

    async def fails_once() -> tuple[int, int]:
        if failures:
            raise failures.pop()
        return await moved()

    monkeypatch.setattr(checkpoints, "PERIOD_S", 0.0)
    monkeypatch.setattr(database._checkpoints, "_move", fails_once)
    database._checkpoints._next_s = 0.0
    with caplog.at_level(logging.WARNING):
        await write(1)
        await asyncio.wait([database._checkpoints._task])
        length = await write(1)
    assert "the disk is full" in caplog.text
    await asyncio.wait([database._checkpoints._task])
    assert await write(1) <= length, "it began anew"
