"""`parlour publish` at work, as its users run it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.e2e.harness import PARLOUR, REPO, Server


@asynccontextmanager
async def publishing(
    server: Server, expert: str, key: str, *words: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """`parlour publish` at work; yields once it says that it is live."""
    process = await asyncio.create_subprocess_exec(
        *server.prefix,
        *PARLOUR,
        "publish",
        "--whip",
        f"{server.url}/whip/{expert}",
        *words,
        cwd=REPO,
        env=os.environ | {"PARLOUR_STREAM_KEY": key},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        await says(process, "live:")
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            await asyncio.wait_for(process.wait(), 15)


async def says(process: asyncio.subprocess.Process, words: str, within_s: float = 40) -> str:
    """The next line of the program's standard error that holds the words."""
    assert process.stderr is not None
    async with asyncio.timeout(within_s):
        while line := (await process.stderr.readline()).decode():
            if words in line:
                return line
    raise AssertionError(f"the program ended without saying {words!r}")
