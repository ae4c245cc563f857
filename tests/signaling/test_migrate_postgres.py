"""Migrations on PostgreSQL: the same tables as the code's, one starter at a time, or a refusal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy.ext.asyncio import create_async_engine

from billing_meter.database import METADATA, DatabaseRefused
from signaling import migrate
from signaling.config import ConfigError, load
from signaling.store import opened_store
from tests.postgres import Cluster
from tests.stores import PostgresStore


@pytest.fixture
async def store(cluster: Cluster) -> AsyncIterator[PostgresStore]:
    made = PostgresStore(cluster)
    yield made
    await made.close()


def described(connection: sa.Connection) -> dict[str, object]:
    """Tables, columns, indexes, keys and checks, as the server tells them."""
    found = sa.inspect(connection)
    names = [name for name in found.get_table_names() if name != migrate.VERSION_TABLE]
    return {
        name: [
            [(c["name"], str(c["type"]), c["nullable"]) for c in found.get_columns(name)],
            sorted((str(c["name"]), c["sqltext"]) for c in found.get_check_constraints(name)),
            sorted(str(index) for index in found.get_indexes(name)),
            sorted(str(key) for key in found.get_unique_constraints(name)),
            sorted(str(key) for key in found.get_foreign_keys(name)),
            found.get_pk_constraint(name)["constrained_columns"],
        ]
        for name in names
    }


async def looked(url: str, look: object) -> object:
    engine = create_async_engine(url, poolclass=sa.pool.NullPool)
    async with engine.connect() as connection:
        found: object = await connection.run_sync(look)
    await engine.dispose()
    return found


async def test_a_fresh_database_gets_exactly_the_schema_of_the_code(store) -> None:
    url = await store.empty()
    assert await migrate.upgrade(url) == (None, migrate.newest())
    assert await migrate.upgrade(url) == (migrate.newest(), migrate.newest())

    def differences(connection: sa.Connection) -> object:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return compare_metadata(context, METADATA)

    assert await looked(url, differences) == []
    # Alembic does not compare CHECK constraints, and these are what keeps money safe.
    assert await looked(url, described) == await looked(await store.fresh(), described)


async def test_processes_that_start_together_migrate_once(store) -> None:
    url = await store.empty()
    outcomes = await asyncio.gather(*(migrate.upgrade(url) for _ in range(3)))
    assert sorted(before is None for before, _ in outcomes) == [False, False, True]


async def test_a_failed_upgrade_leaves_nothing_behind(store, monkeypatch) -> None:
    url = await store.empty()
    real = migrate.command.upgrade

    def broken(config: object, revision: str) -> None:
        real(config, "0001_money")
        raise sa.exc.OperationalError("CREATE", {}, Exception("disk full"))

    monkeypatch.setattr(migrate.command, "upgrade", broken)
    with pytest.raises(migrate.SchemaRefused, match="disk full"):
        await migrate.upgrade(url)
    monkeypatch.undo()
    assert await looked(url, described) == {}
    assert await migrate.upgrade(url) == (None, migrate.newest())


async def test_a_database_that_is_not_ours_is_refused_and_untouched(store) -> None:
    url = await store.empty()
    name = str(sa.make_url(url).database)
    await store.cluster.command("CREATE TABLE holiday_photos (id int)", database=name)
    with pytest.raises(migrate.SchemaRefused, match=r"not one of Parlour's.*holiday_photos"):
        await migrate.upgrade(url)
    assert list(await looked(url, described)) == ["holiday_photos"]


async def test_what_cannot_be_used_is_one_line_that_names_it(store, tmp_path) -> None:
    with pytest.raises(DatabaseRefused, match="none of sqlite"):
        await migrate.upgrade("postgresql+psycopg://parlour@/parlour")
    url = f"postgresql+asyncpg://parlour:swordfish@/parlour?host={tmp_path}"
    layer = {"server": {"data": str(tmp_path)}, "store": {"database_url": url}}
    with pytest.raises(ConfigError) as refused:
        async with opened_store(load(None, {}, layer)):
            raise AssertionError("it was opened")
    text = str(refused.value)
    assert text.startswith("database postgresql+asyncpg://parlour:***@/parlour")
    assert "No such file or directory" in text
    assert "\n" not in text
