"""PostgreSQL as the store: the same one writer as SQLite has, for any number of processes.

Every write transaction first takes one lock of the whole database (`pg_advisory_xact_lock`, given
back by commit or rollback) and is READ COMMITTED, so what it reads is what the writer before it
committed and stays true until its own commit: the meaning of SQLite's BEGIN IMMEDIATE. Transfers
are numbered without gaps, so money writers would queue on that counter's row anyway; here they
queue before they read, and none is ever refused for a conflict. It also makes an unknown outcome
knowable: a server that still commits for a client it has lost holds the lock until it is done, so
the next transaction's look at the key is final.

Readers are REPEATABLE READ and read-only: one snapshot, without a lock.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from billing_meter.engine import new_engine

WRITER_LOCK = int.from_bytes(b"Parlour")
"""The advisory lock's number; PostgreSQL has one set of them for each database."""
TAKE_TURN = f"SELECT pg_advisory_xact_lock({WRITER_LOCK})"
LOOK = "SELECT 1"
"""Opens a reader's transaction, which finds out whether the pooled connection still lives."""
VERSION_MIN = 14
"""The oldest major version that its makers still mend; tested with 15."""
LOCK_WAIT_MS = 5_000
"""How long a writer waits for its turn, as with SQLite; then the write has failed."""
IDLE_WRITER_MS = 3_000
"""A process that stalls inside a transaction loses it after this; those who wait outlast it."""
IDLE_READER_MS = 60_000
"""Proofs of a long book compute between their queries."""
WRITE_STATEMENT_MS = 10_000
READ_STATEMENT_MS = 60_000
"""A page of a statement takes milliseconds; the longest query reads every order or session."""
ANSWER_MARGIN_S = 5.0
"""What the network may add before a server counts as silent."""
CONNECT_S = 10.0
STATEMENTS_CACHED = 500
"""Prepared statements kept for each connection: all that the code has, in their common lengths."""
_EVERYWHERE = {
    "application_name": "parlour",
    # A settled payment must survive the loss of power: never answer before it is on the disk.
    "synchronous_commit": "on",
    # Compiling a statement costs more than all of ours take.
    "jit": "off",
}
_WRITER = _EVERYWHERE | {
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    # Plans are kept; one that was made while a table was empty must not outlive that.
    "enable_seqscan": "off",
    "lock_timeout": f"{LOCK_WAIT_MS}ms",
    "idle_in_transaction_session_timeout": f"{IDLE_WRITER_MS}ms",
    "statement_timeout": f"{WRITE_STATEMENT_MS}ms",
}
_READER = _EVERYWHERE | {
    "default_transaction_isolation": "repeatable read",
    "default_transaction_read_only": "on",
    "lock_timeout": f"{LOCK_WAIT_MS}ms",
    "idle_in_transaction_session_timeout": f"{IDLE_READER_MS}ms",
    "statement_timeout": f"{READ_STATEMENT_MS}ms",
}
_REQUIRED = {
    "synchronous_commit": "on",
    "fsync": "on",
    "server_encoding": "UTF8",
    "transaction_isolation": "read committed",
    "transaction_read_only": "off",
    "lock_timeout": f"{LOCK_WAIT_MS // 1_000}s",
    "idle_in_transaction_session_timeout": f"{IDLE_WRITER_MS // 1_000}s",
}
"""Setting → value that money needs, as the server spells it."""


def engines(url: sa.URL, readers: int) -> tuple[AsyncEngine, AsyncEngine]:
    """The one writing connection of this process and its reading ones."""
    writer = _engine(url, 1, _WRITER, WRITE_STATEMENT_MS)
    return writer, _engine(url, readers, _READER, READ_STATEMENT_MS)


def upgrade_engine(url: sa.URL) -> AsyncEngine:
    """A writer that keeps no connection: a schema change may take as long as it takes."""
    settings = _WRITER | {"statement_timeout": "0"}
    options = {"server_settings": settings, "timeout": CONNECT_S}
    return new_engine(url, connect_args=options, poolclass=sa.pool.NullPool)


async def fault(connection: AsyncConnection) -> str | None:
    """Why this server must not keep money, or None; asked on the writer's connection."""
    columns = [sa.func.current_setting(name).label(name) for name in _REQUIRED]
    number = sa.func.current_setting("server_version_num").label("version")
    row = (await connection.execute(sa.select(number, *columns))).mappings().one()
    major = int(row["version"]) // 10_000
    if major < VERSION_MIN:
        return f"PostgreSQL {major} is too old: {VERSION_MIN} or later is needed"
    for name, wanted in _REQUIRED.items():
        if row[name] != wanted:
            return f"PostgreSQL has {name}={row[name]}, but money needs {name}={wanted}"
    return None


def _engine(url: sa.URL, size: int, settings: dict[str, str], statement_ms: int) -> AsyncEngine:
    options = {
        "server_settings": settings,
        "timeout": CONNECT_S,
        "command_timeout": statement_ms / 1_000 + ANSWER_MARGIN_S,
        "prepared_statement_cache_size": STATEMENTS_CACHED,
    }
    return new_engine(url, pool_size=size, max_overflow=0, connect_args=options)
