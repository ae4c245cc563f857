"""The store as the server and the command line open it: directory, database, hashing."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import structlog

from billing_meter.database import Database, DatabaseRefused
from billing_meter.wallet import prepare_ledger
from signaling import migrate
from signaling.config import Config, ConfigError
from signaling.passwords import Passwords

log = structlog.get_logger(__name__)


def utc_now() -> dt.datetime:
    """The wall clock, for labels and calendar expiry only."""
    return dt.datetime.now(dt.UTC)


def prepare_data_dir(data_dir: Path) -> None:
    """Make the data directory, for its owner only, and prove that it can be written."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = data_dir / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(f"cannot write the data directory {data_dir}: {error.strerror}") from None


@contextlib.asynccontextmanager
async def opened_store(config: Config) -> AsyncIterator[Database]:
    """The database at this version's schema, for the server and the command line alike."""
    prepare_data_dir(config.data_dir)
    try:
        before, after = await migrate.upgrade(config.database_url)
        database = await Database.open(config.database_url)
    except (migrate.SchemaRefused, DatabaseRefused) as error:
        raise ConfigError(str(error)) from None
    try:
        if before != after:
            log.info("database migrated", before=before or "empty", after=after)
        await prepare_ledger(database)
        yield database
    finally:
        await database.close()


@contextlib.contextmanager
def passwords() -> Iterator[Passwords]:
    """The password hasher and its threads."""
    hasher = Passwords()
    try:
        yield hasher
    finally:
        hasher.close()
