"""A PostgreSQL cluster of the tests' own: made in a temporary directory, stopped by its own id."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

BIN_DIRS = sorted(
    Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True
)
USER = "parlour"
START_MAX_S = 30.0
STOP_MAX_S = 15.0
SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0777",
    "shared_buffers": "32MB",
    "max_connections": "60",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "autovacuum": "off",
    "log_min_messages": "log",  # no errors: tests make them on purpose
}
"""Durability is left as the product demands it: in memory its price is small."""
READY = b"ready to accept connections"
MISSING = "PostgreSQL is not installed: run scripts/install-test-needs"


def installed() -> bool:
    """Whether there is a server to start."""
    return bool(BIN_DIRS)


def memory_dir() -> Path | None:
    """Where files lie in memory, if there is such a place."""
    memory = Path("/dev/shm")
    return memory if os.access(memory, os.W_OK) else None


class Cluster:
    """One running server; databases are made and dropped by name."""

    def __init__(self, directory: Path, extra: dict[str, str]) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.extra = extra
        self.template: str | None = None
        """A database with the product's tables, once somebody made it."""
        self._made = 0
        self._server: subprocess.Popen[bytes] | None = None

    def url(self, database: str) -> str:
        """The address for the product."""
        return f"postgresql+asyncpg://{USER}@/{database}?host={self.directory}"

    def make(self) -> None:
        """initdb, as a user that the server accepts."""
        command = [*self._as_user(), str(BIN_DIRS[0] / "initdb"), "-D", str(self.data)]
        # A language's order of letters, as most installations have, not the simple one.
        options = ["--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8", "-U", USER]
        subprocess.run([*command, *options], check=True, stdout=subprocess.DEVNULL)

    def start(self) -> None:
        """Start it and wait until it answers."""
        flags = [
            part for item in (SETTINGS | self.extra).items() for part in ("-c", "=".join(item))
        ]
        command = [*self._as_user(), str(BIN_DIRS[0] / "postgres"), "-D", str(self.data)]
        server = self._server = subprocess.Popen(
            [*command, "-k", str(self.directory), *flags], stderr=subprocess.PIPE
        )
        late = threading.Timer(START_MAX_S, server.kill)
        late.start()
        said: list[bytes] = []
        assert server.stderr is not None
        for line in server.stderr:
            said.append(line)
            if READY in line:
                break
        else:  # it ended, or was too late
            raise RuntimeError(b"".join(said).decode(errors="replace"))
        late.cancel()
        # A full pipe would stop it.
        threading.Thread(target=server.stderr.read, daemon=True).start()

    def stop(self, *, immediately: bool = False) -> None:
        """Stop this server and no other: by its own id."""
        server, self._server = self._server, None
        if server is None:
            return
        # SIGINT: end its clients and stop; SIGQUIT: as if the power went.
        server.send_signal(signal.SIGQUIT if immediately else signal.SIGINT)
        server.wait(STOP_MAX_S)
        if server.stderr is not None:
            server.stderr.close()

    @property
    def pid(self) -> int:
        """The server's own process."""
        assert self._server is not None
        return self._server.pid

    async def create(self, template: str, options: str = "STRATEGY file_copy") -> str:
        """A fresh database like `template`; its name."""
        self._made += 1
        name = f"d{self._made}"
        await self.command(f"CREATE DATABASE {name} TEMPLATE {template} {options}")
        return name

    async def drop(self, name: str) -> None:
        """Remove a database, also from under those who still use it."""
        await self.command(f"DROP DATABASE {name} WITH (FORCE)")

    async def set(self, name: str, value: str | None) -> None:
        """Change a setting of the running server, or give it its own value back."""
        change = f"SET {name} = {value}" if value is not None else f"RESET {name}"
        before = await self.value(name)
        await self.command(f"ALTER SYSTEM {change}", "SELECT pg_reload_conf()")
        while await self.value(name) == before:
            pass

    async def value(self, name: str) -> object:
        """What a new connection finds."""
        connection = await self._connect("postgres")
        try:
            return await connection.fetchval(f"SHOW {name}")
        finally:
            await connection.close()

    async def command(self, *statements: str, database: str = "postgres") -> None:
        """Run statements as the owner of everything."""
        connection = await self._connect(database)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    async def _connect(self, database: str) -> asyncpg.Connection:
        return await asyncpg.connect(host=str(self.directory), user=USER, database=database)

    def _as_user(self) -> list[str]:
        """PostgreSQL refuses to run as root. A killed test run takes its server along."""
        setpriv = ["setpriv", "--pdeathsig", "KILL"]
        if os.geteuid() != 0:
            return setpriv
        user = unprivileged()
        ids = ["--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--clear-groups"]
        return ["setpriv", *ids, "--pdeathsig", "KILL"]


def unprivileged() -> pwd.struct_passwd:
    """The user that Debian's package made for the server, or nobody."""
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError("there is no user to run PostgreSQL as")


@contextmanager
def running_cluster(folder: Path | None = None, **extra: str) -> Iterator[Cluster]:
    """A cluster for as long as it is needed, in memory unless told where; nothing of it stays."""
    directory = Path(tempfile.mkdtemp(prefix="parlour-pg-", dir=folder or memory_dir()))
    try:
        if os.geteuid() == 0:
            user = unprivileged()
            os.chown(directory, user.pw_uid, user.pw_gid)
        cluster = Cluster(directory, extra)
        cluster.make()
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
