"""The migration makes exactly the tables that the code knows."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations

from billing_meter import schema

REVISION = Path(__file__).parents[2] / "signaling/migrations/versions/0001_money.py"


def _tables(engine: sa.Engine) -> dict[str, set[str]]:
    found = sa.inspect(engine)
    return {
        name: {str(c["name"]) for c in found.get_check_constraints(name)}
        | {f"{c['name']}:{c['type']}:{c['nullable']}" for c in found.get_columns(name)}
        for name in found.get_table_names()
    }


def test_the_migration_and_the_metadata_are_the_same_tables() -> None:
    spec = importlib.util.spec_from_file_location("money_revision", REVISION)
    assert spec is not None
    assert spec.loader is not None
    revision = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(revision)
    migrated, made = sa.create_engine("sqlite://"), sa.create_engine("sqlite://")
    mine = [table for table in schema.METADATA.sorted_tables if table in schema.TABLES]
    with migrated.begin() as connection:
        context = MigrationContext.configure(connection)
        with Operations.context(context):
            revision.upgrade()
        names = {table.name for table in mine}
        differences = [
            difference
            for difference in compare_metadata(context, schema.METADATA)
            if any(f"'{name}'" in str(difference) for name in names)
        ]
        assert differences == []
    schema.METADATA.create_all(made, tables=mine)
    # Alembic does not compare CHECK constraints, and these are what keeps money safe.
    assert _tables(migrated) == _tables(made)
    with migrated.begin() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM ledger_accounts")) == 3
        with Operations.context(MigrationContext.configure(connection)):
            revision.downgrade()
    assert sa.inspect(migrated).get_table_names() == []
    migrated.dispose()
    made.dispose()
