"""`parlour publish` at work, as its users run it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.e2e.harness import Server
from tests.e2e.nursery import Offspring


@asynccontextmanager
async def publishing(
    server: Server, expert: str, key: str, *words: str
) -> AsyncIterator[Offspring]:
    """`parlour publish` at work; yields once it says that it is live."""
    process = await server.beside(
        "publish",
        "--whip",
        f"{server.url}/whip/{expert}",
        *words,
        environ={"PARLOUR_STREAM_KEY": key},
    )
    try:
        await says(process, "live:")
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            await asyncio.wait_for(process.wait(), 15)


async def says(process: Offspring, words: str, within_s: float = 40) -> str:
    """The next line of the program that holds the words."""
    async with asyncio.timeout(within_s):
        while line := (await process.stdout.readline()).decode():
            if words in line:
                return line
    raise AssertionError(f"the program ended without saying {words!r}")
