"""The two kinds of store that money tests run on: fresh databases with the product's tables."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import billing_meter.schema  # noqa: F401 - registers its tables
import signaling.schema  # noqa: F401 - registers its tables
from billing_meter.database import METADATA, Database
from tests.postgres import Cluster

KINDS = ("sqlite", "postgresql")


async def _make_tables(url: str) -> None:
    database = await Database.open(url)
    async with database.write() as connection:
        await connection.run_sync(METADATA.create_all)
    await database.close()


class SqliteStore:
    """Files in a directory, copied from one that has the tables."""

    kind = "sqlite"
    _with_tables: ClassVar[bytes] = b""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._made = 0

    async def empty(self) -> str:
        """The address of a database without tables."""
        self._made += 1
        return f"sqlite+aiosqlite:///{self._directory}/money-{self._made}.db"

    async def fresh(self) -> str:
        """The address of a database with tables and nothing in them."""
        url = await self.empty()
        path = Path(url.removeprefix("sqlite+aiosqlite:///"))
        if SqliteStore._with_tables:
            path.write_bytes(SqliteStore._with_tables)
        else:
            await _make_tables(url)
            SqliteStore._with_tables = path.read_bytes()
        return url

    async def close(self) -> None:
        """The directory goes with its test."""


async def made_with_tables(cluster: Cluster) -> str:
    """A new database of a cluster, copied from one that has the tables; its name."""
    if cluster.template is None:
        name = await cluster.create("template0")
        await _make_tables(cluster.url(name))
        cluster.template = name
    return await cluster.create(cluster.template)


class PostgresStore:
    """Databases of a cluster, copied from one that has the tables."""

    kind = "postgresql"

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._names: list[str] = []

    async def empty(self) -> str:
        """The address of a database without tables."""
        name = await self.cluster.create("template0")
        self._names.append(name)
        return self.cluster.url(name)

    async def fresh(self) -> str:
        """The address of a database with tables and nothing in them."""
        name = await made_with_tables(self.cluster)
        self._names.append(name)
        return self.cluster.url(name)

    async def close(self) -> None:
        """Drop what was made, also from under those who still use it."""
        for name in self._names:
            await self.cluster.drop(name)
        self._names.clear()


Store = SqliteStore | PostgresStore
