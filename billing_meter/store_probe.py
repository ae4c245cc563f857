"""The smallest write there is: proves that the store makes changes durable, and leaves nothing."""

from __future__ import annotations

import sqlalchemy as sa

from billing_meter import schema
from billing_meter.database import ID_CHARS, Database

PROBE_PERIOD_S = 5.0
"""How soon trouble is seen while nobody pays: one small write, and one flush of the disk, each."""
PROBE_AGAIN_S = 1.0
"""How soon it is seen that trouble is over, also one that a single write met."""
PROBE_NODE_PREFIX = "?"
"""No node is called so: names begin with a letter or a digit."""


async def probe(database: Database, node: str) -> None:
    """Write and remove a row of our own in one transaction; DatabaseUnavailable when it fails.

    The pages are written though they end as they began.
    """
    table = schema.meter_owner
    name = PROBE_NODE_PREFIX + node[: ID_CHARS - len(PROBE_NODE_PREFIX)]
    async with database.write() as connection:
        await connection.execute(sa.insert(table).values(node=name, epoch=0, at_ms=0))
        await connection.execute(sa.delete(table).where(table.c.node == name))
    database.health.proved()
