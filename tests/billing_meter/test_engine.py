"""What a failed statement says: its columns, and nothing of what was to be stored."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from billing_meter import schema
from billing_meter.database import Database, upgrade_engine

SECRET = "ann@example.test"


async def test_no_error_tells_what_was_to_be_stored(databases) -> None:
    url = await databases.fresh()
    statement = sa.insert(schema.members).values(member_id=SECRET, created_at_ms=1)
    database, upgrading = await Database.open(url), upgrade_engine(sa.make_url(url))
    async with database.write() as connection:
        await connection.execute(statement)
    for begin in (database.write, upgrading.begin):
        with pytest.raises(DBAPIError) as failed:
            async with begin() as connection:
                await connection.execute(statement)
        assert "members" in str(failed.value)
        assert SECRET not in str(failed.value)
    await upgrading.dispose()
    await database.close()
