"""Runs the decoding process: one still at a time, a deadline for each, a fresh process after a
death. Nothing here blocks the loop, and nothing that the process does can raise into it."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from typing import Final

import structlog

from media.still import STILL_CODECS, Still
from media.still_child import LIMITED, LOCKED, REPLY, REQUEST

START_TIMEOUT_S: Final = 20.0
"""Importing the decoders on a busy machine."""
PICTURE_TIMEOUT_S: Final = 3.0
"""The usual one takes 10 ms."""
IDLE_NS: Final = 60_000_000_000
"""Without a picture to make for so long the process is let go: 40 MB, and a second to come back."""
PICTURE_BYTES_MAX: Final = 256 * 1024
"""A WebP of 320 px has about 10 kB; more is a process that was taken over."""

log = structlog.get_logger("media.still")


class StillDecoder:
    """Stills in, WebP pictures out."""

    def __init__(
        self,
        command: tuple[str, ...] = (sys.executable, "-m", "media.still_child"),
        *,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._command = command
        self._clock_ns = clock_ns
        self._used_ns = 0
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()

    async def picture(self, still: Still) -> bytes | None:
        """A small WebP of the still, None when there is none to be had."""
        async with self._turn:
            try:
                process = await self._running()
                self._used_ns = self._clock_ns()
                async with asyncio.timeout(PICTURE_TIMEOUT_S):
                    return await self._ask(process, still)
            # uvloop raises RuntimeError for a pipe that closed just before it is written to.
            except (OSError, EOFError, TimeoutError, ValueError, RuntimeError) as error:
                log.warning("still_failed", error=repr(error))
                await self._end()
                return None
            except asyncio.CancelledError:
                await self._end()  # its answer would be taken for the next one's
                raise

    async def rest(self) -> None:
        """End the process if nothing was asked of it lately; the next picture starts it anew."""
        idle = self._clock_ns() - self._used_ns >= IDLE_NS
        if self._process is not None and idle and not self._turn.locked():
            await self.close()

    async def close(self) -> None:
        """End the process."""
        async with self._turn:
            await self._end()

    async def _running(self) -> asyncio.subprocess.Process:
        process = self._process
        if process is not None and process.returncode is None:
            return process
        process = self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={},
        )
        assert process.stdout is not None
        async with asyncio.timeout(START_TIMEOUT_S):
            first = await process.stdout.readexactly(1)
        if first == LIMITED:
            log.warning("still_decoder_without_call_filter")
        elif first != LOCKED:
            raise ValueError("not our decoder")
        return process

    @staticmethod
    async def _ask(process: asyncio.subprocess.Process, still: Still) -> bytes | None:
        assert process.stdin is not None
        assert process.stdout is not None
        head = REQUEST.pack(STILL_CODECS.index(still.codec), len(still.data))
        process.stdin.write(head + still.data)
        await process.stdin.drain()
        (size,) = REPLY.unpack(await process.stdout.readexactly(REPLY.size))
        if size > PICTURE_BYTES_MAX:
            raise ValueError("a picture larger than allowed")
        return await process.stdout.readexactly(size) or None

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            process.kill()
        await process.wait()
        if process.stdin is not None:
            process.stdin.close()
