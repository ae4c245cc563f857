"""A wire between the product and PostgreSQL that fails at a COMMIT, in each way a network can."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Literal

Fault = Literal["unheard", "unanswered", "late", "silent"]
"""At the next COMMIT: it never arrives; it arrives and the answer is lost; it arrives only after
the client has given up; it arrives and nothing comes back, with the connection still there."""
CHUNK_BYTES = 65_536


class Proxy:
    """Listens beside a cluster's socket; `fault` is for the next COMMIT only."""

    def __init__(self, directory: Path, cluster: Path) -> None:
        self.directory = directory
        self.fault: Fault | None = None
        self.faults = 0
        self.deliver = asyncio.Event()
        """Set: a late COMMIT arrives now."""
        self._target = cluster / ".s.PGSQL.5432"
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Proxy:
        path = self.directory / ".s.PGSQL.5432"
        self._server = await asyncio.start_unix_server(self._serve, path)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def url(self, cluster_url: str) -> str:
        """The same database by way of this proxy."""
        return f"{cluster_url.partition('host=')[0]}host={self.directory}"

    async def _serve(
        self, client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter
    ) -> None:
        server_in, server_out = await asyncio.open_unix_connection(self._target)
        back = asyncio.create_task(self._back(server_in, client_out))
        task = asyncio.current_task()
        assert task is not None
        self._tasks |= {task, back}
        try:
            while data := await client_in.read(CHUNK_BYTES):
                if self.fault is not None and b"COMMIT;" in data:
                    fault, self.fault = self.fault, None
                    self.faults += 1
                    await self._fail(fault, data, back, client_out, server_out)
                    return
                server_out.write(data)
        except ConnectionError:
            pass
        finally:
            server_out.close()
            client_out.close()
            self._tasks -= {task, back}

    async def _fail(
        self,
        fault: Fault,
        commit: bytes,
        back: asyncio.Task[None],
        client_out: asyncio.StreamWriter,
        server_out: asyncio.StreamWriter,
    ) -> None:
        back.cancel()
        await asyncio.wait([back])
        match fault:
            case "unheard":
                return
            case "unanswered":
                server_out.write(commit)
                await server_out.drain()
            case "late":
                client_out.close()
                await self.deliver.wait()
                server_out.write(commit)
                await server_out.drain()
            case "silent":
                server_out.write(commit)
                await asyncio.Event().wait()

    async def _back(
        self, server_in: asyncio.StreamReader, client_out: asyncio.StreamWriter
    ) -> None:
        while data := await server_in.read(CHUNK_BYTES):
            client_out.write(data)
        client_out.close()
