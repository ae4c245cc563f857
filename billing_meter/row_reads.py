"""The rows whose key is one of many, in one statement that stays the same however many there are.

`IN (?, ?, …)` is another statement for every length of the list: it is put together, parsed and
planned anew, which costs more than the rows. Here all keys are one parameter: an array on
PostgreSQL, a JSON list on SQLite.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.asyncio import AsyncConnection

from billing_meter.plain_sql import PlainStatement

KEYS_PER_STATEMENT: Final = 500
"""Rows are read on the event loop: so many take about half a millisecond."""


class RowReads:
    """A query, and the text column that has to be one of the keys."""

    def __init__(self, query: sa.Select[Any], column: sa.ColumnElement[str]) -> None:
        given = sa.bindparam("keys", type_=sa.String())
        values = sa.func.json_each(given).table_valued("value")
        self._of_json = query.where(column.in_(sa.select(values.c.value)))
        array = sa.bindparam("keys", type_=ARRAY(sa.String()))
        self._of_array = query.where(column == sa.any_(array))
        self._plain: dict[str, PlainStatement] = {}

    async def rows(self, connection: AsyncConnection, keys: Sequence[str]) -> Sequence[sa.Row[Any]]:
        """Those there are, in no order. No key may come twice."""
        found: list[sa.Row[Any]] = []
        statement = self._plain_of(connection.dialect)
        for start in range(0, len(keys), KEYS_PER_STATEMENT):
            some: Any = keys[start : start + KEYS_PER_STATEMENT]
            if connection.dialect.name == "sqlite":
                some = json.dumps(some)
            found += await statement.execute(connection, {"keys": some})
        return found

    def _plain_of(self, dialect: Dialect) -> PlainStatement:
        known = self._plain.get(dialect.name)
        if known is None:
            query = self._of_json if dialect.name == "sqlite" else self._of_array
            known = self._plain[dialect.name] = PlainStatement(query, dialect)
        return known
