"""Many rows changed by one guarded UPDATE each, in one round trip, and how many of them it hit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import TypeEngine

ROWS_PER_STATEMENT = 250
"""Parameters are prepared on the event loop; this many rows take well under a millisecond."""

Given = Mapping[str, sa.ColumnElement[Any]]


def checked(column: sa.ColumnElement[str]) -> sa.ColumnElement[str]:
    """A column of text as a condition that no index can answer.

    Rows are to be found by their key. Where few rows seem to be in some state, PostgreSQL would go
    through all of those for each row that is given.
    """
    return column.concat("")


class RowUpdates:
    """An UPDATE for rows of parameters. `build` makes it from its parameters, by name.

    SQLite runs it for one row after the other. A driver of PostgreSQL does not tell how many rows
    that changes, so there the parameters are a table (`unnest` of one array for each name) that
    the UPDATE is joined with. No two rows of one call may be for the same row of the table.
    """

    def __init__(
        self, types: Mapping[str, TypeEngine[Any]], build: Callable[[Given], sa.Update]
    ) -> None:
        self._names = tuple(types)
        self._each = build({name: sa.bindparam(name, type_=kind) for name, kind in types.items()})
        arrays = [sa.bindparam(name, type_=ARRAY(kind)) for name, kind in types.items()]
        columns: list[sa.ColumnClause[Any]] = [
            sa.column(name, kind) for name, kind in types.items()
        ]
        given = sa.func.unnest(*arrays).table_valued(*columns, name="given").render_derived()
        self._joined = build({name: given.c[name] for name in types})

    async def run(self, connection: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> int:
        """Apply it to at most `ROWS_PER_STATEMENT` rows; how many met its condition."""
        if connection.dialect.name == "sqlite":
            return (await connection.execute(self._each, rows)).rowcount
        arrays = {name: [row[name] for row in rows] for name in self._names}
        return (await connection.execute(self._joined, arrays)).rowcount
