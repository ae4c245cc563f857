"""Starts the real `parlour serve` and its publishers for a measurement, on free ports."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from pathlib import Path
from types import TracebackType

REPO = Path(__file__).resolve().parents[1]
PARLOUR = [sys.executable, "-m", "signaling.cli"]
READY_WAIT_S = 30
STOP_WAIT_S = 20


class ServerUnderTest:
    """One server process with a data directory of its own; an async context manager."""

    def __init__(self, data: Path, *arguments: str, media_host: str = "127.0.0.1") -> None:
        self._data = data
        self._media_host = media_host
        self._arguments = arguments
        self._publishers: list[asyncio.subprocess.Process] = []
        self._drains: list[asyncio.Task[None]] = []
        self.url = ""
        self.pid = 0
        self.media_port = 0

    async def __aenter__(self) -> ServerUnderTest:
        self._process = await self._spawn(
            "serve",
            "--http",
            "127.0.0.1:0",
            "--media",
            f"{self._media_host}:0",
            "--data",
            str(self._data),
            *self._arguments,
        )
        self.pid = self._process.pid
        await asyncio.wait_for(self._until_ready(), READY_WAIT_S)
        self._drains.append(asyncio.create_task(_discard(self._process)))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in [*self._publishers, self._process]:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
        for process in [*self._publishers, self._process]:
            try:
                await asyncio.wait_for(process.wait(), STOP_WAIT_S)
            except TimeoutError:
                process.kill()
                await process.wait()
        for drain in self._drains:
            drain.cancel()

    async def cli(self, *words: str) -> dict[str, object]:
        """One `parlour` command with `--json` on this server's store."""
        process = await self._spawn(*words, "--data", str(self._data), "--json")
        out, _ = await process.communicate()
        if process.returncode != 0:
            raise RuntimeError(f"parlour {' '.join(words)}: {out.decode(errors='replace')}")
        answer: dict[str, object] = json.loads(out)
        return answer

    async def publish_generated(self, expert: str) -> str:
        """Add an expert and put them on air with the generated picture; returns the key."""
        return await self.publish(expert, f"test:{expert}")

    async def publish(self, expert: str, source: str, *words: str) -> str:
        """Add an expert and put them on air with what `parlour publish --input` takes."""
        key = str((await self.cli("expert", "add", expert))["stream_key"])
        whip = f"{self.url}/whip/{expert}"
        publisher = await self._spawn(
            "publish", "--input", source, "--whip", whip, "--key", key, *words
        )
        self._publishers.append(publisher)
        self._drains.append(asyncio.create_task(_discard(publisher)))
        return key

    async def _spawn(self, *words: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *PARLOUR,
            *words,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=REPO,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )

    async def _until_ready(self) -> None:
        assert self._process.stdout is not None
        seen = ""
        while raw := await self._process.stdout.readline():
            line = raw.decode(errors="replace")
            seen += line
            ready = re.search(r"READY (https?://\S+) media udp \S*?(\d+)\s*$", line)
            if ready:
                self.url = ready[1].rstrip("/")
                self.media_port = int(ready[2])
                return
        raise RuntimeError("the server ended before it was ready:\n" + seen)


async def _discard(process: asyncio.subprocess.Process) -> None:
    assert process.stdout is not None
    while await process.stdout.readline():
        pass
