"""Brings the database to this version's schema, or refuses it by name; never guesses.

All of an upgrade is one transaction: after a crash in the middle the database is as before.
"""

from __future__ import annotations

import functools
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.exc import SQLAlchemyError

from billing_meter.database import (
    parsed_address,
    reason,
    refuse_unsafe,
    shown_address,
    upgrade_engine,
)

MIGRATIONS = Path(__file__).parent / "migrations"
VERSION_TABLE = "alembic_version"


class SchemaRefused(Exception):
    """The database is not one that this version knows how to bring up to date."""


async def upgrade(url: str) -> tuple[str | None, str]:
    """Migrate to the newest revision; gives (before, after); a refusal leaves all untouched.

    SchemaRefused: not a schema for this version. DatabaseRefused: not a database for money.
    """
    parsed = parsed_address(url)
    engine = upgrade_engine(parsed)
    try:
        async with engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                await refuse_unsafe(connection)
            return await connection.run_sync(_upgrade)
    except (SQLAlchemyError, OSError) as error:
        raise SchemaRefused(
            f"database {shown_address(parsed)} cannot be opened: {reason(error)}"
        ) from error
    finally:
        await engine.dispose()


def newest() -> str:
    """This version's revision."""
    head = _scripts().get_current_head()
    assert head is not None
    return head


@functools.cache
def _scripts() -> ScriptDirectory:
    """The revisions, read once: to read them takes longer than to ask a database for its own."""
    return ScriptDirectory.from_config(_alembic())


def _alembic() -> AlembicConfig:
    config = AlembicConfig()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config


def _upgrade(connection: sa.Connection) -> tuple[str | None, str]:
    before = _checked_revision(connection)
    head = newest()
    if before != head:
        config = _alembic()
        config.attributes["connection"] = connection
        command.upgrade(config, head)
    return before, head


def _checked_revision(connection: sa.Connection) -> str | None:
    """The database's revision, or None for an empty one; anything else is refused."""
    tables = set(sa.inspect(connection).get_table_names())
    if not tables:
        return None
    if VERSION_TABLE not in tables:
        raise SchemaRefused(
            "the database has tables but no revision: it is not one of Parlour's"
            f" (found {', '.join(sorted(tables)[:5])})"
        )
    revisions = MigrationContext.configure(connection).get_current_heads()
    if len(revisions) != 1:
        raise SchemaRefused(f"the database names {len(revisions)} revisions instead of one")
    known = {script.revision for script in _scripts().walk_revisions()}
    if revisions[0] not in known:
        raise SchemaRefused(
            f"the database is at revision {revisions[0]!r}, which this version does not know;"
            f" it is newer than {newest()!r} or not Parlour's. Use the newer version."
        )
    return revisions[0]
